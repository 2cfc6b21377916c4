//! Callers that go away, at any await, and reads that take too long.

use std::time::Duration;

use mainstay_context::Context;
use orders::ports::{OrderRef, Ports as _, ReadError, Store as _};
use orders_adapters::postgres::{Config, Postgres};
use orders_testkit::{
    builders,
    proxy::{Fault, Way},
    servers,
};
use tokio::time::Instant;

use super::{
    beside::{Session, proxied, sound, until},
    dropping::{every_call, narrow, narrow_process, serves},
    fixture::Fixture,
};

async fn every_call_may_be_dropped(config: &Config) {
    for (name, awaits) in every_call(config).await {
        assert!(awaits > 1, "{name} was never dropped half-way");
    }
    sound(config).await;
}

#[tokio::test]
async fn a_call_dropped_at_any_await_leaves_the_store_as_it_was() {
    every_call_may_be_dropped(&narrow(Config::at(servers::postgres().database()))).await;
}

#[tokio::test]
async fn a_call_dropped_at_any_await_leaves_the_store_behind_a_pooler_as_it_was() {
    every_call_may_be_dropped(&narrow(Fixture::behind_a_pooler())).await;
}

#[tokio::test]
async fn a_dropped_read_that_cannot_be_cancelled_keeps_its_place_in_the_pool() {
    let database = servers::postgres().database();
    let (proxy, url) = proxied(&database);
    let config = narrow(Config {
        direct_url: Some(database),
        connect_timeout: Duration::from_hours(1),
        poll: Duration::from_hours(1),
        ..Config::at(url)
    });
    let orders = narrow_process(&config).await;
    let shop = builders::context("shop");
    let done = orders.create(&shop, builders::draft(), builders::key("locked")).await.unwrap();
    let (order, tenant) = (OrderRef::Id(done.record.order.id), "shop".parse().unwrap());
    let store = orders.ports().store();
    until(async || store.head().0 == 1).await;
    let (locker, watcher) = (Session::open(&config).await, Session::open(&config).await);
    locker.run("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").await;
    tokio::select! {
        answer = store.order(&shop, &tenant, order) => panic!("{answer:?}"),
        () = until(async || watcher.number(STUCK).await == 1) => {}
    }
    // Who connects now waits, whether to cancel or to read.
    proxy.set(Fault::Blackhole { way: Way::ToServer });
    let before = proxy.counts().connections;
    let answer = store.order(&within(Duration::from_millis(500)), &tenant, order).await;
    assert!(matches!(answer, Err(ReadError::Expired)), "{answer:?}");
    assert!(proxy.counts().connections <= before + 1, "one is there to cancel, and none to read");
    assert_eq!(watcher.number(STUCK).await, 1, "it goes on");
    locker.run("ROLLBACK").await;
    store.close().await;
}

/// How many of the store's statements wait for a lock.
const STUCK: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND application_name <> 'beside' AND state = 'active' AND wait_event_type = 'Lock'";

/// Reads an order behind a lock that a session connected by `beside` holds; hands the read's future
/// in, with a way to see it at the server.
pub(crate) async fn behind_a_lock(
    config: &Config,
    beside: &Config,
    cx: Context,
    what: impl AsyncFn(&Postgres, Read<'_>),
) {
    let orders = narrow_process(config).await;
    let shop = builders::context("shop");
    let done = orders.create(&shop, builders::draft(), builders::key("locked")).await.unwrap();
    let (locker, watcher) = (Session::open(beside).await, Session::open(beside).await);
    locker.run("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").await;
    let store = orders.ports().store();
    what(store, Read { cx, order: OrderRef::Id(done.record.order.id), watcher: &watcher }).await;
    // The lock is held still, so whatever does not wait any more was cancelled.
    until(async || watcher.number(STUCK).await == 0).await;
    locker.run("ROLLBACK").await;
    serves(&orders, "after-the-lock").await;
    store.close().await;
}

pub(crate) struct Read<'a> {
    cx: Context,
    order: OrderRef,
    watcher: &'a Session,
}

pub(crate) async fn gone(store: &Postgres, read: Read<'_>) {
    let tenant = "shop".parse().unwrap();
    tokio::select! {
        answer = store.order(&read.cx, &tenant, read.order) => panic!("{answer:?}"),
        () = until(async || read.watcher.number(STUCK).await == 1) => {}
    }
}

pub(crate) async fn late(store: &Postgres, read: Read<'_>) {
    let answer = store.order(&read.cx, &"shop".parse().unwrap(), read.order).await;
    assert!(matches!(answer, Err(ReadError::Expired)), "{answer:?}");
}

pub(crate) fn within(time: Duration) -> Context {
    builders::context("shop").with_deadline((Instant::now() + time).into_std())
}

#[tokio::test]
async fn a_dropped_read_is_cancelled_at_the_server() {
    let config = narrow(Config::at(servers::postgres().database()));
    // Its own time limit is far away.
    behind_a_lock(&config, &config, within(Duration::from_hours(1)), gone).await;
}

#[tokio::test]
async fn a_dropped_read_behind_an_old_pooler_ends_with_its_time() {
    let config = narrow(Fixture::behind_a_pooler());
    behind_a_lock(&config, &config, within(Duration::from_secs(3)), gone).await;
}

#[tokio::test]
async fn a_read_past_its_deadline_has_expired_and_ends_with_its_time() {
    let config = narrow(Config::at(servers::postgres().database()));
    behind_a_lock(&config, &config, within(Duration::from_millis(300)), late).await;
}
