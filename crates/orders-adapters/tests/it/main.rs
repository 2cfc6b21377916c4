//! The adapters against the contracts they implement, and what is their own.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
#![cfg_attr(feature = "postgres", expect(clippy::panic, reason = "tests fail by panicking"))]

mod contract;
mod fixture;
mod idempotency;
#[cfg(feature = "kafka")]
mod kafka;
mod own;
#[cfg(feature = "postgres")]
mod postgres;
mod sim;
