//! The simulator over real sockets and real files.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod contract;
mod document;
mod durable;
mod faults;
mod idempotency;
mod page;
mod program;
mod sums;
mod support;
mod webhooks;
