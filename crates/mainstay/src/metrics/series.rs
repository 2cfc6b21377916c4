use mainstay_context::TraceContext;
use prometheus_client::metrics::{
    counter,
    exemplar::HistogramWithExemplars,
    family::{Family, MetricConstructor},
    gauge,
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

/// The most label sets of one metric before new ones are folded into `other`.
pub const MAX_SERIES: usize = 200;

/// The most values of a label that are told apart once the others are folded.
const MAX_KEPT: usize = 50;

type Labels = Vec<(&'static str, String)>;

/// A number that only grows. Clones share it.
#[derive(Clone, Debug)]
pub struct Counter(pub(super) Series<counter::Counter>);

impl Counter {
    /// Adds one under these label values, given in the order of the labels.
    pub fn inc(&self, labels: &[&str]) {
        self.add(1, labels);
    }

    /// Adds `count` under these label values.
    pub fn add(&self, count: u64, labels: &[&str]) {
        self.0.at(labels).inc_by(count);
    }
}

/// A number that rises and falls. Clones share it.
#[derive(Clone, Debug)]
pub struct Gauge(pub(super) Series<gauge::Gauge<f64, AtomicU64>>);

impl Gauge {
    /// Sets the value under these label values, given in the order of the labels.
    pub fn set(&self, value: f64, labels: &[&str]) {
        self.0.at(labels).set(value);
    }

    /// Adds `change`, which may be negative, under these label values.
    pub fn add(&self, change: f64, labels: &[&str]) {
        self.0.at(labels).inc_by(change);
    }
}

/// A distribution of values, counted by upper bounds. Clones share it.
#[derive(Clone, Debug)]
pub struct Histogram(pub(super) Series<Distribution>);

/// Each bucket remembers the trace of its latest value that had one.
pub(super) type Distribution = HistogramWithExemplars<Vec<(&'static str, String)>>;

/// The first label of an exemplar, by which [`text`](super::text) knows one.
pub(super) const TRACE_ID: &str = "trace_id";

impl Histogram {
    /// Keeps the value of `label` when the label sets are too many and the others are folded; it
    /// should have few. Holds for this handle and its clones.
    #[must_use]
    pub fn keeping(mut self, label: &'static str) -> Self {
        self.0.kept = Some(label);
        self
    }

    /// Counts one `value`, in seconds if the metric is a time, under these label values.
    pub fn observe(&self, value: f64, labels: &[&str]) {
        self.0.at(labels).observe(value, None, None);
    }

    /// As [`observe`](Self::observe), with the trace as an exemplar if it is sampled: OpenMetrics
    /// then leads from a bucket to a trace that fell into it.
    pub fn observe_traced(&self, value: f64, labels: &[&str], trace: TraceContext) {
        let ids = || vec![(TRACE_ID, trace.trace_id_hex()), ("span_id", trace.span_id_hex())];
        self.0.at(labels).observe(value, trace.is_sampled().then(ids), None);
    }
}

/// The metrics of one name, by their label values.
#[derive(Clone)]
pub(super) struct Series<M> {
    labels: Arc<[&'static str]>,
    family: Family<Labels, M, Make<M>>,
    size: Arc<AtomicUsize>,
    /// How many of the label sets are folded ones.
    folded: Arc<AtomicUsize>,
    /// The label that keeps its value when the others are folded.
    kept: Option<&'static str>,
    /// Where to count what was folded, and under which name.
    folds: Option<Arc<(Counter, String)>>,
}

impl<M: Clone> Series<M> {
    /// A metric without labels exists at once, others when first used.
    pub(super) fn new(
        labels: &[&'static str],
        make: Make<M>,
        folds: Option<(Counter, String)>,
    ) -> Self {
        let series = Self {
            labels: labels.into(),
            family: Family::new_with_constructor(make),
            size: Arc::default(),
            folded: Arc::default(),
            kept: None,
            folds: folds.map(Arc::new),
        };
        if labels.is_empty() {
            series.at(&[]);
        }
        series
    }

    pub(super) fn family(&self) -> &Family<Labels, M, Make<M>> {
        &self.family
    }

    /// The metric of these label values. Values too few are empty, values too many are ignored.
    fn at(&self, values: &[&str]) -> M {
        debug_assert_eq!(
            values.len(),
            self.labels.len(),
            "one value for each of {:?}",
            self.labels
        );
        let values = values.iter().copied().chain(std::iter::repeat(""));
        let labels: Labels = self.labels.iter().copied().zip(values.map(str::to_owned)).collect();
        if let Some(metric) = self.family.get(&labels) {
            return metric.clone();
        }
        if self.size.fetch_add(1, Relaxed) < MAX_SERIES {
            return self.family.get_or_create_owned(&labels);
        }
        if let Some((counter, name)) = self.folds.as_deref() {
            counter.inc(&[name]);
        }
        self.fold(labels)
    }

    fn fold(&self, labels: Labels) -> M {
        let other = || "other".to_owned();
        let kept = |label| self.kept == Some(label);
        let fold = |(label, value)| (label, if kept(label) { value } else { other() });
        let labels: Labels = labels.into_iter().map(fold).collect();
        if let Some(metric) = self.family.get(&labels) {
            return metric.clone();
        }
        if self.folded.fetch_add(1, Relaxed) < MAX_KEPT {
            return self.family.get_or_create_owned(&labels);
        }
        let all = self.labels.iter().map(|label| (*label, other())).collect();
        self.family.get_or_create_owned(&all)
    }
}

impl<M> fmt::Debug for Series<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("labels", &self.labels).finish_non_exhaustive()
    }
}

/// Makes the metric of a new label set.
pub(super) struct Make<M>(Arc<dyn Fn() -> M + Send + Sync>);

impl<M: Default + 'static> Default for Make<M> {
    fn default() -> Self {
        Self(Arc::new(M::default))
    }
}

impl Make<Distribution> {
    pub(super) fn buckets(upper_bounds: &[f64]) -> Self {
        let upper_bounds = upper_bounds.to_vec();
        Self(Arc::new(move || Distribution::new(upper_bounds.iter().copied())))
    }
}

impl<M> Clone for Make<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> MetricConstructor<M> for Make<M> {
    fn new_metric(&self) -> M {
        (self.0)()
    }
}
