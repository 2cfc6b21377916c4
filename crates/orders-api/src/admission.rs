//! Which requests ask to be let in, and for what each waits behind that.
//!
//! A request of one order or page takes a permit, and so does a batch that comes as a whole; a change is
//! refused as well when it would wait for too long in the store's queue. Refused is before anything is
//! read of the body. Pages of the feed and batches have no deadline of their own, since their routes may
//! stream: they wait for as long as one of their steps may take, and have their permit until there is the
//! head of their answer, which the stack bounds.
//!
//! No permit is asked of what streams, since each of its orders has a turn of its own in the store's
//! queue; of health, reflection and the documents; and of the gateway's webhook, which no key opens, so
//! that nobody fills the service with it.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request},
    response::{IntoResponse as _, Response},
};
use mainstay_context::Context;
use mainstay_resilience::admission::{Layer, Refused};
use orders::{
    domain::TenantId,
    ports::{Ports, Store as _},
};

use crate::{api::Api, grpc, http::is_stream, problem::Problem};

/// How a refusal is told.
type Answer = fn(Refused) -> Response;

/// The layer before the routes of clients, whatever they speak; all of them share one admission.
pub(crate) fn layer<P: Ports>(
    api: &Api<P>,
) -> Layer<impl Fn(&Request) -> Option<Duration> + Clone + Send + Sync + use<P>, Answer> {
    let orders = Arc::clone(&api.orders);
    let beyond = move |request: &Request| match work(request) {
        Work::Stream => None,
        Work::Read => Some(Duration::ZERO),
        Work::Change => Some(stored_after(orders.ports(), request)),
    };
    let answer: Answer = |refused| Problem::from(refused).into_response();
    Layer::new(api.config.admission.clone(), beyond, answer).with_patience(api.config.step)
}

/// What a request is, by what it waits for.
enum Work {
    Stream,
    Read,
    Change,
}

fn work(request: &Request) -> Work {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if is_stream(route, request.headers()) {
        Work::Stream
    } else if request.method().is_safe() || grpc::is_read(route) {
        Work::Read
    } else {
        Work::Change
    }
}

/// How long a change of whoever asks would wait for its turn in the store.
fn stored_after(ports: &impl Ports, request: &Request) -> Duration {
    let principal = request.extensions().get().and_then(Context::principal);
    let tenant = principal.and_then(|principal| principal.tenant.parse::<TenantId>().ok());
    tenant.map_or(Duration::ZERO, |tenant| ports.store().expected_wait(&tenant))
}
