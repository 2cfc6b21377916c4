//! Callers that go away, at any await, and reads that take too long.

use std::{future::poll_fn, task::Poll, time::Duration};

use jiff::SignedDuration;
use mainstay_context::Context;
use orders::ports::{
    Clock as _, Cutoff, Filter, OrderRef, Page, Ports as _, ReadError, Scope, Store as _,
};
use orders_adapters::postgres::{self, Config, Postgres};
use orders_testkit::{World, builders, servers};
use tokio::time::Instant;

use super::{
    beside::{Session, sound, until},
    fixture::Fixture,
    process::{Process, process},
};

/// With one connection for reads and one for changes: what a gone caller left would be in the way.
fn narrow(config: Config) -> Config {
    Config { readers: 1, writers: 1, ..config }
}

async fn narrow_process(config: &Config) -> Process {
    postgres::migrate(config).await.unwrap();
    process(config, &World::new(1)).await
}

/// Polls a future up to so often, and drops it; its answer, when it had one by then.
async fn polled<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = times;
    poll_fn(move |cx| {
        let Some(less) = left.checked_sub(1) else { return Poll::Ready(None) };
        left = less;
        match future.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Drops a call at its first await, then at its second, and so on until it is answered; each time the
/// store still serves. Says at how many awaits it was dropped.
async fn at_every_await<T>(orders: &Process, name: &str, call: impl AsyncFn(usize) -> T) -> usize {
    for awaits in 0..1_000 {
        let answered = polled(call(awaits), awaits).await;
        serves(orders, &format!("after-{name}-{awaits}")).await;
        if answered.is_some() {
            return awaits;
        }
    }
    panic!("{name} is never answered");
}

/// Fails unless a change, a read, the feed and a lease are answered.
async fn serves(orders: &Process, key: &str) {
    let cx = builders::context("shop");
    let done = orders.create(&cx, builders::draft(), builders::key(key)).await.unwrap();
    orders.get(&cx, OrderRef::Id(done.record.order.id)).await.unwrap();
    let store = orders.ports().store();
    store.events(&cx, &Scope::All, Page { after: None, limit: 1 }).await.unwrap();
    let now = orders.ports().clock().now();
    store.lease(&cx, now, now, 1).await.unwrap();
}

async fn every_call_may_be_dropped(config: &Config) {
    let orders = narrow_process(config).await;
    let cx = builders::context("shop");
    let (store, tenant) = (orders.ports().store(), "shop".parse().unwrap());
    let first = orders.create(&cx, builders::draft(), builders::key("first")).await.unwrap();
    let id = OrderRef::Id(first.record.order.id);
    let now = orders.ports().clock().now();
    let cutoff = Cutoff { events_before: now, now, events_up_to: None, receipts_before: now };
    let soon = now.saturating_add(SignedDuration::from_secs(1)).unwrap();

    let create = async |awaits: usize| {
        let key = builders::key(&format!("dropped-{awaits}"));
        orders.create(&cx, builders::draft(), key).await.unwrap();
    };
    let order = async |_: usize| drop(store.order(&cx, &tenant, id).await.unwrap().unwrap());
    let list = async |_: usize| {
        let page = Page { after: None, limit: 9 };
        store.list(&cx, &tenant, &Filter::default(), page).await.unwrap();
    };
    let events = async |awaits: usize| {
        // Something to give a position to.
        let key = builders::key(&format!("for-events-{awaits}"));
        orders.create(&cx, builders::draft(), key).await.unwrap();
        let page = Page { after: None, limit: 10_000 };
        store.events(&cx, &Scope::All, page).await.unwrap();
    };
    let lease = async |_: usize| drop(store.lease(&cx, now, soon, 9).await.unwrap());
    let forget = async |_: usize| {
        store.forget(&cx, cutoff, 1).await.unwrap();
    };
    for (name, awaits) in [
        ("create", at_every_await(&orders, "create", create).await),
        ("order", at_every_await(&orders, "order", order).await),
        ("list", at_every_await(&orders, "list", list).await),
        ("events", at_every_await(&orders, "events", events).await),
        ("lease", at_every_await(&orders, "lease", lease).await),
        ("forget", at_every_await(&orders, "forget", forget).await),
    ] {
        assert!(awaits > 1, "{name} was never dropped half-way");
    }
    sound(config).await;
    store.close().await;
}

#[tokio::test]
async fn a_call_dropped_at_any_await_leaves_the_store_as_it_was() {
    every_call_may_be_dropped(&narrow(Config::at(servers::postgres().database()))).await;
}

#[tokio::test]
async fn a_call_dropped_at_any_await_leaves_the_store_behind_a_pooler_as_it_was() {
    every_call_may_be_dropped(&narrow(Fixture::behind_a_pooler())).await;
}

/// How many of the store's statements wait for a lock.
const STUCK: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND application_name <> 'beside' AND state = 'active' AND wait_event_type = 'Lock'";

/// Reads an order behind a lock; hands the read's future in, with a way to see it at the server.
async fn behind_a_lock(config: &Config, cx: Context, what: impl AsyncFn(&Postgres, Read<'_>)) {
    let orders = narrow_process(config).await;
    let shop = builders::context("shop");
    let done = orders.create(&shop, builders::draft(), builders::key("locked")).await.unwrap();
    let (locker, watcher) = (Session::open(config).await, Session::open(config).await);
    locker.run("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").await;
    let store = orders.ports().store();
    what(store, Read { cx, order: OrderRef::Id(done.record.order.id), watcher: &watcher }).await;
    // The lock is held still, so whatever does not wait any more was cancelled.
    until(async || watcher.number(STUCK).await == 0).await;
    locker.run("ROLLBACK").await;
    serves(&orders, "after-the-lock").await;
    store.close().await;
}

struct Read<'a> {
    cx: Context,
    order: OrderRef,
    watcher: &'a Session,
}

async fn gone(store: &Postgres, read: Read<'_>) {
    let tenant = "shop".parse().unwrap();
    tokio::select! {
        answer = store.order(&read.cx, &tenant, read.order) => panic!("{answer:?}"),
        () = until(async || read.watcher.number(STUCK).await == 1) => {}
    }
}

async fn late(store: &Postgres, read: Read<'_>) {
    let answer = store.order(&read.cx, &"shop".parse().unwrap(), read.order).await;
    assert!(matches!(answer, Err(ReadError::Expired)), "{answer:?}");
}

fn within(time: Duration) -> Context {
    builders::context("shop").with_deadline((Instant::now() + time).into_std())
}

#[tokio::test]
async fn a_dropped_read_is_cancelled_at_the_server() {
    let config = narrow(Config::at(servers::postgres().database()));
    // Its own time limit is far away.
    behind_a_lock(&config, within(Duration::from_hours(1)), gone).await;
}

#[tokio::test]
async fn a_dropped_read_behind_an_old_pooler_ends_with_its_time() {
    let config = narrow(Fixture::behind_a_pooler());
    behind_a_lock(&config, within(Duration::from_secs(3)), gone).await;
}

#[tokio::test]
async fn a_read_past_its_deadline_has_expired_and_is_cancelled() {
    let config = narrow(Config::at(servers::postgres().database()));
    behind_a_lock(&config, within(Duration::from_millis(300)), late).await;
}
