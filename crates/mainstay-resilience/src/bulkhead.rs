//! Bounds how many calls to a dependency are made at a time.
//!
//! Guarantees: never more than [`Config::max_in_flight`] permits are out and never more than
//! [`Config::max_queue`] callers wait; none waits longer than [`Config::max_wait`], its deadline
//! or its cancellation; those who wait are served in the order they came; a permit is free
//! again when it, or the future that holds it, is dropped.
//!
//! ```
//! use mainstay_resilience::bulkhead::{Bulkhead, Config};
//!
//! let bulkhead = Bulkhead::new(Config { max_in_flight: 1, ..Config::default() });
//! let permit = bulkhead.try_acquire().unwrap();
//! assert!(bulkhead.try_acquire().is_none());
//! drop(permit);
//! assert!(bulkhead.try_acquire().is_some());
//! ```
//!
//! Not guaranteed: fairness between tenants, and a limit over several processes.

mod layer;

pub use self::layer::{Layer, Service};

use crate::clock;
use mainstay_context::{Cause, Context};
use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many calls at a time, and how many that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The most calls at a time. Default 64.
    pub max_in_flight: usize,
    /// The most callers that wait; one more is refused at once. Default 64.
    pub max_queue: usize,
    /// The longest wait. Default 100 ms.
    pub max_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_in_flight: 64, max_queue: 64, max_wait: Duration::from_millis(100) }
    }
}

/// A call was not made, because of the calls that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many wait as may.
    Queue,
    /// No call ended in the time that one may wait.
    Waited,
    /// The call itself ended while it waited.
    Ended(Cause),
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue => f.write_str("too many calls wait"),
            Self::Waited => f.write_str("too many calls in flight"),
            Self::Ended(cause) => write!(f, "waiting for other calls: {cause}"),
        }
    }
}

impl Error for Full {}

/// So many calls at a time. Clones share them.
#[derive(Clone, Debug)]
pub struct Bulkhead(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The leave to have one call in flight, until it is dropped.
#[derive(Debug)]
#[must_use = "the place is free again when it is dropped"]
pub struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Bulkhead {
    /// A bulkhead with no call in it.
    pub fn new(config: Config) -> Self {
        let permits = config.max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(permits));
        Self(Arc::new(Shared { config, permits, waiting: AtomicUsize::new(0) }))
    }

    /// A permit, if one is free and nobody waits for it.
    pub fn try_acquire(&self) -> Option<Permit> {
        Arc::clone(&self.0.permits).try_acquire_owned().ok().map(Permit)
    }

    /// Waits for a permit as long as the configuration and `cx` allow.
    ///
    /// # Errors
    ///
    /// Fails when the queue is full, no permit became free in time, or the call has ended.
    pub async fn acquire(&self, cx: Option<&Context>) -> Result<Permit, Full> {
        if let Some(cause) = cx.and_then(|cx| cx.ended(clock::now())) {
            return Err(Full::Ended(cause));
        }
        if let Some(permit) = self.try_acquire() {
            return Ok(permit);
        }
        let _turn = self.queue().ok_or(Full::Queue)?;
        let permit = Arc::clone(&self.0.permits).acquire_owned();
        tokio::select! {
            biased;
            cause = clock::ended(cx) => Err(Full::Ended(cause)),
            // Nobody closes the semaphore.
            permit = permit => permit.map(Permit).map_err(|_closed| Full::Waited),
            () = tokio::time::sleep(self.0.config.max_wait) => Err(Full::Waited),
        }
    }

    /// How many calls are in flight.
    pub fn in_flight(&self) -> usize {
        let most = self.0.config.max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        most - self.0.permits.available_permits().min(most)
    }

    /// How many callers wait.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Relaxed)
    }

    /// A place in the queue, until it is dropped.
    fn queue(&self) -> Option<Turn> {
        let free = |waiting| (waiting < self.0.config.max_queue).then_some(waiting + 1);
        self.0.waiting.fetch_update(Relaxed, Relaxed, free).ok()?;
        Some(Turn(Arc::clone(&self.0)))
    }
}

struct Turn(Arc<Shared>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, pin::pin, task::Poll};
    use tokio::time::Instant;

    const MS: Duration = Duration::from_millis(1);

    fn small() -> Bulkhead {
        Bulkhead::new(Config { max_in_flight: 1, max_queue: 2, max_wait: 100 * MS })
    }

    fn context() -> Context {
        Context::new("test".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_limit_and_the_queue_is_empty_again() {
        let (bulkhead, start) = (small(), Instant::now());
        let held = bulkhead.acquire(None).await.unwrap();
        assert_eq!(bulkhead.acquire(None).await.unwrap_err(), Full::Waited);
        assert_eq!((start.elapsed(), bulkhead.waiting()), (100 * MS, 0));
        drop(held);
        assert!(bulkhead.acquire(None).await.is_ok());
        assert_eq!(bulkhead.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_its_deadline_or_cancellation_and_a_spent_one_never_begins() {
        let (bulkhead, start) = (small(), Instant::now());
        let held = bulkhead.acquire(None).await.unwrap();
        let cx = context().with_deadline((start + 30 * MS).into_std());
        let ended = Full::Ended(Cause::DeadlineExceeded);
        assert_eq!(bulkhead.acquire(Some(&cx)).await.unwrap_err(), ended);
        assert_eq!(start.elapsed(), 30 * MS);

        let cx = context();
        let mut waiting = pin!(bulkhead.acquire(Some(&cx)));
        let early = poll_fn(|task| Poll::Ready(waiting.as_mut().poll(task).is_ready())).await;
        assert!(!early);
        cx.cancel(Cause::CallerGone);
        assert_eq!(waiting.await.unwrap_err(), Full::Ended(Cause::CallerGone));

        drop(held);
        assert_eq!(bulkhead.acquire(Some(&cx)).await.unwrap_err(), Full::Ended(Cause::CallerGone));
        assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_served_in_order_and_one_too_many_is_refused_at_once() {
        let (bulkhead, start) = (small(), Instant::now());
        let held = bulkhead.acquire(None).await.unwrap();
        let (mut first, mut second) = (pin!(bulkhead.acquire(None)), pin!(bulkhead.acquire(None)));
        poll_fn(|task| {
            assert!(first.as_mut().poll(task).is_pending());
            assert!(second.as_mut().poll(task).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(bulkhead.acquire(None).await.unwrap_err(), Full::Queue);
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(held);
        assert!(bulkhead.try_acquire().is_none(), "the free permit is the first one's");
        let held = first.await.unwrap();
        drop(held);
        assert!(second.await.is_ok());
    }
}
