//! A read of an order whose answer does not come.

use std::time::Duration;

use futures_util::future::join_all;
use mainstay::metrics::{Format, Metrics};
use orders::{
    domain::OrderId,
    ports::{OrderRef, Store as _},
};
use orders_adapters::postgres::{self, Config, Postgres};
use orders_testkit::{
    builders,
    proxy::{Fault, Proxy, Way},
    servers,
};

use super::beside::{proxied, until};

/// A store behind a proxy that nobody else reads or writes through.
struct Scene {
    proxy: Proxy,
    store: Postgres,
    metrics: Metrics,
}

impl Scene {
    async fn open(readers: usize) -> Self {
        let database = servers::postgres().database();
        let (proxy, url) = proxied(&database);
        let config = Config {
            direct_url: Some(database),
            readers,
            poll: Duration::from_hours(1),
            ..Config::at(url)
        };
        postgres::migrate(&config).await.unwrap();
        let metrics = Metrics::new("test");
        let store = Postgres::open(&config, &metrics).await.unwrap();
        Self { proxy, store, metrics }
    }

    /// Reads an order that there is not.
    async fn read(&self) {
        let (cx, tenant) = (builders::context("shop"), "shop".parse().unwrap());
        let nobody = OrderId("00000000-0000-7000-8000-000000000000".parse().unwrap());
        let found = self.store.order(&cx, &tenant, OrderRef::Id(nobody)).await.unwrap();
        assert!(found.is_none(), "{found:?}");
    }

    /// Lets every answer come so much later.
    fn delay(&self, delay: Duration) {
        self.proxy.set(Fault::Latency { way: Way::ToClient, delay, jitter: Duration::ZERO });
    }

    fn told(&self) -> String {
        self.metrics.render(Format::Text)
    }

    async fn is_quiet(&self) {
        until(async || self.told().contains("test_store_connections_in_use 0.0\n")).await;
    }
}

#[tokio::test]
async fn a_read_that_is_late_is_asked_for_once_more_on_another_connection() {
    let scene = Scene::open(8).await;
    // So many and so slow that what is late then is so by far.
    scene.delay(Duration::from_millis(500));
    join_all((0..24).map(async |_| scene.read().await)).await;
    scene.proxy.heal();
    assert!(scene.told().contains("test_read_hedges_total{} 0\n"));
    // Reads that took long had the database looked at: that answer is not to be lost.
    scene.is_quiet().await;

    let lost = scene.proxy.counts().lost;
    scene.proxy.set(Fault::Blackhole { way: Way::ToClient });
    let healed = async {
        until(async || {
            // All of it: a server answers each part of what it is asked by itself, and half of an answer
            // would end the connection at once.
            let now = scene.proxy.counts().lost;
            tokio::time::sleep(Duration::from_millis(100)).await;
            now > lost && scene.proxy.counts().lost == now
        })
        .await;
        scene.proxy.heal();
    };
    tokio::join!(scene.read(), healed);
    let told = scene.told();
    assert!(told.contains("test_read_hedges_total{} 1\n"), "{told}");
    assert!(told.contains("test_read_hedges_won_total{} 1\n"), "{told}");
    let interrupted = scene.store.counters().reads.interrupted;
    assert_eq!(interrupted, 1, "the one that was not waited for");
    scene.store.close().await;
}

#[tokio::test]
async fn the_connection_of_a_read_that_lost_by_little_is_used_again() {
    let scene = Scene::open(4).await;
    join_all((0..4).map(async |_| scene.read().await)).await;
    for _ in 0..100 {
        scene.read().await;
    }
    scene.is_quiet().await;
    let interrupted = || scene.store.counters().reads.interrupted;
    let before = (scene.proxy.counts().connections, interrupted());
    scene.delay(Duration::from_millis(20));
    until(async || {
        scene.read().await;
        interrupted() > before.1
    })
    .await;
    scene.is_quiet().await;
    let connections = scene.proxy.counts().connections;
    assert_eq!(connections, before.0, "none was made, to cancel or to read");
    scene.store.close().await;
}
