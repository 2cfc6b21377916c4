//! Who waits for which key, in the order they came.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The most that wait at a time, for all keys.
const MOST: usize = 4_096;

pub(super) struct Queues<K>(Mutex<All<K>>);

struct All<K> {
    /// Only keys for which somebody waits.
    queues: HashMap<K, Queue>,
    waiting: usize,
}

struct Queue {
    turn: Arc<Semaphore>,
    length: usize,
}

impl<K> Default for Queues<K> {
    fn default() -> Self {
        Self(Mutex::new(All { queues: HashMap::new(), waiting: 0 }))
    }
}

impl<K: Clone + Eq + Hash> Queues<K> {
    /// A place behind those who wait for `key`; `None` when as many wait as may.
    pub(super) fn join<'q>(&'q self, key: &'q K) -> Option<Place<'q, K>> {
        let mut all = self.all();
        if all.waiting >= MOST {
            return None;
        }
        all.waiting += 1;
        let new = || Queue { turn: Arc::new(Semaphore::new(1)), length: 0 };
        let queue = all.queues.entry(key.clone()).or_insert_with(new);
        queue.length += 1;
        Some(Place { queues: self, key, turn: Arc::clone(&queue.turn) })
    }
}

impl<K> Queues<K> {
    pub(super) fn waiting(&self) -> usize {
        self.all().waiting
    }

    fn all(&self) -> MutexGuard<'_, All<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that waits, until it is dropped.
pub(super) struct Place<'q, K: Eq + Hash> {
    queues: &'q Queues<K>,
    key: &'q K,
    turn: Arc<Semaphore>,
}

impl<K: Eq + Hash> Place<'_, K> {
    /// Waits until those before are served or gone. It is the next one's turn when this is dropped.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.turn.acquire().await.ok()
    }
}

impl<K: Eq + Hash> Drop for Place<'_, K> {
    fn drop(&mut self) {
        let mut all = self.queues.all();
        all.waiting -= 1;
        let Some(queue) = all.queues.get_mut(self.key) else { return };
        queue.length -= 1;
        if queue.length == 0 {
            all.queues.remove(self.key);
        }
    }
}
