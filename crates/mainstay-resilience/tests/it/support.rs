//! A dependency that does what it is told, and the stack around it.

use mainstay_context::Context;
use mainstay_resilience::{
    Call, Jitter,
    breaker::{self, Breaker, Outcome},
    bulkhead::{self, Bulkhead, Full},
    retry::{self, Budget, Policy, Repeat, Safety, Verdict},
};
use std::{
    future::pending,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{self, Poll},
    time::{Duration, Instant},
};
use tower::{Layer, Service};

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) fn context() -> Context {
    Context::new("test".parse().unwrap())
}

/// What the dependency does with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    Succeed,
    Fail,
    Decline,
    Hang,
    /// Fails before anything was sent.
    Unreachable,
    /// Succeeds after three waits, so that there is something to drop.
    Dawdle,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Error {
    Refused,
    Full(Full),
    Failed,
    Declined,
    Unreachable,
}

impl From<breaker::Refused> for Error {
    fn from(_: breaker::Refused) -> Self {
        Self::Refused
    }
}

impl From<Full> for Error {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

pub(crate) fn outcome<T>(result: &Result<T, Error>) -> Outcome {
    match result {
        Ok(_) => Outcome::Success,
        Err(Error::Failed | Error::Unreachable) => Outcome::FAILURE,
        Err(Error::Declined) => Outcome::Declined,
        Err(Error::Refused | Error::Full(_)) => Outcome::Ignored,
    }
}

pub(crate) fn verdict<T>(result: &Result<T, Error>) -> Verdict {
    match result {
        Err(Error::Failed) => Verdict::MaybeSent { retry_after: None },
        Err(Error::Unreachable) => Verdict::NotSent,
        Err(Error::Refused | Error::Full(_)) => Verdict::Refused,
        Ok(_) | Err(Error::Declined) => Verdict::Final,
    }
}

/// A call; the answer is the number of the attempt.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) cx: Context,
    pub(crate) safety: Safety,
}

impl Ask {
    pub(crate) fn new(safety: Safety) -> Self {
        Self { cx: context(), safety }
    }
}

impl Call for Ask {
    fn context(&self) -> Option<&Context> {
        Some(&self.cx)
    }
}

impl Repeat for Ask {
    fn safety(&self) -> Safety {
        self.safety
    }

    fn attempt(&self, attempt: u32) -> Self {
        Self { cx: self.cx.child().with_attempt(attempt), ..self.clone() }
    }
}

/// A dependency; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Dependency(Arc<State>);

#[derive(Debug)]
struct State {
    /// What comes first; the last stays.
    acts: Mutex<Vec<Act>>,
    calls: AtomicUsize,
    running: AtomicUsize,
}

impl Dependency {
    pub(crate) fn new(acts: &[Act]) -> Self {
        let acts = Mutex::new(acts.to_vec());
        Self(Arc::new(State { acts, calls: 0.into(), running: 0.into() }))
    }

    pub(crate) fn becomes(&self, act: Act) {
        *self.0.acts.lock().unwrap() = vec![act];
    }

    /// How many calls reached it.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(SeqCst)
    }

    /// How many of them it works on.
    pub(crate) fn running(&self) -> usize {
        self.0.running.load(SeqCst)
    }

    fn next_act(&self) -> Act {
        let mut acts = self.0.acts.lock().unwrap();
        if acts.len() > 1 { acts.remove(0) } else { acts[0] }
    }
}

struct Running(Dependency);

impl Running {
    fn of(dependency: &Dependency) -> Self {
        dependency.0.running.fetch_add(1, SeqCst);
        Self(dependency.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.fetch_sub(1, SeqCst);
    }
}

impl Service<Ask> for Dependency {
    type Response = u32;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<u32, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        self.0.calls.fetch_add(1, SeqCst);
        let (running, act) = (Running::of(self), self.next_act());
        Box::pin(async move {
            let _running = running;
            match act {
                Act::Succeed => Ok(ask.cx.attempt()),
                Act::Fail => Err(Error::Failed),
                Act::Decline => Err(Error::Declined),
                Act::Unreachable => Err(Error::Unreachable),
                Act::Hang => pending().await,
                Act::Dawdle => {
                    for _ in 0..3 {
                        tokio::time::sleep(MS).await;
                    }
                    Ok(ask.cx.attempt())
                }
            }
        })
    }
}

/// Everything that a stack shares.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) breaker: Breaker,
    pub(crate) budget: Budget,
    pub(crate) bulkhead: Bulkhead,
    pub(crate) policy: Policy,
    pub(crate) dependency: Dependency,
}

impl Parts {
    pub(crate) fn new(acts: &[Act]) -> Self {
        let one_at_a_time =
            bulkhead::Config { max_in_flight: 1, max_queue: 1, ..bulkhead::Config::default() };
        Self {
            breaker: Breaker::new(breaker::Config::default(), Jitter::none(), now()),
            budget: Budget::new(&retry::BudgetConfig::default(), now()),
            bulkhead: Bulkhead::new(one_at_a_time),
            policy: Policy::default(),
            dependency: Dependency::new(acts),
        }
    }

    /// Retry, breaker, bulkhead, in the order in which they belong.
    pub(crate) fn stack(&self) -> impl Asked {
        let retries = retry::Layer::new(
            self.policy.clone(),
            self.budget.clone(),
            Jitter::none(),
            verdict::<u32>,
        );
        let breaker = breaker::Layer::new(self.breaker.clone(), outcome::<u32>);
        let bulkhead = bulkhead::Layer::new(self.bulkhead.clone());
        retries.layer(breaker.layer(bulkhead.layer(self.dependency.clone())))
    }

    pub(crate) fn behind_breaker(&self) -> impl Asked {
        breaker::Layer::new(self.breaker.clone(), outcome::<u32>).layer(self.dependency.clone())
    }

    pub(crate) fn behind_retries(&self) -> impl Asked {
        retry::Layer::new(self.policy.clone(), self.budget.clone(), Jitter::none(), verdict::<u32>)
            .layer(self.dependency.clone())
    }
}

/// A service that can be asked as the tests do.
pub(crate) trait Asked:
    Service<Ask, Response = u32, Error = Error, Future: Send> + Clone + Send + 'static
{
    fn ask(&mut self, ask: Ask) -> impl Future<Output = Result<u32, Error>> + Send + use<Self>
    where
        Self: Sized,
    {
        self.call(ask)
    }
}

impl<S> Asked for S where
    S: Service<Ask, Response = u32, Error = Error, Future: Send> + Clone + Send + 'static
{
}
