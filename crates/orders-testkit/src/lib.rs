//! For tests only: the in-memory [`World`] with its faults, the suites that every store must pass,
//! and the simulator.
//!
//! Deliberately absent: a wall clock, random state, threads (the simulator's binary excepted). All
//! that happens follows from a seed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "tests fail by panicking"
)]

pub mod builders;
pub mod contract;
pub mod generated;
pub mod idempotency;
mod rng;
pub mod sim;
pub mod world;

pub use rng::Stream;
pub use world::{
    Bug, Calls, Effect, Engine, Fault, Faults, GatewayFault, GatewayFaults, GatewayMode, Webhook,
    Webhooks, World,
};
