//! Retries around a service.

use super::{Budget, Policy, Safety, Stop, Tries, Verdict};
use crate::{Call, Jitter, clock};
use mainstay_context::{Cause, Context};
use std::{
    fmt,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

/// A request that can be made more than once.
pub trait Repeat: Call + Sized {
    /// What making it twice would do.
    fn safety(&self) -> Safety;

    /// The same request as try number `attempt`, which its context should tell the callee.
    #[must_use]
    fn attempt(&self, attempt: u32) -> Self;
}

type Listener = Arc<dyn Fn(Result<u32, Stop>) + Send + Sync>;

/// Puts retries around services; all of them share one budget.
///
/// `classify` says what a result means for another try. No permit of what is inside is held while
/// a call waits for its next try.
#[derive(Clone)]
pub struct Layer<C> {
    retries: Retries<C>,
}

#[derive(Clone)]
struct Retries<C> {
    policy: Arc<Policy>,
    budget: Budget,
    jitter: Jitter,
    listener: Option<Listener>,
    classify: C,
}

impl<C> Layer<C> {
    /// A layer that spends from `budget`, whose waits are drawn from `jitter`.
    pub fn new(policy: Policy, budget: Budget, jitter: Jitter, classify: C) -> Self {
        let policy = Arc::new(policy);
        Self { retries: Retries { policy, budget, jitter, listener: None, classify } }
    }

    /// Tells `listener` of each other try by its number when it is made, and why a call that was no
    /// success got none.
    #[must_use]
    pub fn with_listener(
        mut self,
        listener: impl Fn(Result<u32, Stop>) + Send + Sync + 'static,
    ) -> Self {
        self.retries.listener = Some(Arc::new(listener));
        self
    }
}

impl<C> fmt::Debug for Layer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Retries { policy, budget, .. } = &self.retries;
        f.debug_struct("Layer")
            .field("policy", policy)
            .field("budget", budget)
            .finish_non_exhaustive()
    }
}

impl<S, C: Clone> tower::Layer<S> for Layer<C> {
    type Service = Service<S, C>;

    fn layer(&self, inner: S) -> Service<S, C> {
        Service { inner, retries: self.retries.clone() }
    }
}

/// A service whose calls may be made again.
#[derive(Clone)]
pub struct Service<S, C> {
    inner: S,
    retries: Retries<C>,
}

impl<S: fmt::Debug, C> fmt::Debug for Service<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, C, Req> tower::Service<Req> for Service<S, C>
where
    S: tower::Service<Req> + Clone + Send + 'static,
    S::Response: Send,
    S::Error: Send,
    S::Future: Send,
    Req: Repeat + Send + Sync + 'static,
    C: Fn(&Result<S::Response, S::Error>) -> Verdict + Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    /// In a box: next to a call over a network it costs nothing.
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        // The one that is ready makes the first try; its clone is not ready yet.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        let retries = self.retries.clone();
        Box::pin(async move { retries.run(ready, request).await })
    }
}

impl<C> Retries<C> {
    async fn run<S, Req>(self, mut service: S, request: Req) -> Result<S::Response, S::Error>
    where
        S: tower::Service<Req>,
        Req: Repeat,
        C: Fn(&Result<S::Response, S::Error>) -> Verdict,
    {
        let safety = request.safety();
        let mut tries = Tries::begin(&self.policy, &self.jitter, safety);
        let first = request.context().map_or(1, Context::attempt);
        // Somebody else's retry or hedge earns none of ours, or they would multiply.
        if first == 1 {
            self.budget.call();
        }
        // What is told at the end if no later try was sent.
        let mut unknown = None;
        let mut result = service.call(request.attempt(first)).await;
        loop {
            let verdict = (self.classify)(&result);
            let cx = request.context();
            let next = tries.next(verdict, &self.budget, cx, clock::now());
            let (delay, token) = match next {
                Ok(next) => next,
                Err(stop) => return self.stop(stop, verdict, unknown, result),
            };
            let Ok(ready) = pause(delay, cx, &mut service).await else {
                return self.stop(Stop::Deadline, verdict, unknown, result);
            };
            if verdict != Verdict::NotSent {
                unknown = Some(result);
            }
            token.spend();
            self.tell(Ok(tries.made()));
            let again = request.attempt(first.saturating_add(tries.made() - 1));
            result = match ready {
                Ok(()) => service.call(again).await,
                Err(error) => Err(error),
            };
        }
    }

    /// The result to tell: one that leaves the outcome open is not hidden by one that was not sent.
    fn stop<T>(&self, stop: Stop, verdict: Verdict, unknown: Option<T>, last: T) -> T {
        self.tell(Err(stop));
        match (verdict, unknown) {
            (Verdict::NotSent | Verdict::Refused, Some(unknown)) => unknown,
            (
                Verdict::NotSent | Verdict::Refused | Verdict::MaybeSent { .. } | Verdict::Final,
                _,
            ) => last,
        }
    }

    fn tell(&self, what: Result<u32, Stop>) {
        if let Some(listener) = &self.listener {
            listener(what);
        }
    }
}

/// Waits for the time and the service, no longer than the call may last.
async fn pause<S: tower::Service<Req>, Req>(
    delay: Duration,
    cx: Option<&Context>,
    service: &mut S,
) -> Result<Result<(), S::Error>, Cause> {
    clock::wait(delay, cx).await?;
    tokio::select! {
        biased;
        cause = clock::ended(cx) => Err(cause),
        ready = poll_fn(|task| service.poll_ready(task)) => Ok(ready),
    }
}
