//! Counters, gauges and histograms with bounded label sets, and their text for a scraper.
//!
//! Guarantee: a metric never has more than [`MAX_SERIES`] label sets; what comes later is folded
//! into one whose values are all `other`, and counted in `{namespace}_metrics_folded_total`.
//! Two metrics of one name are one metric, so a layer can be built twice.

mod family;
mod text;

pub use self::family::{Counter, Gauge, Histogram, MAX_SERIES};
pub use self::text::Format;

use self::family::Family;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{self as prometheus, MetricType},
    registry::Registry,
};
use std::{
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
}

#[derive(Debug, Default)]
struct Known {
    registry: Registry,
    metrics: HashMap<String, Metric>,
}

#[derive(Clone, Debug)]
enum Metric {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
    Computed,
}

impl Metrics {
    /// No metrics yet; the name of each will begin with `namespace` and an underscore.
    pub fn new(namespace: &str) -> Self {
        // The count of what was folded has few label sets itself: one for each metric.
        let folded = Counter(Family::new(&["metric"], prometheus::counter::Counter::default, None));
        let metrics =
            Self { namespace: namespace.into(), folded: folded.clone(), known: Arc::default() };
        let help = "Observations whose labels were folded into other";
        metrics.known().registry.register(
            metrics.full_name("metrics_folded"),
            help,
            folded.0.inner(),
        );
        metrics
    }

    /// The counter `name` with these labels; the suffix `_total` is added when it is missing.
    pub fn counter(&self, name: &str, help: &str, labels: &[&'static str]) -> Counter {
        let name = self.full_name(name.strip_suffix("_total").unwrap_or(name));
        let make = || {
            let folded = Some((self.folded.clone(), name.clone()));
            Counter(Family::new(labels, prometheus::counter::Counter::default, folded))
        };
        let mut known = self.known();
        let Known { registry, metrics } = &mut *known;
        match metrics.get(&name) {
            Some(Metric::Counter(counter)) => counter.clone(),
            Some(_) => clash(&name, make()),
            None => {
                let counter = make();
                registry.register(name.clone(), help, counter.0.inner());
                metrics.insert(name, Metric::Counter(counter.clone()));
                counter
            }
        }
    }

    /// The gauge `name` with these labels.
    pub fn gauge(&self, name: &str, help: &str, labels: &[&'static str]) -> Gauge {
        let name = self.full_name(name);
        let make = || {
            let folded = Some((self.folded.clone(), name.clone()));
            Gauge(Family::new(labels, prometheus::gauge::Gauge::default, folded))
        };
        let mut known = self.known();
        let Known { registry, metrics } = &mut *known;
        match metrics.get(&name) {
            Some(Metric::Gauge(gauge)) => gauge.clone(),
            Some(_) => clash(&name, make()),
            None => {
                let gauge = make();
                registry.register(name.clone(), help, gauge.0.inner());
                metrics.insert(name, Metric::Gauge(gauge.clone()));
                gauge
            }
        }
    }
}
