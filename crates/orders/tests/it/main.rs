//! The use cases over the world: results, events, retries, outages.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bus;
mod create;
mod deadline;
mod docs;
mod hear;
mod outage;
mod pay;
mod read;
mod relay;
mod retention;
mod snapshots;
mod verb;
