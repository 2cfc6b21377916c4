//! Health by the standard of gRPC, `grpc.health.v1`, for balancers and meshes.
//!
//! Told by what readiness is told by, and open to all. The process as a whole, whose name is empty, and
//! the service of orders are healthy together. A watch ends when the process drains, so that whoever
//! watches goes elsewhere. Whoever finds no seat is told so before anything else: clients that follow the
//! standard take a server that does not implement it for healthy.

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware, routing::post_service};
use futures_util::stream;
use mainstay::lifecycle::Phase;
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Response, Status};

use self::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};
use super::{
    heard::{Takes, hear},
    pb::order_service_server::SERVICE_NAME,
    seats::{Seat, Seats},
    telling::{Call, Telling},
};
use crate::{
    api::{Config, Readiness},
    gate,
    problem::{Code, Problem},
};

generated! {
    /// The messages of `api/grpc/health/v1/health.proto`, a client and a server.
    "grpc.health.v1", missing_docs
}

pub(crate) const CHECK: &str = "/grpc.health.v1.Health/Check";
/// The call that tells of each change.
pub(crate) const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// The largest message, in bytes: it holds a name.
const LARGEST: usize = 1024;
/// How often a watch looks: readiness may change with no change of phase.
const LOOK: Duration = Duration::from_secs(1);

/// The routes of health.
pub(crate) fn routes(config: &Config) -> Router {
    let health = Healthy {
        ready: Arc::clone(&config.ready),
        phase: config.phase.clone(),
        seats: Seats::default(),
    };
    let service = HealthServer::new(health);
    let route = |router: Router, (path, within): (&str, Option<Duration>)| {
        let takes = Takes { most: LARGEST, shape: None, within };
        let hear = middleware::from_fn_with_state(takes, hear);
        router.route(path, post_service(service.clone()).route_layer(hear))
    };
    // A call that streams has no deadline of ours.
    let calls = [(CHECK, None), (WATCH, Some(config.step))];
    let calls = calls.into_iter().fold(Router::new(), route);
    calls.method_not_allowed_fallback(gate::method_not_allowed)
}

/// What health is told by.
struct Healthy {
    ready: Readiness,
    phase: watch::Receiver<Phase>,
    seats: Seats,
}

#[tonic::async_trait]
impl Health for Healthy {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request.get_ref().service) {
            return Err(Problem::new(Code::NotFound, "There is no such service here.").into());
        }
        Ok(Response::new(answer(now(&self.ready))))
    }

    type WatchStream = Telling<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let seat = self.seats.take()?;
        let call = Call::of(&request)?;
        let watching = Watching {
            ready: Arc::clone(&self.ready),
            phase: self.phase.clone(),
            is_known: is_known(&request.get_ref().service),
            told: None,
            _seat: seat,
        };
        Ok(call.tell(stream::unfold(watching, Watching::next)))
    }
}

/// One watch under way.
struct Watching {
    ready: Readiness,
    phase: watch::Receiver<Phase>,
    is_known: bool,
    told: Option<ServingStatus>,
    _seat: Seat,
}

impl Watching {
    /// What is told next: how it is at first, and then each change.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Problem>, Self)> {
        loop {
            let ending = *self.phase.borrow_and_update() >= Phase::Draining;
            let status =
                if self.is_known { now(&self.ready) } else { ServingStatus::ServiceUnknown };
            if self.told.replace(status) != Some(status) {
                return Some((Ok(answer(status)), self));
            }
            if ending {
                return None;
            }
            // A sender that is gone means that the process ends.
            if let Ok(Err(_gone)) = timeout(LOOK, self.phase.changed()).await {
                return None;
            }
        }
    }
}

/// Whether health is told of this service.
fn is_known(service: &str) -> bool {
    service.is_empty() || service == SERVICE_NAME
}

fn now(ready: &Readiness) -> ServingStatus {
    if ready() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
