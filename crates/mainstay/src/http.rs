//! The inbound stack: what every request passes before a handler sees it, but those that a server
//! [sheds](crate::server::Server::with_shedding) before.
//!
//! [`inbound`] gives each request an id and a trace, a [`Context`] with a deadline, RED metrics and
//! one log line, and turns panics and spent deadlines into answers. Outermost first: id and trace,
//! metrics and log line, panics, deadline, the router. [`propagate`] sends the same on to the
//! services that are called for the request.
//!
//! A deadline comes in as `x-request-timeout-ms`, `x-envoy-expected-rq-timeout-ms` or
//! `grpc-timeout`; the smallest of them and of ours holds, and one that cannot be read is a 400. Of
//! the time that Envoy gives, 5 ms or 2 % are kept for the way back, because it is running already. A
//! request that comes with less than 1 ms left is a 504 at once, but never more than a fifth of
//! those that bring a deadline in ten seconds: the others are served, because it is their peer's
//! sense of time that is wrong (`http_spent_deadlines_total{outcome}` counts both).
//!
//! Per request, told by the line with the target `http.access`: `request_id`, `trace_id`,
//! `span_id`, `method`, `route` (the pattern that matched), `path` (its first 256 bytes, without
//! the query), `status`, `duration_ms`,
//! `bytes` of the answer, and where they exist `principal`, `code` (of an error), `attempt`
//! (above the first, by `x-envoy-attempt-count` or `grpc-previous-rpc-attempts`), `queue_ms` and
//! `store_ms` (the parts of the duration spent in queues and in the store) and `cut` (the caller left
//! before the end). The status of an answer that fails after its head is that of
//! [the failure](Record::set_failed). A request ends when the
//! last byte of its answer was handed to the connection, or when its caller went away; a caller
//! that left before there was an answer is status 499, or 504 if its deadline had passed by then.
//!
//! The ids are those of the `traceparent` header of the answer, of the exemplars of the metrics and,
//! where traces are sent, of the request's span, whose parent is the caller's. The flag "sampled"
//! then says whether the trace is recorded here; where none is sent, it stays as the caller set it.
//!
//! A request that came through [`Server`](crate::server::Server) begins when the last bytes of its header
//! came to this machine, where the system tells ([`Arrived`]): its deadline and its duration count from
//! then, and what it waited to be read is in `queue_ms`.
//!
//! Each request that came through [`Server`](crate::server::Server) is told the address of its client,
//! [`ClientAddr`].
//!
//! Not here: authentication, rate limits, admission, limits on bodies.

mod access;
mod client_addr;
mod cx;
mod deadline;
mod failure;
mod ids;
mod in_flight;
mod outbound;
mod spent;

pub use self::access::Record;
pub use self::client_addr::ClientAddr;
pub use self::cx::{Cx, set_principal};
pub use self::deadline::{StreamDeadline, TimeoutHeader};
pub use self::failure::Failure;
pub use self::in_flight::{InFlight, InFlightRequest};
pub use self::outbound::{propagate, propagate_grpc};
pub(crate) use self::{
    deadline::asked,
    ids::{Ids, random},
    outbound::answered_try,
};

use self::{access::Exchange, spent::SpentDeadlines};
use crate::{
    metrics::{self, Counter, Gauge, Histogram, Metrics},
    panics,
    server::{Arrived, Network, PeerAddr},
    telemetry,
};
use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use futures_util::FutureExt;
use mainstay_context::{Activity, Cause, Context};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::time::Instant;
use tracing::Instrument;

/// A deadline that is nearer than a timer can tell is spent.
const LEAST_TIME: Duration = Duration::from_millis(1);

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
    proxies: Vec<Network>,
    failures: fn(Failure, &Context) -> Response,
    duration: Histogram,
    in_flight: Gauge,
    requests: InFlight,
    spent: SpentDeadlines,
    spent_deadlines: Counter,
}

impl Stack {
    /// A stack with the default deadlines that reports to `metrics`:
    /// `http_request_duration_seconds{method,route,code}`, `http_requests_in_flight` and
    /// `http_spent_deadlines_total{outcome}`.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            config: Config::default(),
            streams: Vec::new(),
            proxies: Vec::new(),
            failures: Failure::problem,
            duration: metrics
                .histogram(
                    "http_request_duration_seconds",
                    "Time from a request's header to the end of its answer",
                    &["method", "route", "code"],
                    metrics::LATENCY_BUCKETS,
                )
                // What is asked for is up to the caller; errors must be seen whatever was asked.
                .keeping("code"),
            in_flight: metrics.gauge(
                "http_requests_in_flight",
                "Requests whose answer is not finished",
                &[],
            ),
            requests: InFlight::default(),
            spent: SpentDeadlines::default(),
            spent_deadlines: metrics.counter(
                "http_spent_deadlines_total",
                "Requests whose deadline was spent when they came: rejected, or served in spite of it",
                &["outcome"],
            ),
        }
    }

    /// Sets the deadlines.
    #[must_use]
    pub fn with_config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Lets the route with exactly this pattern stream. The head of its answer must be there by the
    /// largest deadline, or by that of the caller where it is nearer: what is held for a request until then
    /// is held no longer. After it nothing of ours applies, and the context of the handler has no deadline.
    /// It is told of the caller's by [`StreamDeadline`].
    #[must_use]
    pub fn with_stream(mut self, route: impl Into<String>) -> Self {
        self.streams.push(route.into());
        self
    }

    /// Believes what these proxies say of whom they speak for; see [`ClientAddr`]. Without this nobody
    /// is believed.
    #[must_use]
    pub fn with_trusted_proxies(mut self, proxies: Vec<Network>) -> Self {
        self.proxies = proxies;
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

    /// The requests that are being served by this stack, wherever it is put.
    pub fn in_flight(&self) -> InFlight {
        self.requests.clone()
    }

    /// How long this request may take from `now` on.
    fn limits(&self, request: &Request, now: Instant) -> Result<Limits, Failure> {
        let asked = self.admit(asked(request.headers())?, now)?;
        Ok(if self.is_stream(request) {
            let most = self.config.largest_deadline;
            let head = now + asked.map_or(most, |time| time.min(most));
            Limits { head, whole: None, stream: asked.map(|time| now + time) }
        } else {
            let at = now + self.config.limit(asked);
            Limits { head: at, whole: Some(at), stream: None }
        })
    }

    /// The time that the caller gives, as far as it is believed.
    fn admit(&self, asked: Option<Duration>, now: Instant) -> Result<Option<Duration>, Failure> {
        let Some(time) = asked else { return Ok(None) };
        let spent = time < LEAST_TIME;
        let rejected = self.spent.reject(spent, now);
        if !spent {
            return Ok(asked);
        }
        self.spent_deadlines.inc(&[if rejected { "rejected" } else { "served" }]);
        if rejected { Err(Failure::DeadlineExceeded) } else { Ok(None) }
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

/// Until when a request may go on.
struct Limits {
    /// By then the head of the answer must be there.
    head: Instant,
    /// By then all work must end. A stream has none: what it does after its head is not limited.
    whole: Option<Instant>,
    /// By then the caller wants all of a stream, if it says so.
    stream: Option<Instant>,
}

async fn handle(State(stack): State<Arc<Stack>>, mut request: Request, next: Next) -> Response {
    let now = Instant::now();
    let came = request.extensions().get().map_or(now, |Arrived(at)| *at);
    let (method, path) = (access::known_method(request.method()), access::shown_path(&request));
    let server = telemetry::server(&request, method, path);
    let ids = Ids::of(request.headers(), &server);
    let limits = stack.limits(&request, came);
    let cx = Context::new(ids.request_id.clone())
        .with_trace(ids.trace)
        .with_attempt(outbound::attempt(request.headers()));
    let cx = match limits.as_ref().ok().and_then(|limits| limits.whole) {
        Some(at) => cx.with_deadline(at.into_std()),
        None => cx,
    };
    let exchange = Exchange::begin(&stack, &cx, &request, (server.clone(), came));
    cx.enter(Activity::Working, now.into_std());
    let record = exchange.record();
    if let Some(PeerAddr(peer)) = request.extensions().get().copied() {
        let client = ClientAddr::of(peer.ip(), request.headers(), &stack.proxies);
        request.extensions_mut().insert(client);
    }
    request.extensions_mut().insert(record.clone());
    request.extensions_mut().insert(cx.clone());
    if let Some(at) = limits.as_ref().ok().and_then(|limits| limits.stream) {
        request.extensions_mut().insert(StreamDeadline(at));
    }
    let span = tracing::info_span!(
        "request",
        request_id = %ids.request_id,
        trace_id = ids.trace.trace_id_hex()
    );
    let answer = answer(limits, &cx, request, next).instrument(span.clone()).instrument(server);
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
    limits: Result<Limits, Failure>,
    cx: &Context,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    tokio::time::timeout_at(limits?.head, next.run(request)).await.map_err(|_elapsed| {
        cx.cancel(Cause::DeadlineExceeded);
        Failure::DeadlineExceeded
    })
}
