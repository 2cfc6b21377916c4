//! The contract over HTTP, `/sim/` for whoever tests with it, and a page for people.
//!
//! Outermost first: what a fault makes of an answer, the chassis's inbound stack, being down,
//! authentication, the routes. Faults of answers stand outside the stack, because its deadline
//! would end them: a request that hangs has been answered as far as the stack knows.
//!
//! Faults that end a connection are made for HTTP/1.1. Over HTTP/2 they end the stream, and the
//! head of an answer may have been sent by then. The end is a plain one (FIN): the chassis hands
//! out no socket that could be made to send RST.

mod api;
mod body;
mod control;
mod export;
mod gate;
mod page;
mod problem;
mod ruin;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{any, get, post},
};
use mainstay::http::{Stack, inbound};

use crate::gateway::Gateway;

macro_rules! contract {
    ($($method:ident $path:literal $handler:path;)+) => {
        /// The routes of the contract: method and path, as in `api/gateway.yaml`.
        pub const CONTRACT: &[(&str, &str)] = &[$((stringify!($method), $path)),+];

        fn contract() -> Router<Arc<Gateway>> {
            Router::new()$(.route($path, $method($handler)))+
        }
    };
}

contract! {
    post "/v1/authorizations" api::authorize;
    post "/v1/captures" api::capture;
    post "/v1/voids" api::void;
    post "/v1/refunds" api::refund;
    get "/v1/operations/{reference}" api::lookup;
    get "/v1/capabilities" api::capabilities;
}

pub(crate) fn router(gateway: &Arc<Gateway>, stack: &Stack) -> Router {
    let state = Arc::clone(gateway);
    let authenticate = middleware::from_fn_with_state(Arc::clone(gateway), gate::authenticate);
    let down = middleware::from_fn_with_state(Arc::clone(gateway), gate::down);
    let control = Router::new()
        .route("/sim/faults", get(control::faults).put(control::set_faults))
        .route("/sim/reset", post(control::reset))
        .route("/sim/ledger", get(control::ledger))
        .route_layer(authenticate.clone());
    let routes = contract()
        .route_layer(authenticate)
        .route_layer(down)
        .merge(control)
        .route(ruin::REDIRECTED, any(control::redirected))
        .route("/", get(page::show))
        .route(export::PATH, get(export::ledger))
        .method_not_allowed_fallback(gate::method_not_allowed)
        .fallback(gate::no_such_route)
        .layer(middleware::from_fn(gate::tell_code))
        .with_state(state);
    inbound(routes, stack).layer(middleware::from_fn(ruin::spoil))
}
