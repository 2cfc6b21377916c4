//! The HTTP API: an axum router, and the OpenAPI document made from the same routes. The gRPC API
//! stands in the same router, behind the same layers.
//!
//! Outermost first: a plain answer made acceptable, compression, the writer of problems, the limit on
//! addresses, authentication (everything under `/v1`; a webhook has its signature), the limit on
//! principals, authorisation, admission, the routes. The router expects to stand behind
//! `mainstay::http::inbound`, which gives each request its context; the routes in [`STREAMS`] want no
//! total deadline there.

mod batch;
mod body;
mod docs;
mod encodings;
mod feed;
mod headers;
mod history;
mod item;
mod ndjson;
mod openapi;
mod orders;
mod params;
mod pay;
mod replies;
mod sse;
mod strict;
mod verbs;
mod wait;
mod webhook;
mod words;

use std::sync::Arc;

use ::orders::{Orders, ports::Ports};
use axum::{Router, middleware};
use http::HeaderMap;
use tower_http::compression::{
    CompressionLayer,
    predicate::{DefaultPredicate, NotForContentType, Predicate as _},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::{
    item::Item,
    webhook::{InvalidSecrets, Secrets, Webhooks},
};
pub use crate::{
    api::{Config, Readiness},
    live::Watchers,
};

use crate::{admission, api::Api, gate, grpc, limits};

/// The routes that stream, of both protocols: give them to `mainstay::http::Stack::with_stream`.
pub const STREAMS: [&str; 7] = [
    batch::PATH,
    feed::PATH,
    grpc::BATCH,
    grpc::WATCH,
    grpc::health::WATCH,
    grpc::reflection::V1,
    grpc::reflection::V1_ALPHA,
];

/// The API over these use cases, for callers of HTTP and of gRPC.
pub fn router<P: Ports>(orders: Arc<Orders<P>>, config: Config) -> Router {
    let api = Api::new(orders, config);
    let gate = middleware::from_fn_with_state(api.clone(), gate::authenticate::<P>);
    let addresses = api.config.limits.of_addresses();
    let limit = middleware::from_fn_with_state(api.config.limits.clone(), limits::limit);
    let calls = grpc::routes(&api)
        .merge(grpc::health::routes(&api.config))
        .merge(grpc::reflection::routes(&api.config));
    let admit = admission::layer(&api);
    let (v1, _) = v1::<P>().split_for_parts();
    let (hooks, _) = hooks::<P>().split_for_parts();
    let hooks = hooks.method_not_allowed_fallback(gate::method_not_allowed);
    let whole = DefaultPredicate::new().and(NotForContentType::const_new("application/x-ndjson"));
    let all = v1
        .route_layer(admit)
        .route_layer(middleware::from_fn(gate::authorize))
        .route_layer(limit)
        .route_layer(gate)
        .merge(hooks)
        .with_state(api)
        .merge(calls)
        .merge(docs::router(&openapi::<P>()))
        .fallback(gate::no_such_route);
    let all = match addresses {
        Some(addresses) => all.layer(addresses),
        None => all,
    };
    all.layer(middleware::from_fn(gate::write_problems))
        .layer(CompressionLayer::new().compress_when(whole))
        .layer(middleware::map_request(encodings::accept_plain))
}

/// Whether a request for this route streams: not all do for which HTTP has one that may.
pub(crate) fn is_stream(route: &str, headers: &HeaderMap) -> bool {
    match route {
        feed::PATH => headers::wants_events(headers),
        batch::PATH => body::is_type(headers, ndjson::TYPE),
        route => STREAMS.contains(&route),
    }
}

/// Whether this is the address of batches.
pub(crate) fn is_batch(path: &str) -> bool {
    path == batch::PATH
}

/// Whether a request for this address opens a live feed.
pub(crate) fn opens_a_feed(path: &str, headers: &HeaderMap) -> bool {
    path == feed::PATH && headers::wants_events(headers)
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
