//! The bounded queue before a store's writers, with a fair turn for every tenant.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use orders::domain::TenantId;

/// Whose work it is: a tenant's, or the store's own upkeep.
pub(crate) type Owner = Option<TenantId>;

/// Waiting work. One tenant's crowd delays its own work, not that of others: batches take one piece
/// of every waiting tenant in turn.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    filled: Condvar,
    /// As `filled`, for who waits without a thread of its own.
    #[cfg(feature = "postgres")]
    ready: event_listener::Event,
    bound: usize,
}

#[derive(Debug)]
struct Inner<T> {
    /// Each owner that waits, once, in the order of turns.
    turns: VecDeque<Owner>,
    waiting: HashMap<Owner, VecDeque<T>>,
    len: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(bound: usize) -> Self {
        let inner =
            Inner { turns: VecDeque::new(), waiting: HashMap::new(), len: 0, closed: false };
        Self {
            inner: Mutex::new(inner),
            filled: Condvar::new(),
            #[cfg(feature = "postgres")]
            ready: event_listener::Event::new(),
            bound,
        }
    }

    /// Adds work at the end of its owner's line; gives it back when the queue is full or closed.
    pub(crate) fn push(&self, owner: &Owner, work: T) -> Result<(), T> {
        let mut inner = self.lock();
        if inner.closed || inner.len >= self.bound {
            return Err(work);
        }
        inner.len += 1;
        if let Some(line) = inner.waiting.get_mut(owner) {
            line.push_back(work);
        } else {
            inner.waiting.insert(owner.clone(), VecDeque::from([work]));
            inner.turns.push_back(owner.clone());
        }
        drop(inner);
        self.filled.notify_one();
        #[cfg(feature = "postgres")]
        self.ready.notify_additional(1);
        Ok(())
    }

    /// Waits for work and takes up to `most`; `None` once the queue is closed and empty.
    pub(crate) fn take(&self, most: usize) -> Option<Vec<T>> {
        let mut inner = self.lock();
        while inner.len == 0 {
            if inner.closed {
                return None;
            }
            inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        Some(inner.take(most))
    }

    /// As [`take`](Self::take), without a thread that waits.
    #[cfg(feature = "postgres")]
    pub(crate) async fn taken(&self, most: usize) -> Option<Vec<T>> {
        loop {
            // Listen first, then look: what comes in between still wakes this.
            let ready = self.ready.listen();
            {
                let mut inner = self.lock();
                if inner.len > 0 {
                    return Some(inner.take(most));
                }
                if inner.closed {
                    return None;
                }
            }
            ready.await;
        }
    }

    /// Refuses new work; what waits is still taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        #[cfg(feature = "postgres")]
        self.ready.notify(usize::MAX);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing here panics half-way, so a poisoned lock still guards a sound queue.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    /// Takes up to `most`, one of every owner in turn.
    fn take(&mut self, most: usize) -> Vec<T> {
        let mut batch = Vec::with_capacity(most.min(self.len));
        while batch.len() < most {
            let Some(owner) = self.turns.pop_front() else { break };
            let Some(line) = self.waiting.get_mut(&owner) else { continue };
            batch.extend(line.pop_front());
            if line.is_empty() {
                self.waiting.remove(&owner);
            } else {
                self.turns.push_back(owner);
            }
        }
        self.len -= batch.len();
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn every_tenant_gets_a_turn() {
        let queue = Queue::new(10);
        for work in ["a1", "a2", "a3"] {
            queue.push(&Some(tenant("a")), work).unwrap();
        }
        queue.push(&Some(tenant("b")), "b1").unwrap();
        assert_eq!(queue.take(3).unwrap(), ["a1", "b1", "a2"]);
        assert_eq!(queue.take(3).unwrap(), ["a3"]);
    }

    #[test]
    fn a_full_queue_gives_work_back() {
        let queue = Queue::new(1);
        queue.push(&Some(tenant("a")), 1).unwrap();
        assert_eq!(queue.push(&Some(tenant("b")), 2), Err(2));
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let queue = Queue::new(2);
        queue.push(&Some(tenant("a")), 1).unwrap();
        queue.close();
        assert_eq!(queue.push(&Some(tenant("a")), 2), Err(2));
        assert_eq!(queue.take(2).unwrap(), [1]);
        assert_eq!(queue.take(2), None::<Vec<i32>>);
    }
}
