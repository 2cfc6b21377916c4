//! The world passes the suites that it is there to help others pass.

mod contract;
mod idempotency;
mod sim;
