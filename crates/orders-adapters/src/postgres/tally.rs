//! What the store counts of what it did, and what it tells of itself as it is.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use mainstay::metrics::Metrics;

use super::{Shared, connect::Pool};
use crate::instruments::{Counters, ReadCounters};

/// What the store did since it was opened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) changes: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) finished: AtomicU64,
    pub(super) interrupted: AtomicU64,
    pub(super) expired: AtomicU64,
}

impl Tally {
    pub(super) fn counters(&self) -> Counters {
        let read = |count: &AtomicU64| count.load(Relaxed);
        let reads = ReadCounters {
            finished: read(&self.finished),
            interrupted: read(&self.interrupted),
            expired: read(&self.expired),
        };
        let (changes, batches) = (read(&self.changes), read(&self.batches));
        Counters { changes, batches, wal_bytes: 0, reads }
    }
}

/// Tells of the store, for as long as there is one.
pub(super) fn measure(shared: &Arc<Shared>, metrics: &Metrics) {
    let gauge = |name: &str, help: &str, read: fn(&Shared) -> usize| {
        let shared = Arc::downgrade(shared);
        let read = move || shared.upgrade().map_or(0, |shared| read(&shared));
        metrics
            .gauge_fn(name, help, move || u32::try_from(read()).map_or(f64::INFINITY, f64::from));
    };
    gauge("store_up", "1 while the database answers and can be relied on", |shared| {
        shared.health.is_up().into()
    });
    gauge(
        "store_connections",
        "Connections to the database, but those past its pooler",
        |shared| shared.connections().1,
    );
    gauge("store_connections_in_use", "Of these, those that something is done on", |shared| {
        shared.connections().0
    });
}

impl Shared {
    /// Connections in use, and connections there are.
    fn connections(&self) -> (usize, usize) {
        let pools = [&self.pool, &self.writers, &self.probe].map(Pool::status);
        let idle: usize = pools.iter().map(|pool| pool.available).sum();
        let there: usize = pools.iter().map(|pool| pool.size).sum();
        (there.saturating_sub(idle), there)
    }
}
