use super::series::TRACE_ID;
use prometheus_client::{encoding::text, registry::Registry};
use std::fmt::{self, Write};

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format for an `Accept` header: OpenMetrics if it is named, else the older text.
    pub fn from_accept(accept: Option<&str>) -> Self {
        match accept {
            Some(types) if types.contains("application/openmetrics-text") => Self::OpenMetrics,
            Some(_) | None => Self::Text,
        }
    }

    /// The value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    pub(super) fn render(self, registry: &Registry) -> String {
        let mut open_metrics = String::new();
        let rendered = text::encode(&mut open_metrics, registry).and_then(|()| match self {
            Self::Text => to_text(&open_metrics),
            Self::OpenMetrics => Ok(open_metrics),
        });
        rendered.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot render the metrics");
            String::new()
        })
    }
}

/// Rewrites what differs: OpenMetrics describes a counter without the `_total` of its samples,
/// and has lines for units and the end, and exemplars.
fn to_text(open_metrics: &str) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), _, help_text) => help = help_text,
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let suffix = if kind == "counter" { "_total" } else { "" };
                if let Some(help) = help.take() {
                    writeln!(text, "# HELP {name}{suffix} {help}")?;
                }
                writeln!(text, "# TYPE {name}{suffix} {kind}")?;
            }
            (Some("#"), ..) => {}
            _ => writeln!(text, "{}", without_exemplar(line))?,
        }
    }
    Ok(text)
}

/// The sample alone. No label can look like an exemplar: its quotes are escaped.
fn without_exemplar(line: &str) -> &str {
    let begin = format!(" # {{{TRACE_ID}=\"");
    line.find(&begin).map_or(line, |at| &line[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use mainstay_context::TraceContext;

    fn metrics() -> Metrics {
        let metrics = Metrics::new("shop");
        metrics.counter("orders", "Orders taken", &["kind"]).inc(&["a \"new\" one"]);
        metrics.histogram("wait_seconds", "Waits", &[], &[0.5, 1.0]).observe(0.7, &[]);
        metrics
    }

    #[test]
    fn the_older_text_is_what_prometheus_expects() {
        let expected = "\
# HELP shop_orders_total Orders taken.
# TYPE shop_orders_total counter
shop_orders_total{kind=\"a \\\"new\\\" one\"} 1
# HELP shop_wait_seconds Waits.
# TYPE shop_wait_seconds histogram
shop_wait_seconds_sum{} 0.7
shop_wait_seconds_count{} 1
shop_wait_seconds_bucket{le=\"0.5\"} 0
shop_wait_seconds_bucket{le=\"1.0\"} 1
shop_wait_seconds_bucket{le=\"+Inf\"} 1
";
        assert_eq!(metrics().render(Format::Text), expected);
    }

    #[test]
    fn a_sampled_trace_is_an_exemplar_in_open_metrics_only() {
        let metrics = Metrics::new("shop");
        let waits = metrics.histogram("wait_seconds", "Waits", &["what"], &[0.5, 1.0]);
        let trace = TraceContext::new([1; 16], [2; 8]);
        let what = " # {trace_id=\"x\"}";
        waits.observe_traced(0.7, &[what], trace.with_sampled(true));
        waits.observe_traced(0.2, &[what], trace);
        let open = metrics.render(Format::OpenMetrics);
        let exemplars: Vec<_> = open.lines().filter(|line| line.contains("\"} 0.7")).collect();
        let [exemplar] = exemplars[..] else { panic!("one exemplar: {open}") };
        let ids =
            "# {trace_id=\"01010101010101010101010101010101\",span_id=\"0202020202020202\"} 0.7";
        assert!(exemplar.contains("le=\"1.0\"") && exemplar.ends_with(ids), "{exemplar}");
        let text = metrics.render(Format::Text);
        assert!(!text.contains("0202"), "{text}");
        let bucket = r#"{le="1.0",what=" # {trace_id=\"x\"}"} 2"#;
        assert!(text.contains(bucket), "{text}");
    }

    #[test]
    fn open_metrics_ends_with_its_end() {
        let text = metrics().render(Format::OpenMetrics);
        assert!(text.contains("# TYPE shop_orders counter\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn the_scraper_chooses_the_format() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        assert_eq!(Format::from_accept(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::from_accept(Some("text/plain")), Format::Text);
        assert_eq!(Format::from_accept(None), Format::Text);
    }
}
