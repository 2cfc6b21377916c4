//! The spans of a trace, and the ids they share with headers, log lines and exemplars.

use axum::extract::{MatchedPath, Request};
use mainstay_context::TraceContext;
use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, TraceContextExt, TraceState},
};
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of the spans that are sent to a collector; no log line shows them, and without a
/// collector they cost nothing.
///
/// ```
/// # use mainstay::telemetry::SPANS;
/// let span = tracing::info_span!(target: SPANS, "commit", db.system.name = "sqlite");
/// ```
pub const SPANS: &str = "traces";

/// The span of a request, by OpenTelemetry's conventions for HTTP servers.
pub(crate) fn server(request: &Request, method: &'static str, path: &str) -> Span {
    let route = request.extensions().get().map_or("", MatchedPath::as_str);
    tracing::info_span!(
        target: SPANS,
        parent: None,
        "request",
        otel.name = format_args!("{method}{}{route}", if route.is_empty() { "" } else { " " }),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = (!route.is_empty()).then_some(route),
        http.response.status_code = Empty,
        url.path = path,
        request_id = Empty,
    )
}

/// Begins the trace of `span`, in that of the caller if there is one, and tells its ids; `None`
/// when spans are not sent anywhere.
///
/// The caller's `tracestate` is not carried on.
pub(crate) fn begin(span: &Span, caller: Option<TraceContext>) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    if let Some(parent) = caller.and_then(remote) {
        // Fails only where nothing sends spans, and then there is no context below either.
        let _set = span.set_parent(parent).is_ok();
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    let trace = TraceContext::new(own.trace_id().to_bytes(), own.span_id().to_bytes());
    own.is_valid().then(|| trace.with_sampled(own.is_sampled()))
}

fn remote(caller: TraceContext) -> Option<Context> {
    let trace = TraceId::from_hex(&caller.trace_id_hex()).ok()?;
    let span = SpanId::from_hex(&caller.span_id_hex()).ok()?;
    let flags = TraceFlags::default().with_sampled(caller.is_sampled());
    let span = SpanContext::new(trace, span, flags, true, TraceState::default());
    Some(Context::new().with_remote_span_context(span))
}
