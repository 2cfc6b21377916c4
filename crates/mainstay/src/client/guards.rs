//! What stands before the connections to one service, the same for every protocol.

use super::{
    http::{Config, Error, Status},
    meters::Meters,
};
use crate::metrics::Metrics;
use mainstay_resilience::{
    Jitter,
    breaker::{self, Breaker, Outcome},
    bulkhead::{self, Bulkhead},
    retry::{self, Budget, Repeat, Verdict},
};
use std::time::Duration;
use tokio::time::Instant;
use tower::{Layer, util::BoxCloneSyncService};

/// The breaker, the budget and the permits of one client, and what it reports to.
pub(super) struct Guards {
    pub(super) breaker: Breaker,
    pub(super) budget: Budget,
    pub(super) bulkhead: Bulkhead,
    pub(super) meters: Meters,
}

/// What the results of one protocol mean.
pub(super) struct Judge<T> {
    /// Of the health of the service; a caller who had not this patience says nothing.
    pub(super) health: fn(&Result<T, Error>, Duration) -> Outcome,
    /// Of another try.
    pub(super) verdict: fn(&Result<T, Error>) -> Verdict,
}

impl Guards {
    pub(super) fn new(dependency: &str, config: &Config, metrics: &Metrics) -> Self {
        let now = Instant::now().into_std();
        let meters = Meters::new(dependency, metrics);
        let listener = meters.clone();
        let breaker = Breaker::new(config.breaker.settings(), Jitter::system(), now)
            .with_listener(move |change| listener.changed(change));
        let budget = Budget::new(&config.budget(), now);
        Self { breaker, budget, bulkhead: Bulkhead::new(config.bulkhead()), meters }
    }

    /// Puts the layers around the connections, in the order in which they belong.
    pub(super) fn around<Req, T, S>(
        &self,
        config: &Config,
        connections: S,
        judge: Judge<T>,
    ) -> BoxCloneSyncService<Req, T, Error>
    where
        Req: Repeat + Send + Sync + 'static,
        T: Send + 'static,
        S: tower::Service<Req, Response = T, Error = Error> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let (Judge { health, verdict }, patience) = (judge, config.patience());
        let meters = self.meters.clone();
        let health = move |result: &Result<T, Error>| health(result, patience);
        let retries =
            retry::Layer::new(config.policy(), self.budget.clone(), Jitter::system(), verdict)
                .with_listener(move |what| meters.tried(what));
        let breaker = breaker::Layer::new(self.breaker.clone(), health);
        let bulkhead = bulkhead::Layer::new(self.bulkhead.clone());
        BoxCloneSyncService::new(retries.layer(breaker.layer(bulkhead.layer(connections))))
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
