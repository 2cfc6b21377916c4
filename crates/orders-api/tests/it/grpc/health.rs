//! Health by the standard of gRPC.

use std::time::Duration;

use mainstay::lifecycle::Phase;
use orders_api::grpc::health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tokio::time::Instant;
use tonic::{Code, Request, Streaming};

use super::caller::Caller;
use crate::shop::Shop;

type Answers = Streaming<orders_api::grpc::health::pb::HealthCheckResponse>;

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

/// What a watch tells next; `None` at its end.
async fn next(answers: &mut Answers) -> Option<ServingStatus> {
    answers.message().await.unwrap().map(|answer| answer.status())
}

#[tokio::test]
async fn health_is_told_to_all_by_what_readiness_is_told_by() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    for (phase, status) in
        [(Phase::Ready, ServingStatus::Serving), (Phase::LameDuck, ServingStatus::NotServing)]
    {
        shop.phase.send_replace(phase);
        for service in ["", "orders.v1.OrderService"] {
            let answer = caller.health.check(of(service)).await.unwrap().into_inner();
            assert_eq!(answer.status(), status, "{service:?} when {phase}");
        }
    }
    let status = caller.health.check(of("orders.v2.OrderService")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_each_change_and_ends_with_the_process() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut answers = caller.health.watch(of("")).await.unwrap().into_inner();
    assert_eq!(next(&mut answers).await, Some(ServingStatus::Serving));
    shop.phase.send_replace(Phase::LameDuck);
    assert_eq!(next(&mut answers).await, Some(ServingStatus::NotServing));
    shop.phase.send_replace(Phase::Draining);
    assert_eq!(next(&mut answers).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_by_the_deadline_of_its_caller() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut asked = Request::new(of(""));
    asked.set_timeout(Duration::from_secs(12));
    let before = Instant::now();
    let mut answers = caller.health.watch(asked).await.unwrap().into_inner();
    assert_eq!(next(&mut answers).await, Some(ServingStatus::Serving));
    let status = answers.message().await.unwrap_err();
    assert_eq!(before.elapsed().as_secs(), 12);
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(shop.counts("/grpc.health.v1.Health/Watch", 504));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_known_is_watched_in_vain() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut answers = caller.health.watch(of("orders.v2.OrderService")).await.unwrap().into_inner();
    assert_eq!(next(&mut answers).await, Some(ServingStatus::ServiceUnknown));
    let drain = async { shop.phase.send_replace(Phase::Draining) };
    let (end, _) = tokio::join!(next(&mut answers), drain);
    assert_eq!(end, None);
}
