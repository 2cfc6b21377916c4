//! The HTTP API: an axum router, and the OpenAPI document made from the same routes. The gRPC API
//! stands in the same router, behind the same layers.
//!
//! Outermost first: a plain answer made acceptable, compression, the writer of problems,
//! authentication (everything under `/v1`; a webhook has its signature), the routes. The router
//! expects to stand behind `mainstay::http::inbound`, which gives each request its context; the
//! routes in [`STREAMS`] want no total deadline there.

mod batch;
pub(crate) mod body;
mod docs;
mod encodings;
mod examples;
mod feed;
pub(crate) mod gate;
pub(crate) mod headers;
mod history;
mod item;
mod ndjson;
mod openapi;
pub(crate) mod orders;
mod page_token;
pub(crate) mod params;
pub(crate) mod pay;
mod replies;
mod sse;
mod strict;
pub(crate) mod verbs;
pub(crate) mod wait;
mod watchers;
mod webhook;
pub(crate) mod wire;
mod words;

use std::{fmt, sync::Arc, time::Duration};

use ::orders::{
    Error, Orders,
    ports::{Clock as _, Ports},
};
use axum::{Router, middleware};
use mainstay::{lifecycle::Phase, telemetry::SPANS};
use mainstay_context::Context;
use tokio::{sync::watch, time::timeout};
use tower_http::compression::{
    CompressionLayer,
    predicate::{DefaultPredicate, NotForContentType, Predicate as _},
};
use tracing::Instrument as _;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use item::Item;
pub use watchers::Watchers;
pub use webhook::{InvalidSecrets, Secrets, Webhooks};

use crate::{auth::Keys, grpc, problem::Problem};

/// The routes that stream: give them to `mainstay::http::Stack::with_stream`.
pub const STREAMS: [&str; 2] = [batch::PATH, feed::PATH];

/// What the API needs besides the use cases.
pub struct Config {
    /// The keys that open it.
    pub keys: Keys,
    /// What page tokens are authenticated with; the same on every replica.
    pub page_secret: [u8; 32],
    /// The largest body that is read, in bytes. Default 256 KiB.
    pub body_limit: usize,
    /// How long each order of a streamed batch, and each read for a live feed, may take. Default 2 s.
    pub step: Duration,
    /// Where the process stands: live feeds end at [`Phase::Draining`], with a resume position.
    pub phase: watch::Receiver<Phase>,
    /// The live feeds, for whoever measures them.
    pub watchers: Watchers,
    /// Whether there is a gateway to pay through. Default: no.
    pub payments: bool,
    /// What the gateway's webhooks are checked with. Default: none are taken.
    pub webhooks: Option<Webhooks>,
}

impl Config {
    /// The default limits.
    pub fn new(keys: Keys, page_secret: [u8; 32], phase: watch::Receiver<Phase>) -> Self {
        let (body_limit, step) = (256 * 1024, Duration::from_secs(2));
        let watchers = Watchers::default();
        let (payments, webhooks) = (false, None);
        Self { keys, page_secret, body_limit, step, phase, watchers, payments, webhooks }
    }
}

/// Shows no secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("keys", &self.keys)
            .field("body_limit", &self.body_limit)
            .finish_non_exhaustive()
    }
}

/// What handlers share.
pub(crate) struct Api<P> {
    pub(crate) orders: Arc<Orders<P>>,
    pub(crate) config: Arc<Config>,
    seats: wait::Seats,
}

impl<P> Clone for Api<P> {
    fn clone(&self) -> Self {
        let (orders, config) = (Arc::clone(&self.orders), Arc::clone(&self.config));
        Self { orders, config, seats: self.seats.clone() }
    }
}

impl<P: Ports> Api<P> {
    /// The context of one step of a stream, which has a deadline of its own.
    fn step(&self, cx: &Context) -> Context {
        let now = self.orders.ports().clock().instant();
        cx.child().with_deadline(now + self.config.step)
    }

    /// What comes of one step in its time. The context's deadline alone does not do it: a store
    /// that hangs looks at no clock.
    async fn in_time<T, E: Into<Problem>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Problem> {
        match timeout(self.config.step, work).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(out_of_time()),
        }
    }
}

/// Runs a use case in a span of its own: the core itself knows nothing of traces.
pub(crate) async fn use_case<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    let span = tracing::info_span!(target: SPANS, "use case", otel.name = name);
    work.instrument(span).await
}

/// The problem of work that was left under way when its time was spent.
fn out_of_time() -> Problem {
    let mut problem = Problem::from(Error::DeadlineExceeded);
    "The time was spent before there was an answer; a change that was asked may have taken effect."
        .clone_into(&mut problem.detail);
    problem
}

/// The API over these use cases, for callers of HTTP and of gRPC.
pub fn router<P: Ports>(orders: Arc<Orders<P>>, config: Config) -> Router {
    let api = Api { orders, config: Arc::new(config), seats: wait::Seats::default() };
    let gate = middleware::from_fn_with_state(api.clone(), gate::authenticate::<P>);
    let calls = grpc::routes(&api);
    let (v1, _) = v1::<P>().split_for_parts();
    let (hooks, _) = hooks::<P>().split_for_parts();
    let hooks = hooks.method_not_allowed_fallback(gate::method_not_allowed);
    let whole = DefaultPredicate::new().and(NotForContentType::const_new("application/x-ndjson"));
    v1.method_not_allowed_fallback(gate::method_not_allowed)
        .route_layer(gate)
        .merge(hooks)
        .with_state(api)
        .merge(calls)
        .merge(docs::router(&openapi::<P>()))
        .fallback(gate::no_such_route)
        .layer(middleware::from_fn(gate::write_problems))
        .layer(CompressionLayer::new().compress_when(whole))
        .layer(middleware::map_request(encodings::accept_plain))
}

/// The OpenAPI document, made from the routes of [`router`].
pub fn openapi<P: Ports>() -> utoipa::openapi::OpenApi {
    openapi::complete(v1::<P>().merge(hooks::<P>()).into_openapi())
}

/// What is called by others than clients, and opens with a signature.
fn hooks<P: Ports>() -> OpenApiRouter<Api<P>> {
    OpenApiRouter::default().routes(routes!(webhook::hear))
}

fn v1<P: Ports>() -> OpenApiRouter<Api<P>> {
    OpenApiRouter::default()
        .routes(routes!(orders::create, orders::list))
        .routes(routes!(orders::get))
        .routes(routes!(batch::create_batch))
        .routes(routes!(verbs::confirm))
        .routes(routes!(verbs::cancel))
        .routes(routes!(verbs::fulfill))
        .routes(routes!(verbs::take_back))
        .routes(routes!(verbs::add_note))
        .routes(routes!(pay::pay))
        .routes(routes!(pay::capture))
        .routes(routes!(pay::refund))
        .routes(routes!(pay::record))
        .routes(routes!(pay::resolve))
        .routes(routes!(history::history))
        .routes(routes!(feed::feed))
}
