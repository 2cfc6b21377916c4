//! Published layers that let one call through at a time.

use super::retries::Thrice;
use crate::suite::{
    layer::{BACKOFF, Layer},
    row::{Failure, Make, Stack, maker},
};
use tower::{
    Layer as _, ServiceExt as _,
    limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer},
    retry::RetryLayer,
    util::BoxCloneService,
};
use tower_resilience::{
    bulkhead::{BulkheadLayer, BulkheadServiceError},
    retry::RetryLayer as Again,
};

pub(crate) struct Tower(ConcurrencyLimitLayer);

impl Layer for Tower {
    fn new() -> Option<Self> {
        Some(Self(ConcurrencyLimitLayer::new(1)))
    }

    fn stack(&self) -> Stack {
        BoxCloneService::new(self.0.layer(maker()))
    }

    fn with_retries(&self) -> Option<Stack> {
        let retries = RetryLayer::new(Thrice::after(BACKOFF));
        Some(BoxCloneService::new(retries.layer(self.0.layer(maker()))))
    }
}

pub(crate) struct Global(GlobalConcurrencyLimitLayer);

impl Layer for Global {
    fn new() -> Option<Self> {
        Some(Self(GlobalConcurrencyLimitLayer::new(1)))
    }

    fn stack(&self) -> Stack {
        BoxCloneService::new(self.0.layer(maker()))
    }

    fn with_retries(&self) -> Option<Stack> {
        let retries = RetryLayer::new(Thrice::after(BACKOFF));
        Some(BoxCloneService::new(retries.layer(self.0.layer(maker()))))
    }
}

/// The bulkhead of `tower-resilience`, as it comes.
pub(crate) struct Resilience(BulkheadLayer);

impl Layer for Resilience {
    fn new() -> Option<Self> {
        BulkheadLayer::builder().max_concurrent_calls(1).build().ok().map(Self)
    }

    fn stack(&self) -> Stack {
        BoxCloneService::new(self.0.layer(maker()).map_err(failure))
    }

    fn with_retries(&self) -> Option<Stack> {
        let retries = Again::<Make, (), BulkheadServiceError<Failure>>::builder();
        let retries = retries.max_attempts(3).fixed_backoff(BACKOFF).build();
        let service = retries.layer(self.0.layer(maker()));
        Some(BoxCloneService::new(service.map_err(failure)))
    }
}

fn failure(error: BulkheadServiceError<Failure>) -> Failure {
    match error {
        BulkheadServiceError::Inner(failure) => failure,
        BulkheadServiceError::Bulkhead(_) => Failure::Refused,
    }
}
