//! Published limits of concurrency.

use crate::suite::{
    admission::Admission,
    row::{Answer, Failure, Make, Stack, ask, maker},
};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;
use tower::{
    Layer as _, ServiceExt as _, limit::GlobalConcurrencyLimitLayer, util::BoxCloneService,
};
use tower_resilience::adaptive::{
    AdaptiveError, AdaptiveLimiterLayer, Aimd, ConcurrencyAlgorithm, Vegas,
};

/// `tower`'s limit, one for all clones.
pub(crate) struct Tower(GlobalConcurrencyLimitLayer);

impl Admission for Tower {
    const TENANTS: bool = false;

    fn new(places: usize) -> Option<Self> {
        Some(Self(GlobalConcurrencyLimitLayer::new(places)))
    }

    async fn call(&self, _tenant: &str, _deadline: Instant, make: Make) -> Answer {
        ask(BoxCloneService::new(self.0.layer(maker())), make).await
    }
}

/// What `tower-resilience` adapts by additive increase and multiplicative decrease.
pub(crate) struct Additive(Mutex<Stack>);

impl Admission for Additive {
    const TENANTS: bool = false;

    fn new(places: usize) -> Option<Self> {
        let limit = Aimd::builder().initial_limit(places).max_limit(places).build().ok()?;
        Some(Self(adaptive(limit)))
    }

    async fn call(&self, _tenant: &str, _deadline: Instant, make: Make) -> Answer {
        ask(a_clone(&self.0), make).await
    }
}

/// What `tower-resilience` adapts by latency.
pub(crate) struct ByLatency(Mutex<Stack>);

impl Admission for ByLatency {
    const TENANTS: bool = false;

    fn new(places: usize) -> Option<Self> {
        let limit = Vegas::builder().initial_limit(places).max_limit(places).build().ok()?;
        Some(Self(adaptive(limit)))
    }

    async fn call(&self, _tenant: &str, _deadline: Instant, make: Make) -> Answer {
        ask(a_clone(&self.0), make).await
    }
}

fn adaptive(limit: impl ConcurrencyAlgorithm + 'static) -> Mutex<Stack> {
    let refused = |error: AdaptiveError<Failure>| match error {
        AdaptiveError::Service(failure) => failure,
        AdaptiveError::LimitReached => Failure::Refused,
    };
    let service = AdaptiveLimiterLayer::new(limit).layer(maker());
    Mutex::new(BoxCloneService::new(service.map_err(refused)))
}

fn a_clone(stack: &Mutex<Stack>) -> Stack {
    stack.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
