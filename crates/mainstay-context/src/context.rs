use crate::{Activity, Cause, Principal, RequestId, TraceContext, activity::Ledger, cancel::Node};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The circumstances of one request: identity, deadline and cancellation.
///
/// Cheap to clone; clones share cancellation and the ledger of where time goes. Nothing happens by
/// itself when the deadline passes: whoever waits asks [`ended`](Self::ended) or
/// [`remaining`](Self::remaining).
///
/// ```
/// # use mainstay_context::{Cause, Context};
/// let cx = Context::new("a-request".parse()?);
/// let attempt = cx.child();
/// attempt.cancel(Cause::CallerGone);
/// assert_eq!(cx.deadline(), None);
/// # Ok::<(), mainstay_context::InvalidRequestId>(())
/// ```
#[derive(Clone, Debug)]
pub struct Context(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    request_id: RequestId,
    trace: TraceContext,
    principal: Option<Principal>,
    attempt: u32,
    deadline: Option<Instant>,
    node: Arc<Node>,
    ledger: Arc<Ledger>,
}

impl Context {
    /// A context with no deadline, principal or trace, for the first attempt.
    pub fn new(request_id: RequestId) -> Self {
        Self(Arc::new(Inner {
            request_id,
            trace: TraceContext::NONE,
            principal: None,
            attempt: 1,
            deadline: None,
            node: Arc::default(),
            ledger: Arc::default(),
        }))
    }

    /// Ends the request at `at`, or at the deadline it has when that is earlier.
    #[must_use]
    pub fn with_deadline(self, at: Instant) -> Self {
        self.change(|inner| inner.deadline = Some(inner.deadline.map_or(at, |old| old.min(at))))
    }

    /// Names who asks.
    #[must_use]
    pub fn with_principal(self, principal: Principal) -> Self {
        self.change(|inner| inner.principal = Some(principal))
    }

    /// Sets the trace and current span.
    #[must_use]
    pub fn with_trace(self, trace: TraceContext) -> Self {
        self.change(|inner| inner.trace = trace)
    }

    /// Says which attempt this is; 1 is the first.
    #[must_use]
    pub fn with_attempt(self, attempt: u32) -> Self {
        self.change(|inner| inner.attempt = attempt)
    }

    /// The same circumstances, cancelled with this context but also by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        let node = Arc::new(Node::below(&self.0.node));
        self.clone().change(|inner| inner.node = node)
    }

    /// The same request, trace and principal for work that outlives the request: without its
    /// deadline and cancellation, at its first attempt, and with a ledger of its own.
    #[must_use]
    pub fn detached(&self) -> Self {
        self.clone().change(|inner| {
            inner.deadline = None;
            inner.attempt = 1;
            inner.node = Arc::default();
            inner.ledger = Arc::default();
        })
    }

    /// When the request ends; `None` when nothing limits it.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// The time left at `now`: zero when it is spent, `None` when nothing limits it.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.0.deadline.map(|at| at.saturating_duration_since(now))
    }

    /// Why work must stop at `now`: the declared cause, else a passed deadline.
    pub fn ended(&self, now: Instant) -> Option<Cause> {
        let spent = self.0.deadline.is_some_and(|at| at <= now);
        self.0.node.cause().or(spent.then_some(Cause::DeadlineExceeded))
    }

    /// Ends the request and all its children; the first cause stays.
    pub fn cancel(&self, cause: Cause) {
        self.0.node.cancel(cause);
    }

    /// Waits for [`cancel`](Self::cancel), here or on a parent; a deadline alone does not wake it.
    pub async fn cancelled(&self) -> Cause {
        self.0.node.cancelled().await
    }

    /// Says that the request does something else from `now` on.
    ///
    /// Clones and children share one ledger, and what was entered last stands: a request that does
    /// several things side by side does the one that began last. Times are never negative, and
    /// always add up to the time since the first entry.
    pub fn enter(&self, activity: Activity, now: Instant) {
        self.0.ledger.enter(activity, now);
    }

    /// What the request does; [`Activity::Working`] before the first [`enter`](Self::enter).
    pub fn activity(&self) -> Activity {
        self.0.ledger.current()
    }

    /// How long the request has done this until `now`, all times together.
    pub fn spent(&self, activity: Activity, now: Instant) -> Duration {
        self.0.ledger.spent(activity, now)
    }

    /// Who asks; `None` before authentication.
    pub fn principal(&self) -> Option<&Principal> {
        self.0.principal.as_ref()
    }

    /// The name of the request.
    pub fn request_id(&self) -> &RequestId {
        &self.0.request_id
    }

    /// The trace and current span; [`TraceContext::NONE`] when there is none.
    pub fn trace(&self) -> TraceContext {
        self.0.trace
    }

    /// Which attempt this is; 1 is the first.
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    fn change(mut self, set: impl FnOnce(&mut Inner)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Weak;

    fn context() -> Context {
        Context::new("test".parse().unwrap())
    }

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn a_finished_child_leaves_nothing_with_its_parent() {
        let parent = context();
        let child = parent.child();
        let left: Weak<Node> = Arc::downgrade(&child.0.node);
        drop(child);
        assert_eq!(left.strong_count(), 0);
        assert_eq!(Arc::strong_count(&parent.0.node), 1);
        assert_eq!(Arc::weak_count(&parent.0.node), 0);
    }

    #[test]
    fn a_detached_context_keeps_who_asks_and_drops_until_when() {
        let principal = Principal::new("shop", "till-1");
        let trace = TraceContext::new([1; 16], [2; 8]);
        let cx = context().with_principal(principal.clone()).with_trace(trace);
        let cx = cx.with_deadline(now()).with_attempt(3);
        let detached = cx.detached();
        cx.cancel(Cause::CallerGone);

        assert_eq!(detached.ended(now()), None);
        assert_eq!(detached.principal(), Some(&principal));
        assert_eq!(detached.trace(), trace);
        assert_eq!(detached.request_id(), cx.request_id());
        assert_eq!((cx.attempt(), detached.attempt()), (3, 1));
    }

    #[test]
    fn a_declared_cause_is_told_before_the_deadline() {
        let cx = context().with_deadline(now());
        assert_eq!(cx.ended(now()), Some(Cause::DeadlineExceeded));
        cx.cancel(Cause::CallerGone);
        assert_eq!(cx.ended(now()), Some(Cause::CallerGone));
    }

    #[test]
    fn changing_a_clone_leaves_the_original() {
        let cx = context();
        let clone = cx.clone().with_attempt(2);
        assert_eq!((cx.attempt(), clone.attempt()), (1, 2));
        clone.cancel(Cause::CallerGone);
        assert_eq!(cx.ended(now()), Some(Cause::CallerGone));
    }

    proptest! {
        #[test]
        fn the_smallest_deadline_wins_and_the_remainder_never_underflows(
            offsets in prop::collection::vec(0_u64..1_000, 1..5), at in 0_u64..2_000
        ) {
            let start = now();
            let after = |ms| start + Duration::from_millis(ms);
            let cx = offsets.iter().fold(context(), |cx, &ms| cx.with_deadline(after(ms)));
            let smallest = *offsets.iter().min().unwrap();

            prop_assert_eq!(cx.deadline(), Some(after(smallest)));
            let left = Duration::from_millis(smallest.saturating_sub(at));
            prop_assert_eq!(cx.remaining(after(at)), Some(left));
            prop_assert_eq!(cx.ended(after(at)).is_some(), at >= smallest);
        }
    }
}
