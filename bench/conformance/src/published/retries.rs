//! Published retries.

use crate::suite::{
    retry::Retry,
    row::{Answer, Failure, MS, Make, Stack, ask, maker},
};
use backon::{ConstantBuilder, Retryable as _};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::time::{Sleep, sleep};
use tower::{
    Layer as _,
    retry::{
        Policy, RetryLayer,
        budget::{Budget as _, TpsBudget},
    },
    util::BoxCloneService,
};
use tower_resilience::retry as resilience;

/// `backon`, which knows no budget.
pub(crate) struct Backon;

impl Retry for Backon {
    fn new() -> Option<Self> {
        Some(Self)
    }

    async fn call(&self, make: Make) -> Answer {
        let again = move || make();
        again.retry(ConstantBuilder::new().with_delay(MS).with_max_times(2)).await
    }
}

/// `backoff`, which knows no budget.
pub(crate) struct Backoff;

/// Two waits.
struct Twice(u32);

impl backoff::backoff::Backoff for Twice {
    fn next_backoff(&mut self) -> Option<Duration> {
        self.0 = self.0.checked_sub(1)?;
        Some(MS)
    }
}

impl Retry for Backoff {
    fn new() -> Option<Self> {
        Some(Self)
    }

    async fn call(&self, make: Make) -> Answer {
        let again = move || {
            let call = make();
            async move { call.await.map_err(backoff::Error::transient) }
        };
        backoff::future::retry(Twice(2), again).await
    }
}

/// The policy of `tower`'s documentation, with the budget that `tower` has.
#[derive(Clone)]
pub(crate) struct Thrice {
    budget: Arc<TpsBudget>,
    left: u32,
    wait: Duration,
}

impl Thrice {
    pub(crate) fn after(wait: Duration) -> Self {
        // A fifth of what went well in ten seconds, and five a second.
        Self { budget: Arc::new(TpsBudget::new(Duration::from_secs(10), 5, 0.2)), left: 2, wait }
    }
}

impl Policy<Make, (), Failure> for Thrice {
    type Future = Pin<Box<Sleep>>;

    fn retry(&mut self, _: &mut Make, result: &mut Answer) -> Option<Self::Future> {
        if result.is_ok() {
            self.budget.deposit();
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.budget.withdraw().then(|| Box::pin(sleep(self.wait)))
    }

    fn clone_request(&mut self, make: &Make) -> Option<Make> {
        Some(Arc::clone(make))
    }
}

pub(crate) struct Tower(Stack);

impl Retry for Tower {
    fn new() -> Option<Self> {
        let service = RetryLayer::new(Thrice::after(MS)).layer(maker());
        Some(Self(BoxCloneService::new(service)))
    }

    fn call(&self, make: Make) -> impl Future<Output = Answer> + Send {
        ask(self.0.clone(), make)
    }
}

/// `tower-resilience`, with a bucket of tokens for a budget.
pub(crate) struct Resilience(Stack);

impl Retry for Resilience {
    fn new() -> Option<Self> {
        let budget = resilience::RetryBudgetBuilder::new().token_bucket();
        let budget = budget.tokens_per_second(1.0).max_tokens(20).build().ok()?;
        let layer = resilience::RetryLayer::<Make, (), Failure>::builder();
        let layer = layer.max_attempts(3).fixed_backoff(MS).budget(budget).build();
        Some(Self(BoxCloneService::new(layer.layer(maker()))))
    }

    fn call(&self, make: Make) -> impl Future<Output = Answer> + Send {
        ask(self.0.clone(), make)
    }
}
