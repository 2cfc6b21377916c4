//! What stands before the connections to one service, the same for every protocol.

use super::{
    ask::Ask,
    http::{Config, Error, Status},
    meters::Meters,
};
use crate::metrics::Metrics;
use mainstay_resilience::{
    Jitter,
    breaker::{self, Breaker, Outcome},
    bulkhead::{self, Bulkhead},
    retry::{self, Budget, Verdict},
};
use std::time::Duration;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

/// The breaker, the budget and the permits of one client, whose answers are `T`, and what it reports to.
pub(super) struct Stack<T> {
    pub(super) config: Config,
    pub(super) breaker: Breaker,
    pub(super) budget: Budget,
    pub(super) bulkhead: Bulkhead,
    pub(super) meters: Meters,
    layers: BoxCloneSyncService<Ask, T, Error>,
}

/// What the results of one protocol mean.
pub(super) struct Judge<T> {
    /// Of the health of the service; a caller who had not this patience says nothing.
    pub(super) health: fn(&Result<T, Error>, Duration) -> Outcome,
    /// Of another try.
    pub(super) verdict: fn(&Result<T, Error>) -> Verdict,
}

impl<T: Send + 'static> Stack<T> {
    /// Puts the layers around `attempt`, which makes one try, in the order in which they belong.
    pub(super) fn new<F>(
        dependency: &str,
        config: &Config,
        metrics: &Metrics,
        judge: Judge<T>,
        attempt: impl Fn(Ask) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let now = Instant::now().into_std();
        let meters = Meters::new(dependency, metrics);
        let listener = meters.clone();
        let breaker = Breaker::new(config.breaker.settings(), Jitter::system(), now)
            .with_listener(move |change| listener.changed(change));
        let budget = Budget::new(&config.budget(), now);
        let bulkhead = Bulkhead::new(config.bulkhead());

        let (Judge { health, verdict }, patience) = (judge, config.patience());
        let health = move |result: &Result<T, Error>| health(result, patience);
        let listener = meters.clone();
        let retries = retry::Layer::new(config.policy(), budget.clone(), Jitter::system(), verdict)
            .with_listener(move |what| listener.tried(what));
        let layers = bulkhead::Layer::new(bulkhead.clone()).layer(service_fn(attempt));
        let layers = retries.layer(breaker::Layer::new(breaker.clone(), health).layer(layers));
        let layers = BoxCloneSyncService::new(layers);
        Self { config: config.clone(), breaker, budget, bulkhead, meters, layers }
    }

    /// Makes a call of one message, with as many tries as may be.
    pub(super) async fn call(&self, ask: Ask) -> Result<T, Error> {
        self.layers.clone().oneshot(ask).await
    }

    /// What the client tells of itself now, when so many of its connections rest.
    pub(super) fn status(&self, idle_connections: usize) -> Status {
        let now = Instant::now().into_std();
        let breaker = self.breaker.snapshot(now);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Status {
            breaker: breaker.state.as_str(),
            forced: breaker.forced.is_some(),
            opened: breaker.opened,
            retry_in_ms: breaker.retry_in.map(millis),
            calls: breaker.calls,
            failures: breaker.failures,
            slow: breaker.slow,
            in_flight: self.bulkhead.in_flight(),
            waiting: self.bulkhead.waiting(),
            idle_connections,
            retries_left: self.budget.left(now),
        }
    }
}
