//! Counters, gauges and histograms with bounded label sets, and their text for a scraper.
//!
//! Guarantee: a metric never has more than [`MAX_SERIES`] label sets and one more; what comes
//! later is folded into the one whose values are all `other`, and counted in
//! `{namespace}_metrics_folded_total`. A histogram may [keep](Histogram::keeping) one label when it
//! folds, and then has one more for each of its values, up to 50. Asking twice for a name gives the same metric, so a layer
//! can be built twice. What [`watch`] tells of the process and its runtime is for every service
//! alike.

mod process;
mod runtime;
mod series;
mod text;

pub use self::runtime::watch;

pub use self::series::{Counter, Gauge, Histogram, MAX_SERIES};
pub use self::text::Format;

use self::series::{Make, Series};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, TypedMetric, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::{
    any::Any,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Upper bounds in seconds for the latency of a request, from 1 ms to 10 s.
pub const LATENCY_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All metrics of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    namespace: Arc<str>,
    folded: Counter,
    known: Arc<Mutex<Known>>,
    /// See [`Metrics::build_info`]. Not under the lock of the others, which a scrape holds.
    build: Arc<Mutex<Build>>,
}

type Build = Vec<(&'static str, String)>;

#[derive(Debug, Default)]
struct Known {
    registry: Registry,
    /// Each metric's `Series<M>` by its full name.
    series: HashMap<String, Box<dyn Any + Send + Sync>>,
}

impl Metrics {
    /// No metrics yet; the name of each will begin with `namespace` and an underscore.
    pub fn new(namespace: &str) -> Self {
        let folded = Series::new(&["metric"], Make::default(), None);
        let mut known = Known::default();
        known.registry.register(
            format!("{namespace}_metrics_folded"),
            "Observations whose labels were folded into other",
            folded.family().clone(),
        );
        Self {
            namespace: namespace.into(),
            folded: Counter(folded),
            known: Arc::new(Mutex::new(known)),
            build: Arc::default(),
        }
    }

    /// The counter `name` with these labels; its name ends in `_total`, which may be left out.
    pub fn counter(&self, name: &str, help: &str, labels: &[&'static str]) -> Counter {
        let name = name.strip_suffix("_total").unwrap_or(name);
        Counter(self.series(name, help, labels, Make::default()))
    }

    /// The gauge `name` with these labels.
    pub fn gauge(&self, name: &str, help: &str, labels: &[&'static str]) -> Gauge {
        Gauge(self.series(name, help, labels, Make::default()))
    }

    /// The histogram `name` with these labels and ascending upper bounds, such as
    /// [`LATENCY_BUCKETS`]; the last bucket, up to infinity, is added.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&'static str],
        buckets: &[f64],
    ) -> Histogram {
        Histogram(self.series(name, help, labels, Make::buckets(buckets)))
    }

    /// Shows what `read` tells at each scrape as the gauge `name`; it must be quick, and must not
    /// register metrics. The first one of a name stays.
    pub fn gauge_fn(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.compute(self.full_name(name), help, Read::Gauge(Box::new(read)));
    }

    /// Shows what `read` tells at each scrape as the counter `name`, which must never fall;
    /// otherwise as [`gauge_fn`](Self::gauge_fn). The `_total` at its end may be left out.
    pub fn counter_fn(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        let name = name.strip_suffix("_total").unwrap_or(name);
        self.compute(self.full_name(name), help, Read::Counter(Box::new(read)));
    }

    fn compute(&self, name: String, help: &str, read: Read) {
        let mut known = self.known();
        if known.series.insert(name.clone(), Box::new(())).is_none() {
            // With its full stop, as the registry gives it to the others.
            let computed = Computed { name, help: format!("{help}."), read };
            known.registry.register_collector(Box::new(computed));
        }
    }

    /// Shows facts about the build, such as its version, as labels of `{namespace}_build_info` and
    /// on the page of the [admin listener](crate::admin).
    pub fn build_info(&self, facts: &[(&'static str, &str)]) {
        let (labels, values): (Vec<_>, Vec<_>) = facts.iter().copied().unzip();
        self.gauge("build_info", "What is running; always 1", &labels).set(1.0, &values);
        *self.build.lock().unwrap_or_else(PoisonError::into_inner) =
            facts.iter().map(|&(fact, value)| (fact, value.to_owned())).collect();
    }

    /// What [`build_info`](Self::build_info) was told.
    pub(crate) fn build(&self) -> Build {
        self.build.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All metrics as a scraper reads them.
    pub fn render(&self, format: Format) -> String {
        format.render(&self.known().registry)
    }

    /// What the name of each begins with.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn series<M>(&self, name: &str, help: &str, labels: &[&'static str], make: Make<M>) -> Series<M>
    where
        M: EncodeMetric + TypedMetric + Clone + fmt::Debug + Send + Sync + 'static,
    {
        let name = self.full_name(name);
        let folds = (self.folded.clone(), name.clone());
        let series = Series::new(labels, make, Some(folds));
        let mut known = self.known();
        let Some(existing) = known.series.get(&name) else {
            known.registry.register(name.clone(), help, series.family().clone());
            known.series.insert(name, Box::new(series.clone()));
            return series;
        };
        if let Some(same) = existing.downcast_ref::<Series<M>>() {
            return same.clone();
        }
        tracing::error!(
            metric = name,
            "two kinds of metric have one name; the second is not shown"
        );
        series
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}_{name}", self.namespace)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that is read when it is scraped.
struct Computed {
    name: String,
    help: String,
    read: Read,
}

enum Read {
    Gauge(Box<dyn Fn() -> f64 + Send + Sync>),
    Counter(Box<dyn Fn() -> u64 + Send + Sync>),
    /// A counter of a quantity that is not whole, such as seconds.
    Amount(Box<dyn Fn() -> f64 + Send + Sync>),
}

impl Collector for Computed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match &self.read {
            Read::Gauge(_) => MetricType::Gauge,
            Read::Counter(_) | Read::Amount(_) => MetricType::Counter,
        };
        let encoder = encoder.encode_descriptor(&self.name, &self.help, None, kind)?;
        match &self.read {
            Read::Gauge(read) => ConstGauge::new(read()).encode(encoder),
            Read::Counter(read) => ConstCounter::new(read()).encode(encoder),
            Read::Amount(read) => ConstCounter::new(read()).encode(encoder),
        }
    }
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computed").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_asked_for_twice_is_one() {
        let metrics = Metrics::new("shop");
        metrics.counter("orders", "Orders taken", &["kind"]).inc(&["new"]);
        metrics.counter("orders_total", "Orders taken", &["kind"]).inc(&["new"]);
        let text = metrics.render(Format::Text);
        assert!(text.contains("shop_orders_total{kind=\"new\"} 2\n"), "{text}");
        assert_eq!(text.matches("# TYPE shop_orders_total").count(), 1, "{text}");
    }

    #[test]
    fn a_name_of_another_kind_is_not_shown() {
        let metrics = Metrics::new("shop");
        metrics.gauge("queue", "Waiting", &[]).set(3.0, &[]);
        metrics.counter("queue", "Waiting", &[]).inc(&[]);
        let text = metrics.render(Format::Text);
        assert!(text.contains("shop_queue{} 3.0\n"), "{text}");
        assert_eq!(text.matches("# TYPE shop_queue").count(), 1, "{text}");
    }

    #[test]
    fn label_sets_beyond_the_bound_are_folded_and_counted() {
        let metrics = Metrics::new("shop");
        let hits = metrics.counter("hits", "Hits", &["path"]);
        for n in 0..MAX_SERIES + 50 {
            hits.inc(&[&n.to_string()]);
        }
        hits.inc(&["0"]);
        let text = metrics.render(Format::Text);
        assert!(text.contains("shop_hits_total{path=\"other\"} 50\n"), "{text}");
        assert!(text.contains("shop_hits_total{path=\"0\"} 2\n"), "{text}");
        assert!(text.contains("shop_metrics_folded_total{metric=\"shop_hits\"} 50\n"), "{text}");
        assert_eq!(text.matches("shop_hits_total{").count(), MAX_SERIES + 1);
    }

    #[test]
    fn a_label_that_is_kept_is_told_when_the_others_are_folded() {
        let metrics = Metrics::new("shop");
        let waits = metrics.histogram("waits", "Waits", &["path", "code"], &[1.0]).keeping("code");
        for n in 0..MAX_SERIES {
            waits.observe(0.5, &[&n.to_string(), "200"]);
        }
        waits.observe(0.5, &["late", "503"]);
        let text = metrics.render(Format::Text);
        assert!(text.contains("shop_waits_count{path=\"other\",code=\"503\"} 1\n"), "{text}");
        for code in 0..MAX_SERIES {
            waits.observe(0.5, &["late", &code.to_string()]);
        }
        let text = metrics.render(Format::Text);
        assert_eq!(text.matches("shop_waits_count{").count(), MAX_SERIES + 50 + 1);
    }

    #[test]
    fn a_metric_without_labels_is_shown_before_its_first_use() {
        let metrics = Metrics::new("shop");
        metrics.counter("refusals", "Refusals", &[]);
        assert!(metrics.render(Format::Text).contains("shop_refusals_total{} 0\n"));
    }

    #[test]
    fn a_computed_gauge_is_read_at_each_scrape() {
        let metrics = Metrics::new("shop");
        let reads = std::sync::atomic::AtomicU32::new(0);
        metrics.gauge_fn("reads", "Scrapes", move || {
            f64::from(reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        });
        assert!(metrics.render(Format::Text).contains("shop_reads 0.0\n"));
        assert!(metrics.render(Format::Text).contains("shop_reads 1.0\n"));
    }

    #[test]
    fn a_computed_counter_is_a_counter() {
        let metrics = Metrics::new("shop");
        metrics.counter_fn("lost_total", "Lost", || 7);
        let text = metrics.render(Format::Text);
        assert!(text.contains("# TYPE shop_lost_total counter\nshop_lost_total 7\n"), "{text}");
    }

    #[test]
    fn the_build_is_told_in_labels() {
        let metrics = Metrics::new("shop");
        metrics.build_info(&[("version", "1.2.3")]);
        let text = metrics.render(Format::Text);
        assert!(text.contains("shop_build_info{version=\"1.2.3\"} 1.0\n"), "{text}");
    }
}
