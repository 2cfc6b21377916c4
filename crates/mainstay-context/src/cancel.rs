use event_listener::{Event, EventListener};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::Poll,
};

/// Why a request ended before its work did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The time for the request is spent.
    DeadlineExceeded,
    /// Nobody waits for the answer any more.
    CallerGone,
    /// The process is stopping.
    ShuttingDown,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeadlineExceeded => "deadline exceeded",
            Self::CallerGone => "caller gone",
            Self::ShuttingDown => "shutting down",
        })
    }
}

impl std::error::Error for Cause {}

/// One place where cancellation can be declared, below a parent whose cancellation it shares.
///
/// A node points to its parent and never the other way round: finished children leave nothing
/// behind, and cancelling needs no walk over the living ones.
#[derive(Debug, Default)]
pub(crate) struct Node {
    cause: OnceLock<Cause>,
    changed: Event,
    parent: Option<Arc<Node>>,
}

impl Node {
    pub(crate) fn below(parent: &Arc<Self>) -> Self {
        Self { parent: Some(Arc::clone(parent)), ..Self::default() }
    }

    /// The cause that was declared first, here or above.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.line().find_map(|node| node.cause.get().copied())
    }

    /// Declares a cause for this node and all below; changes nothing when one is declared.
    pub(crate) fn cancel(&self, cause: Cause) {
        // A cause from above came first and is pinned here, so that the answer never changes.
        if self.cause.set(self.cause().unwrap_or(cause)).is_ok() {
            self.changed.notify(usize::MAX);
        }
    }

    pub(crate) async fn cancelled(&self) -> Cause {
        loop {
            // Listen first, then look: a cause declared in between still wakes this listener.
            let mut listeners: Vec<EventListener> =
                self.line().map(|node| node.changed.listen()).collect();
            if let Some(cause) = self.cause() {
                return cause;
            }
            any(&mut listeners).await;
        }
    }

    /// This node and its ancestors.
    fn line(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |node| node.parent.as_deref())
    }
}

async fn any(listeners: &mut [EventListener]) {
    poll_fn(|task| {
        let woken = |listener: &mut EventListener| Pin::new(listener).poll(task).is_ready();
        if listeners.iter_mut().any(woken) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        task::{Wake, Waker},
        time::Instant,
    };

    fn context() -> Context {
        Context::new("test".parse().unwrap())
    }

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_childs_end_is_not_its_parents() {
        let parent = context();
        let child = parent.child();
        child.cancel(Cause::CallerGone);
        assert_eq!(child.ended(now()), Some(Cause::CallerGone));
        assert_eq!(parent.ended(now()), None);
    }

    #[test]
    fn a_parents_end_is_its_grandchilds() {
        let parent = context();
        let grandchild = parent.child().child();
        parent.cancel(Cause::ShuttingDown);
        assert_eq!(grandchild.ended(now()), Some(Cause::ShuttingDown));
    }

    #[test]
    fn the_first_cause_stays() {
        let parent = context();
        let (early, late) = (parent.child(), parent.child());
        early.cancel(Cause::CallerGone);
        parent.cancel(Cause::ShuttingDown);
        late.cancel(Cause::DeadlineExceeded);
        parent.cancel(Cause::CallerGone);
        assert_eq!(early.ended(now()), Some(Cause::CallerGone));
        assert_eq!(late.ended(now()), Some(Cause::ShuttingDown));
        assert_eq!(parent.ended(now()), Some(Cause::ShuttingDown));
    }

    #[test]
    fn every_waiter_wakes_once_the_parent_is_cancelled() {
        let parent = context();
        let child = parent.child();
        let counter = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&counter));
        let mut task = std::task::Context::from_waker(&waker);
        let (mut one, mut two) = (pin!(child.cancelled()), pin!(parent.cancelled()));
        assert!(one.as_mut().poll(&mut task).is_pending());
        assert!(two.as_mut().poll(&mut task).is_pending());

        parent.cancel(Cause::CallerGone);

        assert_eq!(counter.0.load(SeqCst), 2);
        assert_eq!(one.as_mut().poll(&mut task), Poll::Ready(Cause::CallerGone));
        assert_eq!(two.as_mut().poll(&mut task), Poll::Ready(Cause::CallerGone));
    }

    #[test]
    fn a_dropped_waiter_does_not_take_the_wake_of_another() {
        let cx = context();
        let counter = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&counter));
        let mut task = std::task::Context::from_waker(&waker);
        let mut stays = pin!(cx.cancelled());
        {
            let mut leaves = pin!(cx.cancelled());
            assert!(leaves.as_mut().poll(&mut task).is_pending());
            assert!(stays.as_mut().poll(&mut task).is_pending());
        }
        cx.cancel(Cause::CallerGone);
        assert_eq!(counter.0.load(SeqCst), 1);
        assert_eq!(stays.as_mut().poll(&mut task), Poll::Ready(Cause::CallerGone));
    }

    #[tokio::test]
    async fn a_waiter_on_another_thread_wakes() {
        let cx = context();
        let child = cx.child();
        let waiting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(child.cancelled())
        });
        cx.cancel(Cause::ShuttingDown);
        assert_eq!(waiting.join().unwrap(), Cause::ShuttingDown);
    }
}
