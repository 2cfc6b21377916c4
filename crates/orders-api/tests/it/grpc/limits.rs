//! How much may be asked: the limits of HTTP, told in the words of gRPC.

use std::time::Duration;

use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    caller::{Caller, create, order, own, refused},
    rows::{call, framed, reason_of, send},
};
use crate::{limits::two_writes_an_hour, shop::NOTHING};

#[tokio::test]
async fn both_protocols_take_from_one_limit_and_tell_what_is_left() {
    let shop = two_writes_an_hour();
    let mut caller = Caller::of(&shop).await;
    shop.created("a").await;
    let placed = caller.client.create_order(own(create("b", order()))).await.unwrap();
    let told = |name: &str| placed.metadata().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(told("ratelimit"), "\"write\";r=0;t=3600");
    assert_eq!(told("ratelimit-policy"), "\"write\";q=2;w=3600");
    let answer = caller.client.create_order(own(create("c", order()))).await;
    let (info, status) = refused(answer, Code::ResourceExhausted, "RATE_LIMITED");
    assert_eq!((info.metadata["retryable"].as_str(), &*info.metadata["limit"]), ("true", "write"));
    let retry = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((Duration::from_secs(1_700)..=Duration::from_mins(30)).contains(&retry), "{retry:?}");
    let quota = status.get_details_quota_failure().unwrap();
    assert_eq!(quota.violations[0].subject, "write");
    assert_eq!(status.metadata().get("ratelimit").unwrap(), "\"write\";r=0;t=3600");
    assert!(status.metadata().get("retry-after").is_none());
}

#[tokio::test]
async fn who_may_not_make_a_call_is_limited_all_the_same() {
    let shop = two_writes_an_hour();
    for (name, reason) in [
        ("CreateOrder", "INSUFFICIENT_SCOPE"),
        ("BatchCreateOrders", "INSUFFICIENT_SCOPE"),
        ("CreateOrder", "RATE_LIMITED"),
        ("BatchCreateOrders", "RATE_LIMITED"),
    ] {
        let request = call(name).header("authorization", NOTHING);
        let status = send(&shop, request, framed(&[])).await.expect_err(name);
        assert_eq!(reason_of(&status).0, reason, "{name}");
    }
}
