//! Logs to stderr, and traces to a collector.
//!
//! Guarantees: nothing here makes a caller wait. Log lines and finished spans stand in bounded
//! queues with a thread of its own behind each; what does not fit is dropped and counted, see
//! [`Guard::measure`]. The end is bounded by [`Config::flush`], also when stderr is a full pipe
//! that nobody reads and the collector accepts and never answers. Only [`SPANS`] are sent, and no
//! log line shows them, so what leaves the process is what was written for it. A panic is a log
//! line.
//!
//! Not guaranteed: that a line or a span arrives. Metrics are [`crate::metrics`].
//!
//! What may be told of a request: its ids, method, route, path without the query, status, times,
//! and the principal; never headers, the query, `tracestate`, or the body. At the level `trace` the
//! HTTP libraries themselves log headers, secrets included: name your own targets instead.

mod level;
mod sink;
mod spans;
mod traces;

pub use self::level::LogLevel;
pub use self::spans::SPANS;
pub(crate) use self::spans::{begin, server};
pub use self::traces::Traces;
pub use crate::chain::chain as error_chain;

use self::{sink::Sink, traces::Exporter};
use crate::metrics::Metrics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, IsTerminal},
    panic,
    time::Duration,
};
use tokio::time::Instant;
use tracing::Subscriber;
use tracing_subscriber::{
    Layer, Registry, filter::FilterExt, filter::filter_fn, layer::SubscriberExt, registry,
    util::SubscriberInitExt, util::TryInitError,
};

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line, with the event's fields at its top level.
    Json,
    /// Text for people.
    Human,
}

/// What is told, how and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How logs look. Default: text on a terminal, JSON elsewhere.
    pub format: Format,
    /// The least level, by target if wanted, such as `info,orders=debug`. Default `info`.
    pub level: String,
    /// The most time at the end for what still waits, half of it for spans and the rest for log
    /// lines; it comes after the budgets of the lifecycle. Default 1 s.
    #[serde(with = "crate::config::duration::Text")]
    pub flush: Duration,
    /// Where traces go. Default: nowhere.
    pub traces: Traces,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::Auto,
            level: "info".to_owned(),
            flush: Duration::from_secs(1),
            traces: Traces::default(),
        }
    }
}

/// Keeps telemetry working; drop it last, when nothing more is to be told.
#[derive(Debug)]
#[must_use = "telemetry ends when the guard is dropped"]
pub struct Guard {
    levels: LogLevel,
    exporter: Option<Exporter>,
    sink: Sink,
    flush: Duration,
}

/// Why telemetry did not start, or did not change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is not one; see [`Config::level`].
    #[error(
        "{0:?} is not a log level: it must be \"error\", \"warn\", \"info\", \"debug\", \"trace\" or \
         \"off\"; a part of the program may have its own behind a comma, as in \
         \"info,orders=debug\""
    )]
    // Not as the source: what the library says of it says less.
    Level(String, Option<Box<dyn std::error::Error + Send + Sync>>),
    /// The collector's address or the share of requests is not usable; see [`Traces`].
    #[error("traces cannot be sent: {0}")]
    Traces(String),
    /// Something in this process logs already.
    #[error("logging was started before")]
    Started(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A thread could not be started.
    #[error("a thread for telemetry could not be started")]
    Thread(#[source] io::Error),
}

/// Whether telemetry could be started with this configuration.
///
/// # Errors
///
/// Fails when the level is malformed, and when [`Traces`] cannot be used.
pub fn check(config: &Config) -> Result<(), Error> {
    check_level(&config.level)?;
    config.traces.check_endpoint()?;
    config.traces.check_ratio()
}

/// Whether this is a level as [`Config::level`] has it.
///
/// # Errors
///
/// Fails when it is malformed.
pub fn check_level(level: &str) -> Result<(), Error> {
    level::parse(level).map(drop)
}

/// Starts telemetry for the whole process; `service` is the name that traces go by.
///
/// # Errors
///
/// Fails when [`check`] does, when it was started before, and when the system refuses a thread.
pub fn init(service: &str, config: &Config) -> Result<Guard, Error> {
    check(config)?;
    let json = match config.format {
        Format::Auto => !io::stderr().is_terminal(),
        Format::Json => true,
        Format::Human => false,
    };
    let sink = Sink::start(io::stderr()).map_err(Error::Thread)?;
    let (filter, levels) = level::reloadable(&config.level)?;
    let exporter = Exporter::start(service, &config.traces)?;
    let started = subscriber(lines(json, sink.clone()), filter, exporter.as_ref()).try_init();
    started.map_err(|error: TryInitError| Error::Started(Box::new(error)))?;
    tell_panics();
    Ok(Guard { levels, exporter, sink, flush: config.flush })
}

type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn lines(json: bool, sink: Sink) -> AnyLayer {
    let lines = tracing_subscriber::fmt::layer().with_writer(sink);
    if json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.with_ansi(io::stderr().is_terminal()).boxed()
    }
}

fn subscriber(
    lines: AnyLayer,
    level: level::Reloadable,
    exporter: Option<&Exporter>,
) -> impl Subscriber + Send + Sync + use<> {
    let no_spans = filter_fn(|metadata| metadata.target() != SPANS);
    let mut layers = vec![lines.with_filter(level.and(no_spans)).boxed()];
    // Not as an optional layer: one that is absent has no filter, and would have every span made.
    layers.extend(exporter.map(|exporter| exporter.layer().boxed()));
    registry().with(layers)
}

/// Panics are lines like others: the standard hook's text would not be JSON, and would wait for
/// whoever reads stderr.
fn tell_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        let panic = info.payload_as_str().unwrap_or("a panic without a text");
        tracing::error!(panic, place, "a thread panicked");
    }));
}

impl Guard {
    /// The level of the log, for whoever may change it while the process runs.
    pub fn levels(&self) -> LogLevel {
        self.levels.clone()
    }

    /// Tells what was lost: `log_lines_dropped_total`, and of spans
    /// `trace_spans_{exported,failed,dropped}_total`.
    pub fn measure(&self, metrics: &Metrics) {
        let sink = self.sink.clone();
        let help = "Log lines that found the queue before stderr full";
        metrics.counter_fn("log_lines_dropped", help, move || sink.dropped());
        traces::measure(self.exporter.as_ref(), metrics);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let began = Instant::now();
        if let Some(exporter) = &self.exporter {
            exporter.end(self.flush / 2);
        }
        self.sink.end(self.flush.saturating_sub(began.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(level: &str) -> Result<(), Error> {
        check(&Config { level: level.to_owned(), ..Config::default() })
    }

    #[test]
    fn a_malformed_level_is_an_error_and_a_good_one_is_not() {
        for good in ["info", "INFO", "warn,orders=debug", "off", "orders[request{id=1}]=trace"] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for malformed in
            ["inof", "orders", "info,orders", "", "info,", "orders=loud", "info,=debug"]
        {
            assert!(
                matches!(checked(malformed), Err(Error::Level(level, _)) if level == malformed),
                "{malformed}"
            );
        }
    }

    #[test]
    fn a_collector_is_told_by_a_plain_http_address_and_a_share_is_a_share() {
        let with = |endpoint: &str, sample_ratio: f64| {
            let traces = Traces { endpoint: Some(endpoint.to_owned()), sample_ratio };
            check(&Config { traces, ..Config::default() })
        };
        assert!(with("http://127.0.0.1:4318/v1/traces", 0.5).is_ok());
        for (endpoint, ratio) in [
            ("https://collector:4318/v1/traces", 1.0),
            ("collector:4318", 1.0),
            ("http://user:secret@collector:4318/v1/traces", 1.0),
            ("not a url", 1.0),
            ("http://collector:4318/v1/traces", 1.5),
            ("http://collector:4318/v1/traces", -0.1),
            ("http://collector:4318/v1/traces", f64::NAN),
        ] {
            assert!(matches!(with(endpoint, ratio), Err(Error::Traces(_))), "{endpoint} {ratio}");
        }
    }

    #[test]
    fn spans_are_made_for_a_collector_only_and_whatever_the_level_of_the_log() {
        let made = |level: &str, endpoint: Option<&str>| {
            let sink = Sink::default();
            let traces = Traces { endpoint: endpoint.map(str::to_owned), ..Traces::default() };
            let exporter = Exporter::start("test", &traces).unwrap();
            let (filter, _) = level::reloadable(level).unwrap();
            let subscriber = subscriber(lines(true, sink), filter, exporter.as_ref());
            let span = || tracing::info_span!(target: SPANS, "work");
            let is_made = tracing::subscriber::with_default(subscriber, || !span().is_disabled());
            if let Some(exporter) = exporter {
                exporter.end(Duration::ZERO);
            }
            is_made
        };
        assert!(!made("trace", None));
        assert!(made("off", Some("http://127.0.0.1:1/v1/traces")));
    }
}
