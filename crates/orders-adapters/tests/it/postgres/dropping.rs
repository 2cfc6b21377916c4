//! Calls that are dropped at each of their awaits, for the tests and for `examples/pg_faults.rs`.

use std::{future::poll_fn, task::Poll};

use jiff::SignedDuration;
use orders::ports::{Clock as _, Cutoff, Filter, OrderRef, Page, Ports as _, Scope, Store as _};
use orders_adapters::postgres::{self, Config};
use orders_testkit::{World, builders};

use super::process::{Process, process};

/// With one connection for reads and one for changes: what a gone caller left would be in the way.
pub(crate) fn narrow(config: Config) -> Config {
    Config { readers: 1, writers: 1, ..config }
}

pub(crate) async fn narrow_process(config: &Config) -> Process {
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
pub(crate) async fn serves(orders: &Process, key: &str) {
    let cx = builders::context("shop");
    let done = orders.create(&cx, builders::draft(), builders::key(key)).await.unwrap();
    orders.get(&cx, OrderRef::Id(done.record.order.id)).await.unwrap();
    let store = orders.ports().store();
    store.events(&cx, &Scope::All, Page { after: None, limit: 1 }).await.unwrap();
    let now = orders.ports().clock().now();
    store.lease(&cx, now, now, 1).await.unwrap();
}

/// Drops every kind of call at each of its awaits, on a new database; says at how many each.
pub(crate) async fn every_call(config: &Config) -> Vec<(&'static str, usize)> {
    let orders = narrow_process(config).await;
    let cx = builders::context("shop");
    let (store, tenant) = (orders.ports().store(), "shop".parse().unwrap());
    let first = orders.create(&cx, builders::draft(), builders::key("first")).await.unwrap();
    let id = OrderRef::Id(first.record.order.id);
    let now = orders.ports().clock().now();
    let cutoff = Cutoff { events_before: now, now, unpublished: false, receipts_before: now };
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
    let awaits = vec![
        ("create", at_every_await(&orders, "create", create).await),
        ("order", at_every_await(&orders, "order", order).await),
        ("list", at_every_await(&orders, "list", list).await),
        ("events", at_every_await(&orders, "events", events).await),
        ("lease", at_every_await(&orders, "lease", lease).await),
        ("forget", at_every_await(&orders, "forget", forget).await),
    ];
    store.close().await;
    awaits
}
