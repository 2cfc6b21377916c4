//! What a client reports.

use crate::metrics::{Counter, Gauge, Histogram, LATENCY_BUCKETS, Metrics};
use mainstay_context::{Context, TraceContext};
use mainstay_resilience::{
    breaker::{Change, State},
    retry::Stop,
};
use std::sync::Arc;
use tokio::time::Instant;

#[derive(Clone, Debug)]
pub(super) struct Meters {
    dependency: Arc<str>,
    requests: Counter,
    duration: Histogram,
    in_flight: Gauge,
    retries: Counter,
    denied: Counter,
    breaker: Gauge,
}

impl Meters {
    pub(super) fn new(dependency: &str, metrics: &Metrics) -> Self {
        let own = &["dependency"];
        let meters = Self {
            dependency: dependency.into(),
            requests: metrics.counter(
                "client_requests_total",
                "Calls to other services, by how they ended",
                &["dependency", "outcome"],
            ),
            duration: metrics.histogram(
                "client_request_duration_seconds",
                "Time of a call to another service, over all its tries",
                own,
                LATENCY_BUCKETS,
            ),
            in_flight: metrics.gauge(
                "client_requests_in_flight",
                "Calls to other services that have not ended",
                own,
            ),
            retries: metrics.counter(
                "client_retries_total",
                "Tries of calls to other services after the first",
                own,
            ),
            denied: metrics.counter(
                "client_retries_denied_total",
                "Tries that were not made because the retry budget was spent",
                own,
            ),
            breaker: metrics.gauge(
                "client_breaker_state",
                "Circuit breaker: 0 closed, 1 half-open, 2 open",
                own,
            ),
        };
        meters.breaker.set(number(State::Closed), &[&meters.dependency]);
        // From the start, so that a rate over them has something to begin from.
        meters.retries.add(0, &[&meters.dependency]);
        meters.denied.add(0, &[&meters.dependency]);
        meters
    }

    pub(super) fn begin(&self, cx: &Context) -> Exchange<'_> {
        self.in_flight.add(1.0, &[&self.dependency]);
        Exchange { meters: self, trace: cx.trace(), start: Instant::now(), outcome: "dropped" }
    }

    /// Another try was made, or why none was.
    pub(super) fn tried(&self, what: Result<u32, Stop>) {
        match what {
            Ok(_attempt) => self.retries.inc(&[&self.dependency]),
            Err(Stop::Budget) => self.denied.inc(&[&self.dependency]),
            Err(Stop::Final | Stop::Unsafe | Stop::Tries | Stop::Deadline | Stop::Hint) => {}
        }
    }

    pub(super) fn changed(&self, change: Change) {
        let (from, to) = (change.from.as_str(), change.to.as_str());
        let (dependency, forced) = (&*self.dependency, change.forced.is_some());
        self.breaker.set(number(change.to), &[dependency]);
        match change.to {
            State::Open => tracing::warn!(dependency, from, to, forced, "circuit breaker opened"),
            State::HalfOpen | State::Closed => {
                tracing::info!(dependency, from, to, forced, "circuit breaker changed");
            }
        }
    }
}

/// The number of a breaker's state in its metric.
fn number(state: State) -> f64 {
    match state {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open => 2.0,
    }
}

/// One call; counted when it ends in whatever way.
#[derive(Debug)]
pub(super) struct Exchange<'m> {
    meters: &'m Meters,
    trace: TraceContext,
    start: Instant,
    outcome: &'static str,
}

impl Exchange<'_> {
    /// It ended so, as metrics call it.
    pub(super) fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        let dependency = &*self.meters.dependency;
        let seconds = self.start.elapsed().as_secs_f64();
        self.meters.in_flight.add(-1.0, &[dependency]);
        self.meters.requests.inc(&[dependency, self.outcome]);
        self.meters.duration.observe_traced(seconds, &[dependency], self.trace);
    }
}
