//! The world passes the suites that it is there to help others pass, and the servers start and stop.

mod contract;
mod idempotency;
mod servers;
mod sim;
