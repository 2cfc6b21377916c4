//! The inbound stack: what every request passes before a handler sees it.
//!
//! [`inbound`] gives each request an id and a trace, a [`Context`]
//! with a deadline, RED metrics and one log line, and turns panics and spent deadlines into
//! answers. Outermost first: id and trace, metrics and log line, panics, deadline, the router.
//!
//! Per request, told by the line with the target `http.access`: `request_id`, `trace_id`,
//! `method`, `route` (the pattern that matched), `path` (without query), `status`, `duration_ms`,
//! `bytes` of the answer, and where they exist `principal`, `code` (of an error) and `cut`
//! (the caller left before the end). A request ends when the last byte of its answer was handed
//! to the connection, or when its caller went away; a caller that left before there was an
//! answer is status 499.
//!
//! Not here: authentication, rate limits, admission, limits on bodies.

mod access;
mod cx;
mod deadline;
mod failure;
mod ids;

pub use self::access::Record;
pub use self::cx::{Cx, set_principal};
pub use self::failure::Failure;

use self::{access::Exchange, ids::Ids};
use crate::{
    metrics::{self, Gauge, Histogram, Metrics},
    panics,
};
use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use futures_util::FutureExt;
use mainstay_context::{Cause, Context};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tracing::Instrument;

/// How long requests may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The deadline of a request that asks for none. Default 2 s.
    #[serde(with = "crate::config::duration::Text")]
    pub default_deadline: Duration,
    /// The largest deadline a request can ask for. Default 10 s.
    #[serde(with = "crate::config::duration::Text")]
    pub largest_deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { default_deadline: Duration::from_secs(2), largest_deadline: Duration::from_secs(10) }
    }
}

impl Config {
    /// The time for a request that asks for this much.
    fn limit(&self, asked: Option<Duration>) -> Duration {
        asked.unwrap_or(self.default_deadline).min(self.largest_deadline)
    }
}

/// What the inbound stack needs to know.
#[derive(Clone, Debug)]
pub struct Stack {
    config: Config,
    streams: Vec<String>,
    failures: fn(Failure, &Context) -> Response,
    duration: Histogram,
    in_flight: Gauge,
}

impl Stack {
    /// A stack with the default deadlines that reports to `metrics`:
    /// `http_request_duration_seconds{method,route,code}` and `http_requests_in_flight`.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            config: Config::default(),
            streams: Vec::new(),
            failures: Failure::problem,
            duration: metrics.histogram(
                "http_request_duration_seconds",
                "Time from a request's header to the end of its answer",
                &["method", "route", "code"],
                metrics::LATENCY_BUCKETS,
            ),
            in_flight: metrics.gauge(
                "http_requests_in_flight",
                "Requests whose answer is not finished",
                &[],
            ),
        }
    }

    /// Sets the deadlines.
    #[must_use]
    pub fn with_config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Lets the route with exactly this pattern stream: only a deadline that the caller asks for
    /// applies, and it ends with the head of the answer: the context of the handler has none.
    #[must_use]
    pub fn with_stream(mut self, route: impl Into<String>) -> Self {
        self.streams.push(route.into());
        self
    }

    /// Lets the service write the answers to the stack's own failures, so that they read like its
    /// others. The log line has [`Failure::code`], which the answer therefore tells too; without
    /// this they are RFC 9457 problems without a type.
    #[must_use]
    pub fn with_failures(mut self, answer: fn(Failure, &Context) -> Response) -> Self {
        self.failures = answer;
        self
    }

    fn is_stream(&self, request: &Request) -> bool {
        let route = request.extensions().get::<MatchedPath>();
        route.is_some_and(|route| self.streams.iter().any(|stream| stream == route.as_str()))
    }

    fn fail(&self, failure: Failure, cx: &Context, record: &Record) -> Response {
        record.set_code(failure.code());
        (self.failures)(failure, cx)
    }
}

/// Puts the inbound stack around all routes of `router`, its fallback included.
///
/// Routes added to the result later are outside the stack.
pub fn inbound(router: Router, stack: &Stack) -> Router {
    router.layer(from_fn_with_state(Arc::new(stack.clone()), handle))
}

async fn handle(State(stack): State<Arc<Stack>>, mut request: Request, next: Next) -> Response {
    let ids = Ids::of(request.headers());
    let cx = Context::new(ids.request_id.clone()).with_trace(ids.trace);
    let exchange = Exchange::begin(&stack, &cx, &request);
    let record = exchange.record();
    request.extensions_mut().insert(record.clone());
    let span = tracing::info_span!(
        "request",
        request_id = %ids.request_id,
        trace_id = ids.trace.trace_id_hex()
    );
    let answer = answer(&stack, &cx, request, next).instrument(span.clone());
    let mut response = match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => stack.fail(failure, &cx, &record),
        Err(payload) => {
            let panic = panics::message(&*payload);
            span.in_scope(|| tracing::error!(panic, "handler panicked"));
            stack.fail(Failure::Internal, &cx, &record)
        }
    };
    ids.echo(response.headers_mut());
    exchange.answer(response)
}

/// The router's answer, if it comes in time.
async fn answer(
    stack: &Stack,
    cx: &Context,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let asked = deadline::asked(request.headers())?;
    let streams = stack.is_stream(&request);
    let limit = if streams { asked } else { Some(stack.config.limit(asked)) };
    let Some(limit) = limit else {
        request.extensions_mut().insert(cx.clone());
        return Ok(next.run(request).await);
    };
    if limit.is_zero() {
        // Nobody waits any more, so no work may begin, not even one that would be quick.
        cx.cancel(Cause::DeadlineExceeded);
        return Err(Failure::DeadlineExceeded);
    }
    let at = tokio::time::Instant::now() + limit;
    // What a stream does after its head has no deadline, and it keeps this context until its end.
    let own = if streams { cx.clone() } else { cx.clone().with_deadline(at.into_std()) };
    request.extensions_mut().insert(own);
    tokio::time::timeout_at(at, next.run(request)).await.map_err(|_elapsed| {
        cx.cancel(Cause::DeadlineExceeded);
        Failure::DeadlineExceeded
    })
}
