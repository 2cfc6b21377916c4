//! Who waits for which key, in the order they came.

use crate::clock;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The most that wait at a time, for all keys.
const MOST: usize = 4_096;

/// The most that wait for one key, so that others may too.
const MOST_OF_ONE: usize = 1_024;

/// How long whoever has its turn may be late before the others go past it: nobody asks it any more, as
/// when the reader of a stream has stopped.
const LATE: Duration = Duration::from_secs(1);

pub(super) struct Queues<K>(Mutex<All<K>>);

struct All<K> {
    /// Only keys for which somebody waits.
    queues: HashMap<K, Queue>,
    waiting: usize,
}

struct Queue {
    turn: Arc<Turn>,
    length: usize,
}

struct Turn {
    taken: Semaphore,
    /// When whoever has it looks again.
    due: Mutex<Instant>,
}

impl Turn {
    fn new() -> Self {
        Self { taken: Semaphore::new(1), due: Mutex::new(clock::now()) }
    }

    fn due(&self) -> MutexGuard<'_, Instant> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until whoever has it should have looked again long ago.
    async fn gets_late(&self) {
        loop {
            let late = *self.due() + LATE;
            if clock::now() >= late {
                return;
            }
            tokio::time::sleep_until(late.into()).await;
        }
    }
}

impl<K> Default for Queues<K> {
    fn default() -> Self {
        Self(Mutex::new(All { queues: HashMap::new(), waiting: 0 }))
    }
}

impl<K: Clone + Eq + Hash> Queues<K> {
    /// A place behind those who wait for `key`; `None` when as many wait as may, or as may for it.
    pub(super) fn join<'q>(&'q self, key: &'q K) -> Option<Place<'q, K>> {
        let mut all = self.all();
        let of_one = all.queues.get(key).map_or(0, |queue| queue.length);
        if all.waiting >= MOST || of_one >= MOST_OF_ONE {
            return None;
        }
        all.waiting += 1;
        let new = || Queue { turn: Arc::new(Turn::new()), length: 0 };
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
    turn: Arc<Turn>,
}

impl<K: Eq + Hash> Place<'_, K> {
    /// Waits until those before are served or gone, or are late: then there is no turn, and nobody is
    /// before anybody. It is the next one's turn when this is dropped.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        tokio::select! {
            biased;
            // Nobody closes it.
            turn = self.turn.taken.acquire() => turn.ok(),
            () = self.turn.gets_late() => None,
        }
    }

    /// Says when whoever has the turn looks again.
    pub(super) fn will_look_again(&self, at: Instant) {
        *self.turn.due() = at;
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
