//! The jobs that wait for a thread. Time is passed in.

use super::Fate;
use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// One job: runs, unless nobody waits for it any more or its time is over by then, and says what
/// became of it and when it began.
pub(super) type Run = Box<dyn FnOnce() -> (Fate, Instant) + Send>;

/// A job that waits.
pub(super) struct Job {
    /// Whose it is, if anybody's.
    pub(super) owner: Option<Arc<str>>,
    pub(super) since: Instant,
    pub(super) run: Run,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("since", &self.since).finish_non_exhaustive()
    }
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Not {
    Full,
    Closed,
}

#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
    bound: usize,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Inner {
    /// Whether half of the places are of whoever owns this job, so that others find one as well.
    fn has_its_half(&self, job: &Job, bound: usize) -> bool {
        let own = || self.jobs.iter().filter(|waits| waits.owner == job.owner).count();
        job.owner.is_some() && own() >= bound - bound / 2
    }
}

impl Queue {
    pub(super) fn new(bound: usize) -> Self {
        Self { inner: Mutex::default(), changed: Condvar::new(), bound }
    }

    pub(super) fn push(&self, job: Job) -> Result<(), Not> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Not::Closed);
        }
        if inner.jobs.len() >= self.bound || inner.has_its_half(&job, self.bound) {
            return Err(Not::Full);
        }
        inner.jobs.push_back(job);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for a job; `None` once the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Job> {
        let mut inner = self.lock();
        loop {
            if let Some(job) = inner.jobs.pop_front() {
                return Some(job);
            }
            if inner.closed {
                return None;
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes no more; what waits is still handed out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// All that waits.
    pub(super) fn empty(&self) -> VecDeque<Job> {
        mem::take(&mut self.lock().jobs)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing here panics half-way, so a poisoned lock still guards a sound queue.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
