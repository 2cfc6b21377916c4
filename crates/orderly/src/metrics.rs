//! What the service shows of itself; the whole list is in `docs/METRICS.md`.

use std::sync::{Arc, Weak};

use mainstay::{
    lifecycle::Lifecycle,
    metrics::{self, Metrics},
    telemetry,
};
use orders::{Orders, ports::Ports as _};
use orders_adapters::AnyStore;
use orders_api::http::Watchers;

use crate::wired::Wired;

/// The namespace of every metric but those of the process.
const NAMESPACE: &str = "order_service";

/// The metrics of the process; the store and the stack add their own.
pub(crate) fn start(lifecycle: &Lifecycle, telemetry: &telemetry::Guard) -> Metrics {
    let metrics = Metrics::new(NAMESPACE);
    metrics.build_info(&[("version", env!("CARGO_PKG_VERSION"))]);
    metrics::watch(&metrics, lifecycle);
    telemetry.measure(&metrics);
    metrics
}

/// What is asked of the store and the live feeds at each scrape.
pub(crate) fn measure(metrics: &Metrics, orders: &Arc<Orders<Wired>>, watchers: &Watchers) {
    let store = Store(Arc::downgrade(orders));
    store.gauge(metrics, "commit_queue_depth", "Changes that wait for the writer", |store| {
        u64::try_from(store.queue_depth()).unwrap_or(u64::MAX)
    });
    store.counter(metrics, "commit_changes", "Changes answered", |store| store.counters().changes);
    store.counter(metrics, "commit_batches", "Transactions that changes went into", |store| {
        store.counters().batches
    });
    store.gauge(metrics, "read_queue_depth", "Reads that wait for a reader", |store| {
        u64::try_from(store.read_queue_depth()).unwrap_or(u64::MAX)
    });
    let help = "Reads stopped because nobody waited for them any more";
    store.counter(metrics, "reads_interrupted", help, |store| store.counters().reads.interrupted);
    let help = "Reads not begun because nobody waited for them any more";
    store.counter(metrics, "reads_expired", help, |store| store.counters().reads.expired);
    let help = "Write-ahead log since it last started over";
    store.gauge(metrics, "store_wal_bytes", help, |store| store.counters().wal_bytes);
    let help = "The last position of the event feed";
    store.gauge(metrics, "events_head_position", help, |store| store.head().0);

    let all = watchers.clone();
    let help = "Live feeds that clients watch";
    metrics.gauge_fn("feed_watchers", help, move || float(all.count() as u64));
    let all = watchers.clone();
    let help = "Positions by which the live feed that is furthest behind trails the last one";
    store.gauge(metrics, "feed_lag_events", help, move |store| all.lag(store.head()));
}

/// The store, without keeping it open.
struct Store(Weak<Orders<Wired>>);

impl Store {
    fn gauge(
        &self,
        metrics: &Metrics,
        name: &str,
        help: &str,
        read: impl Fn(&AnyStore) -> u64 + Send + Sync + 'static,
    ) {
        metrics.gauge_fn(name, help, self.reading(move |store| float(read(store))));
    }

    fn counter(&self, metrics: &Metrics, name: &str, help: &str, read: fn(&AnyStore) -> u64) {
        metrics.counter_fn(name, help, self.reading(read));
    }

    /// What `read` tells, and 0 once the store is closed.
    fn reading<T: Default>(
        &self,
        read: impl Fn(&AnyStore) -> T + Send + Sync + 'static,
    ) -> impl Fn() -> T + Send + Sync + 'static {
        let orders = Weak::clone(&self.0);
        move || orders.upgrade().map_or_else(T::default, |orders| read(orders.ports().store()))
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats; 2^53 is far away")]
const fn float(number: u64) -> f64 {
    number as f64
}
