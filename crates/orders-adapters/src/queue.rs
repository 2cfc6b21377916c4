//! The bounded queue before a store's writers, with a fair turn for every tenant.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use orders::domain::TenantId;

/// Whose work it is: a tenant's, or the store's own upkeep.
pub(crate) type Owner = Option<TenantId>;

/// Waiting work. One tenant's crowd delays its own work, not that of others: batches take one piece
/// of every waiting tenant in turn, and no tenant fills more than three quarters of the queue.
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

    /// Adds work at the end of its owner's line; gives it back when the queue is full, or has as much of
    /// that owner as it may, or is closed.
    pub(crate) fn push(&self, owner: &Owner, work: T) -> Result<(), T> {
        let mut inner = self.lock();
        let most = self.bound - self.bound / 4;
        if inner.closed || inner.len >= self.bound || inner.line(owner) >= most {
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
            drop(self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner));
            // Where processors are short the first work wakes this thread in place of whoever brings more:
            // each would be a batch of its own. Where they are not, this returns at once.
            thread::yield_now();
            inner = self.lock();
        }
        Some(inner.take(most, |_| true))
    }

    /// As [`take`](Self::take), without a thread that waits, and only work that fits. What does not
    /// fit keeps its place in the queue; while nothing fits, this waits for other work, or until it is told
    /// to [look again](Self::look_again).
    #[cfg(feature = "postgres")]
    pub(crate) async fn taken(
        &self,
        most: usize,
        mut fits: impl FnMut(&T) -> bool,
    ) -> Option<Vec<T>> {
        loop {
            // Listen first, then look: what comes in between still wakes this.
            let ready = self.ready.listen();
            {
                let mut inner = self.lock();
                let batch = inner.take(most, &mut fits);
                if !batch.is_empty() {
                    return Some(batch);
                }
                if inner.closed && inner.len == 0 {
                    return None;
                }
            }
            ready.await;
        }
    }

    /// What did not fit may fit by now.
    #[cfg(feature = "postgres")]
    pub(crate) fn look_again(&self) {
        self.ready.notify_additional(1);
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

    /// How much has its turn before what would come now of this owner.
    pub(crate) fn before(&self, owner: &Owner) -> usize {
        let inner = self.lock();
        let own = inner.line(owner);
        if own == 0 {
            return inner.turns.len();
        }
        let others = inner.waiting.iter().filter(|(other, _)| *other != owner);
        own + others.map(|(_, line)| line.len().min(own + 1)).sum::<usize>()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing here panics half-way, so a poisoned lock still guards a sound queue.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    fn line(&self, owner: &Owner) -> usize {
        self.waiting.get(owner).map_or(0, VecDeque::len)
    }

    /// Takes up to `most` that fit, one of every owner in turn. Passes over no more than `most` that do
    /// not: those go back to the front of their lines.
    fn take(&mut self, most: usize, mut fits: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut batch = Vec::with_capacity(most.min(self.len));
        let mut left = Vec::new();
        while batch.len() < most && left.len() < most {
            let Some((owner, work)) = self.next() else { break };
            if fits(&work) {
                batch.push(work);
            } else {
                left.push((owner, work));
            }
        }
        for (owner, work) in left.into_iter().rev() {
            self.put_back(owner, work);
        }
        batch
    }

    fn next(&mut self) -> Option<(Owner, T)> {
        let owner = self.turns.pop_front()?;
        let line = self.waiting.get_mut(&owner)?;
        let work = line.pop_front()?;
        self.len -= 1;
        if line.is_empty() {
            self.waiting.remove(&owner);
        } else {
            self.turns.push_back(owner.clone());
        }
        Some((owner, work))
    }

    fn put_back(&mut self, owner: Owner, work: T) {
        self.len += 1;
        if let Some(line) = self.waiting.get_mut(&owner) {
            line.push_front(work);
        } else {
            self.turns.push_front(owner.clone());
            self.waiting.insert(owner, VecDeque::from([work]));
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "postgres")]
    use std::cell::Cell;

    #[cfg(feature = "postgres")]
    use tokio::task::yield_now;

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
    fn a_tenants_crowd_is_before_its_own_work_only() {
        let queue = Queue::new(10);
        let (a, b) = (Some(tenant("a")), Some(tenant("b")));
        assert_eq!((queue.before(&a), queue.before(&None)), (0, 0));
        for work in 0..5 {
            queue.push(&a, work).unwrap();
        }
        assert_eq!((queue.before(&a), queue.before(&b), queue.before(&None)), (5, 1, 1));
        queue.push(&b, 5).unwrap();
        // Two of the crowd's, and its own one.
        assert_eq!((queue.before(&a), queue.before(&b), queue.before(&None)), (6, 3, 2));
    }

    #[test]
    fn a_tenants_crowd_leaves_room_for_others() {
        let queue = Queue::new(8);
        let (a, b) = (Some(tenant("a")), Some(tenant("b")));
        let pushed = |owner: &Owner| (0..9).filter(|work| queue.push(owner, *work).is_ok()).count();
        assert_eq!((pushed(&a), pushed(&b), queue.len()), (6, 2, 8));
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

    #[cfg(feature = "postgres")]
    #[tokio::test]
    async fn what_does_not_fit_keeps_its_place_and_holds_up_nobody() {
        let queue = Queue::new(10);
        for work in ["hot1", "hot2", "hot3", "a4"] {
            queue.push(&Some(tenant("a")), work).unwrap();
        }
        queue.push(&Some(tenant("b")), "b1").unwrap();
        let one_hot = || {
            let mut hot = 0;
            move |work: &&str| {
                hot += usize::from(work.starts_with("hot"));
                hot <= 1 || !work.starts_with("hot")
            }
        };
        assert_eq!(queue.taken(10, one_hot()).await.unwrap(), ["hot1", "b1", "a4"]);
        queue.push(&Some(tenant("b")), "b2").unwrap();
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.taken(10, one_hot()).await.unwrap(), ["hot2", "b2"]);
        assert_eq!(queue.taken(10, one_hot()).await.unwrap(), ["hot3"]);
        assert_eq!(queue.len(), 0);
    }

    #[cfg(feature = "postgres")]
    #[tokio::test]
    async fn no_more_than_a_batch_is_passed_over() {
        let queue = Queue::new(20);
        for work in 0..10 {
            queue.push(&Some(tenant("a")), work).unwrap();
        }
        let mut seen = Vec::new();
        let all_but_zero_wait = |work: &i32| {
            seen.push(*work);
            *work == 0
        };
        assert_eq!(queue.taken(3, all_but_zero_wait).await.unwrap(), [0]);
        assert_eq!(seen, [0, 1, 2, 3]);
        assert_eq!(queue.take(9).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[cfg(feature = "postgres")]
    #[tokio::test]
    async fn what_does_not_fit_is_waited_for_until_it_does_also_at_the_end() {
        let queue = Queue::new(2);
        queue.push(&None, "held").unwrap();
        let is_held = Cell::new(true);
        let free = |_: &&str| !is_held.get();
        let freed = async {
            // The other side has looked by now.
            yield_now().await;
            queue.close();
            yield_now().await;
            assert_eq!(queue.len(), 1);
            is_held.set(false);
            queue.look_again();
        };
        assert_eq!(tokio::join!(queue.taken(2, free), freed).0, Some(vec!["held"]));
        assert_eq!(queue.taken(2, |_| true).await, None);
    }

    #[cfg(feature = "postgres")]
    #[tokio::test]
    async fn whoever_waits_without_a_thread_is_woken_by_work_and_by_the_end() {
        let queue = Queue::new(2);
        let woken = async |queue: &Queue<i32>| queue.taken(2, |_| true).await;
        let pushed = async {
            // The other side waits by now.
            yield_now().await;
            queue.push(&None, 1).unwrap();
        };
        assert_eq!(tokio::join!(woken(&queue), pushed).0, Some(vec![1]));
        let closed = async {
            yield_now().await;
            queue.push(&None, 2).unwrap();
            queue.close();
        };
        assert_eq!(tokio::join!(woken(&queue), closed).0, Some(vec![2]));
        assert_eq!(woken(&queue).await, None);
    }
}
