//! The world passes the suites that it is there to help others pass; the servers start and stop; the
//! proxy does what it is told.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod contract;
mod idempotency;
mod proxy;
mod servers;
mod sim;
