//! Sends finished spans to a collector: OTLP over HTTP, in batches, from a thread of its own that
//! needs no runtime.

use super::{Error, SPANS};
use crate::metrics::Metrics;
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::{Context, trace::TracerProvider};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData,
        SpanExporter, SpanProcessor,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tracing_subscriber::{Layer, Registry, filter::filter_fn};

/// The most finished spans that wait or are being sent; more are dropped. The default of OpenTelemetry's SDKs.
const QUEUE: usize = 2_048;
/// How often spans are sent when there are few, so that a trace can be looked at soon.
const EVERY: Duration = Duration::from_secs(1);
/// How long one batch may take, retries included.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most of the collector's answer that is read.
const ANSWER: u64 = 64 << 10;

/// Where traces go, and which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// The whole URL that takes OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`; plain
    /// HTTP, so a collector that is not on this machine or its network wants an agent between.
    /// Default: none, and nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The share of traces begun here that are recorded, from 0 to 1. Of a trace that a caller
    /// began, the caller has decided. Default 1, as of OpenTelemetry's SDKs.
    pub sample_ratio: f64,
}

impl Default for Traces {
    fn default() -> Self {
        Self { endpoint: None, sample_ratio: 1.0 }
    }
}

impl Traces {
    /// Whether the share is one.
    ///
    /// # Errors
    ///
    /// Fails when it is not from 0 to 1.
    pub fn check_ratio(&self) -> Result<(), Error> {
        if (0.0..=1.0).contains(&self.sample_ratio) {
            return Ok(());
        }
        Err(Error::Traces(format!("sample_ratio {} is not from 0 to 1", self.sample_ratio)))
    }

    /// Whether the collector's address can be used.
    ///
    /// # Errors
    ///
    /// Fails when it is not plain HTTP, or holds a user.
    pub fn check_endpoint(&self) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::Traces(reason));
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        match endpoint.parse::<http::Uri>() {
            // What stands before an @ is a secret, and this text is shown.
            Ok(uri) if uri.scheme_str() == Some("http") && !endpoint.contains('@') => Ok(()),
            Ok(_) | Err(_) => refuse(
                "the endpoint must be a plain HTTP address without a user, such as \
                 http://127.0.0.1:4318/v1/traces"
                    .to_owned(),
            ),
        }
    }
}

/// The way to the collector.
#[derive(Debug)]
pub(super) struct Exporter {
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    /// Whether the last batch could not be sent.
    failing: AtomicBool,
}

impl Counts {
    fn sent(&self, spans: u64) {
        self.exported.fetch_add(spans, Relaxed);
        if self.failing.swap(false, Relaxed) {
            let (failed, dropped) = (self.failed.load(Relaxed), self.dropped.load(Relaxed));
            tracing::info!(failed, dropped, "the collector takes spans again");
        }
    }

    /// Says so once, however long it lasts.
    fn not_sent(&self, spans: u64, error: &OTelSdkError) {
        self.failed.fetch_add(spans, Relaxed);
        if !self.failing.swap(true, Relaxed) {
            tracing::warn!(%error, "spans are lost until the collector takes them");
        }
    }
}

impl Exporter {
    /// `None` when there is no collector.
    pub(super) fn start(service: &str, traces: &Traces) -> Result<Option<Self>, Error> {
        let Some(endpoint) = &traces.endpoint else { return Ok(None) };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new())
            .with_endpoint(endpoint)
            .with_timeout(PATIENCE)
            .build()
            .map_err(|error| Error::Traces(error.to_string()))?;
        Ok(Some(Self::over(exporter, service, traces.sample_ratio)))
    }

    fn over(exporter: impl SpanExporter + 'static, service: &str, sample_ratio: f64) -> Self {
        let counts = Arc::new(Counts::default());
        let exporter = Counted { exporter, counts: Arc::clone(&counts) };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_scheduled_delay(EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let begun_here = Sampler::TraceIdRatioBased(sample_ratio);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded { processor, counts: Arc::clone(&counts) })
            .with_sampler(Sampler::ParentBased(Box::new(begun_here)))
            .with_resource(Resource::builder_empty().with_service_name(service.to_owned()).build())
            .build();
        Self { provider, counts }
    }

    /// Sends what waits, but no longer than `limit`.
    pub(super) fn end(&self, limit: Duration) {
        let ended = self.provider.shutdown_with_timeout(limit);
        let left = self.counts.waiting.load(Relaxed);
        if let Err(error) = ended
            && left > 0
        {
            tracing::warn!(%error, spans = left, "the last spans could not be sent in time");
        }
    }

    /// Makes spans of [`SPANS`], with the fields they were written with and no others.
    pub(super) fn layer(&self) -> impl Layer<Registry> + Send + Sync + use<> {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("mainstay"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == SPANS))
    }
}

/// Tells what became of the spans; all zero without a collector.
pub(super) fn measure(exporter: Option<&Exporter>, metrics: &Metrics) {
    let counts = exporter.map(|exporter| Arc::clone(&exporter.counts)).unwrap_or_default();
    let counter = |name: &str, help: &str, read: fn(&Counts) -> &AtomicU64| {
        let counts = Arc::clone(&counts);
        metrics.counter_fn(name, help, move || read(&counts).load(Relaxed));
    };
    counter("trace_spans_exported", "Spans that the collector took", |counts| &counts.exported);
    counter("trace_spans_failed", "Spans that could not be sent", |counts| &counts.failed);
    counter("trace_spans_dropped", "Spans that found the queue full", |counts| &counts.dropped);
}

/// Counts what waits, so that what is dropped is known: the SDK's own queue, which is as large,
/// never overflows.
#[derive(Debug)]
struct Bounded {
    processor: BatchSpanProcessor,
    counts: Arc<Counts>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let Counts { waiting, dropped, .. } = &*self.counts;
        if waiting.fetch_add(1, Relaxed) >= QUEUE {
            waiting.fetch_sub(1, Relaxed);
            dropped.fetch_add(1, Relaxed);
            return;
        }
        self.processor.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

/// Counts what is sent, and says when the collector begins to fail and when that is over.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    counts: Arc<Counts>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let spans = u64::try_from(count).unwrap_or(u64::MAX);
        let sent = self.exporter.export(batch).await;
        match &sent {
            Ok(()) => self.counts.sent(spans),
            Err(error) => self.counts.not_sent(spans, error),
        }
        self.counts.waiting.fetch_sub(count, Relaxed);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Posts what the exporter made. Blocks its thread, which has nothing else to do.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            // From the environment otherwise; what is sent where is told by the configuration.
            .proxy(None);
        Self(config.build().into())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let (head, body) = self.0.run(request.map(Vec::from))?.into_parts();
        let body = body.into_with_config().limit(ANSWER).read_to_vec()?;
        Ok(http::Response::from_parts(head, body.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;
    use opentelemetry::trace::{Span as _, Tracer as _};
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, sync_channel};

    /// A collector that takes nothing before it is told to.
    #[derive(Debug)]
    struct Held(Mutex<Receiver<()>>);

    impl SpanExporter for Held {
        async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
            // Told once; from then on the sender is gone and nothing is held.
            let _told = self.0.lock().map(|told| told.recv().is_ok()).is_ok();
            Ok(())
        }
    }

    #[test]
    fn spans_beyond_the_queue_are_dropped_and_counted_and_the_others_sent() {
        let (release, held) = sync_channel(0);
        let exporter = Exporter::over(Held(Mutex::new(held)), "test", 1.0);
        let tracer = exporter.provider.tracer("test");
        for _ in 0..QUEUE + 7 {
            tracer.start("work").end();
        }
        let metrics = Metrics::new("shop");
        measure(Some(&exporter), &metrics);
        assert!(metrics.render(Format::Text).contains("shop_trace_spans_dropped_total 7\n"));
        drop::<std::sync::mpsc::SyncSender<()>>(release);
        exporter.end(Duration::from_mins(1));
        let sent = format!("shop_trace_spans_exported_total {QUEUE}\n");
        assert!(metrics.render(Format::Text).contains(&sent));
    }
}
