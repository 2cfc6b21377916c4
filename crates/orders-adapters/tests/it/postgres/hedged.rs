//! A read of an order whose answer does not come.

use std::time::Duration;

use futures_util::future::join_all;
use mainstay::metrics::{Format, Metrics};
use orders::ports::{OrderRef, Store as _};
use orders_adapters::postgres::{self, Config, Postgres};
use orders_testkit::{
    builders,
    proxy::{Fault, Way},
    servers,
};

use super::beside::{proxied, until};

#[tokio::test]
async fn a_read_that_is_late_is_asked_for_once_more_on_another_connection() {
    let database = servers::postgres().database();
    let (proxy, url) = proxied(&database);
    // Nobody else reads or writes.
    let config = Config { readers: 8, poll: Duration::from_hours(1), ..Config::at(url) };
    postgres::migrate(&Config::at(&*database)).await.unwrap();
    let metrics = Metrics::new("test");
    let store = Postgres::open(&config, &metrics).await.unwrap();
    let (cx, tenant) = (builders::context("shop"), "shop".parse().unwrap());
    let nobody = "00000000-0000-7000-8000-000000000000".parse().unwrap();
    let read = async || {
        store.order(&cx, &tenant, OrderRef::Id(orders::domain::OrderId(nobody))).await.unwrap()
    };
    // So many and so slow that what is late then is so by far.
    proxy.set(Fault::Latency {
        way: Way::ToClient,
        delay: Duration::from_millis(500),
        jitter: Duration::ZERO,
    });
    join_all((0..24).map(async |_| read().await)).await;
    proxy.heal();
    assert!(metrics.render(Format::Text).contains("test_read_hedges_total{} 0\n"));

    let lost = proxy.counts().lost;
    proxy.set(Fault::Blackhole { way: Way::ToClient });
    let healed = async {
        until(async || proxy.counts().lost > lost).await;
        proxy.heal();
    };
    let (found, ()) = tokio::join!(read(), healed);
    assert!(found.is_none());
    let told = metrics.render(Format::Text);
    assert!(told.contains("test_read_hedges_total{} 1\n"), "{told}");
    assert!(told.contains("test_read_hedges_won_total{} 1\n"), "{told}");
    assert_eq!(store.counters().reads.interrupted, 1, "the one that was not waited for");
    store.close().await;
}

#[tokio::test]
async fn the_connection_of_a_read_that_lost_by_little_is_used_again() {
    let database = servers::postgres().database();
    let (proxy, url) = proxied(&database);
    let config = Config {
        direct_url: Some(database.clone()),
        readers: 4,
        poll: Duration::from_hours(1),
        ..Config::at(url)
    };
    postgres::migrate(&config).await.unwrap();
    let metrics = Metrics::new("test");
    let store = Postgres::open(&config, &metrics).await.unwrap();
    let (cx, tenant) = (builders::context("shop"), "shop".parse().unwrap());
    let nobody = "00000000-0000-7000-8000-000000000000".parse().unwrap();
    let read = async || {
        store.order(&cx, &tenant, OrderRef::Id(orders::domain::OrderId(nobody))).await.unwrap()
    };
    let says = |line: &str| metrics.render(Format::Text).contains(line);
    join_all((0..4).map(async |_| read().await)).await;
    for _ in 0..100 {
        read().await;
    }
    until(async || says("test_store_connections_in_use 0.0\n")).await;
    let before = (proxy.counts().connections, store.counters().reads.interrupted);
    proxy.set(Fault::Latency {
        way: Way::ToClient,
        delay: Duration::from_millis(20),
        jitter: Duration::ZERO,
    });
    until(async || {
        read().await;
        store.counters().reads.interrupted > before.1
    })
    .await;
    until(async || says("test_store_connections_in_use 0.0\n")).await;
    assert_eq!(proxy.counts().connections, before.0, "none was made, to cancel or to read");
    store.close().await;
}
