//! Health by the standard of gRPC, `grpc.health.v1`, for balancers and meshes.
//!
//! Told by what readiness is told by, and open to all. The process as a whole, whose name is empty, and
//! the service of orders are healthy together. A watch ends when the process drains, so that whoever
//! watches goes elsewhere. Whoever finds no seat is told to do without, before anything else: clients that
//! follow the standard take a server that does not implement it for healthy, and do not ask at once again.

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware, routing::post_service};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use mainstay::lifecycle::Phase;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tonic::{Request, Response, Status};

use self::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};
use super::{
    heard::{Takes, hear},
    pb::order_service_server::SERVICE_NAME,
};
use crate::{
    api::{Config, Readiness},
    gate,
    problem::{Code, Problem},
};

/// The messages of `api/grpc/health/v1/health.proto`, a client and a server.
#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    missing_docs,
    unused_qualifications,
    reason = "it is generated, from a file of others"
)]
pub mod pb {
    tonic::include_proto!("grpc.health.v1");
}

/// The largest message, in bytes: it holds a name.
const LARGEST: usize = 1024;
/// How many watch at a time.
const AT_ONCE: usize = 1_024;
/// How often a watch looks: readiness may change with no change of phase.
const LOOK: Duration = Duration::from_secs(1);

/// The routes of health.
pub(crate) fn routes(config: &Config) -> Router {
    let health = Healthy {
        ready: Arc::clone(&config.ready),
        phase: config.phase.clone(),
        seats: Arc::new(Semaphore::new(AT_ONCE)),
    };
    let service = HealthServer::new(health);
    let takes = Takes { most: LARGEST, shape: None, within: None };
    let route = |router: Router, call: &str| {
        let hear = middleware::from_fn_with_state(takes, hear);
        let path = format!("/grpc.health.v1.Health/{call}");
        router.route(&path, post_service(service.clone()).route_layer(hear))
    };
    let calls = ["Check", "Watch"].into_iter().fold(Router::new(), route);
    calls.method_not_allowed_fallback(gate::method_not_allowed)
}

/// What health is told by.
struct Healthy {
    ready: Readiness,
    phase: watch::Receiver<Phase>,
    seats: Arc<Semaphore>,
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

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let seat = Arc::clone(&self.seats).try_acquire_owned();
        let seat = seat.map_err(|_full| Status::unimplemented("too many watch; ask Check"))?;
        let watching = Watching {
            ready: Arc::clone(&self.ready),
            phase: self.phase.clone(),
            is_known: is_known(&request.get_ref().service),
            told: None,
            _seat: seat,
        };
        Ok(Response::new(stream::unfold(watching, Watching::next).boxed()))
    }
}

/// One watch under way.
struct Watching {
    ready: Readiness,
    phase: watch::Receiver<Phase>,
    is_known: bool,
    told: Option<ServingStatus>,
    _seat: OwnedSemaphorePermit,
}

impl Watching {
    /// What is told next: how it is at first, and then each change.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_finds_no_seat_is_told_to_do_without_a_watch() {
        let (_sender, phase) = watch::channel(Phase::Ready);
        let healthy =
            Healthy { ready: Arc::new(|| true), phase, seats: Arc::new(Semaphore::new(1)) };
        let watch = || healthy.watch(Request::new(HealthCheckRequest::default()));
        let mut seated = watch().await.unwrap().into_inner();
        assert_eq!(seated.next().await.unwrap().unwrap(), answer(ServingStatus::Serving));
        // Before any answer: a client that is told how it is and then that this ends asks again at once.
        assert_eq!(watch().await.err().unwrap().code(), tonic::Code::Unimplemented);
        drop(seated);
        assert!(watch().await.is_ok());
    }
}
