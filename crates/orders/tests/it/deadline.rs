use std::time::Duration;

use mainstay_context::{Cause, Context};
use orders::{
    Error,
    ports::{OrderRef, Page},
};
use orders_testkit::{
    Fault, World,
    builders::{context, draft, key},
};

const SECOND: Duration = Duration::from_secs(1);

fn within(time: Duration) -> Context {
    context("acme").with_deadline((tokio::time::Instant::now() + time).into_std())
}

#[tokio::test(start_paused = true)]
async fn a_spent_deadline_starts_no_work() {
    let world = World::new(1);
    let orders = world.orders();
    let cx = within(Duration::ZERO);
    let error = orders.create(&cx, draft(), key("a")).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded), "{error:?}");
    let page = Page { after: None, limit: 1 };
    let error = orders.feed(&cx, page).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded), "{error:?}");
    assert_eq!(orders.feed(&context("acme"), page).await.unwrap().head.0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_before_the_commit_leaves_nothing() {
    let world = World::new(1);
    let orders = world.orders();
    world.fail_next(Fault::Slow(SECOND * 2));
    let error = orders.create(&within(SECOND), draft(), key("a")).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded), "{error:?}");
    assert!(!orders.create(&context("acme"), draft(), key("a")).await.unwrap().replayed);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_the_outcome_is_open_leaves_it_unknown() {
    let world = World::new(1);
    let orders = world.orders();
    world.fail_next(Fault::ReplyLost);
    world.fail_next(Fault::Slow(SECOND * 2));
    let error = orders.create(&within(SECOND), draft(), key("a")).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown), "{error:?}");
    assert!(orders.create(&context("acme"), draft(), key("a")).await.unwrap().replayed);
}

#[tokio::test]
async fn a_cancelled_request_starts_no_work() {
    let world = World::new(1);
    let (orders, cx) = (world.orders(), context("acme"));
    let id = orders.create(&cx, draft(), key("a")).await.unwrap().record.order.id;
    cx.cancel(Cause::CallerGone);
    let error = orders.get(&cx, OrderRef::Id(id)).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded), "{error:?}");
    let error = orders.create(&cx, draft(), key("b")).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded), "{error:?}");
}
