//! For tests only: the in-memory [`World`] with its faults, the suites that every store must pass,
//! the simulator, real servers, and a proxy that plays a bad network.
//!
//! | module | gives |
//! |---|---|
//! | [`World`], [`builders`], [`generated`] | every port in memory, with faults on demand, and orders to put there |
//! | [`Engine`], [`Bridge`] | a real store in place of the world's own |
//! | [`contract`], [`idempotency`] | the suites that every store must pass |
//! | [`sim`] | the core in simulated time |
//! | [`proxy`] | a TCP proxy with faults, before a real server |
//! | [`servers`] | PostgreSQL, PgBouncer and Kafka, started for the tests and gone with them |
//!
//! Deliberately absent outside `servers`, `proxy` and [`Bridge`]: a wall clock, random state, threads (the
//! simulator's binary excepted). All that happens there follows from a seed.

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
mod port;
pub mod proxy;
mod rng;
pub mod servers;
pub mod sim;
pub mod world;

pub use rng::Stream;
pub use world::{
    Bridge, Bug, BusFaults, BusMode, Calls, Database, Effect, Engine, Fault, Faults, GatewayFault,
    GatewayFaults, GatewayMode, Producer, Webhook, Webhooks, World,
};
