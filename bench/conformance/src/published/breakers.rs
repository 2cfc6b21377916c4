//! Published circuit breakers.

use crate::suite::{
    breaker::{Breaker, OPEN, WINDOW},
    row::{Answer, Failure, Make, Maker, Stack, ask, maker},
};
use failsafe::{
    Config, StateMachine, backoff,
    failure_policy::{SuccessRateOverTimeWindow, success_rate_over_time_window},
    futures::CircuitBreaker as _,
};
use recloser::{AsyncRecloser, Recloser};
use std::{
    iter,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tower::{Service as _, ServiceExt as _, util::BoxCloneService};
use tower_circuitbreaker::{CircuitBreaker, CircuitBreakerConfig, CircuitBreakerError};
use tower_resilience::circuitbreaker as resilience;

/// How many calls make a ratio, where one can be had so.
const LEAST: u32 = 20;

/// The moving average of `failsafe`.
pub(crate) struct Failsafe(StateMachine<SuccessRateOverTimeWindow<iter::Repeat<Duration>>, ()>);

impl Breaker for Failsafe {
    fn new() -> Option<Self> {
        let policy = success_rate_over_time_window(0.5, LEAST, WINDOW, backoff::constant(OPEN));
        Some(Self(Config::new().failure_policy(policy).build()))
    }

    async fn call(&self, make: Make) -> Answer {
        self.0.call(make()).await.map_err(|error| match error {
            failsafe::Error::Inner(failure) => failure,
            failsafe::Error::Rejected => Failure::Refused,
        })
    }
}

/// The ring of calls of `recloser`.
pub(crate) struct Ring(AsyncRecloser);

impl Breaker for Ring {
    fn new() -> Option<Self> {
        let ring = Recloser::custom().error_rate(0.5).closed_len(20).half_open_len(3);
        Some(Self(AsyncRecloser::from(ring.open_wait(OPEN).build())))
    }

    async fn call(&self, make: Make) -> Answer {
        self.0.call(make()).await.map_err(|error| match error {
            recloser::Error::Inner(failure) => failure,
            recloser::Error::Rejected => Failure::Refused,
        })
    }
}

/// The breaker of `tower-resilience`, over its last 100 calls.
pub(crate) struct Resilience(Stack);

impl Breaker for Resilience {
    fn new() -> Option<Self> {
        let layer = resilience::CircuitBreakerLayer::builder()
            .wait_duration_in_open(OPEN)
            .permitted_calls_in_half_open(3)
            .build()
            .ok()?;
        let refused = |error: resilience::CircuitBreakerError<Failure>| match error {
            resilience::CircuitBreakerError::Inner(failure) => failure,
            resilience::CircuitBreakerError::OpenCircuit => Failure::Refused,
        };
        Some(Self(BoxCloneService::new(layer.layer_fn(maker()).map_err(refused))))
    }

    fn call(&self, make: Make) -> impl Future<Output = Answer> + Send {
        ask(self.0.clone(), make)
    }
}

/// The breaker of `tower-circuitbreaker`, as it comes.
pub(crate) struct Earlier(Mutex<CircuitBreaker<Maker, Make, (), Failure>>);

impl Breaker for Earlier {
    fn new() -> Option<Self> {
        let config = CircuitBreakerConfig::<(), Failure>::builder()
            .wait_duration_in_open(OPEN)
            .permitted_calls_in_half_open(3);
        Some(Self(Mutex::new(config.build().layer(maker()))))
    }

    async fn call(&self, make: Make) -> Answer {
        // Always ready: what is inside is, and it asks nothing else.
        let call = self.0.lock().unwrap_or_else(PoisonError::into_inner).call(make);
        call.await.map_err(|error| match error {
            CircuitBreakerError::Inner(failure) => failure,
            CircuitBreakerError::OpenCircuit => Failure::Refused,
        })
    }
}
