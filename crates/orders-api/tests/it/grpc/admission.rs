//! What calls are told under load.

use std::time::Duration;

use mainstay_resilience::admission::Config;
use orders_api::grpc::health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::caller::{Caller, create, order, own, refused};
use crate::admission::crowded;

#[tokio::test]
async fn a_change_that_would_wait_too_long_is_refused_and_what_is_not_one_is_not() {
    let shop = crowded(Config::default());
    let mut caller = Caller::of(&shop).await;
    let id = caller.created("a").await.id;
    shop.world.expect_wait(Duration::from_secs(5));
    let answer = caller.client.create_order(own(create("b", order()))).await;
    let (info, status) = refused(answer, Code::Unavailable, "OVERLOADED");
    assert_eq!(info.metadata["retryable"], "true");
    let retry = status.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(retry, Some(Duration::from_secs(8)));
    assert_eq!(caller.order(&id).await.version, 1);
    let health = caller.health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);
}
