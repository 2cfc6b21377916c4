//! Calls that may fail: what stands between a service and what it depends on, and between a service and
//! those who call it.
//!
//! A [`breaker`] refuses calls to a dependency that is down, [`retry`] tries again within a budget, a
//! [`bulkhead`] bounds how many calls are made at a time, and [`race`] takes the first success of
//! several. The other side is a service and its callers: a [`rate_limit`] bounds how much each may ask,
//! [`admission`] refuses what could not be done in time, and a [`pool`] has threads for what computes.
//! Each is a plain core to which time is passed in, then a thin `tower` layer, and can be adopted alone.
//!
//! Outermost first, on the way out they belong in this order: retry, breaker, bulkhead, the time limit
//! of a try, the connection. Then no permit is held while a retry backs off, and each try is counted.
//!
//! Guarantees of all: a permit or a token comes back when a future is dropped at any await; clones
//! share their state, and so do the services of repeated `Layer::layer` calls; every wait has a
//! bound. The error of a layered service says by `From` how a refusal is told, so that no layer
//! wraps the error of another; but before a service a refusal is an answer.
//!
//! Deliberately absent: I/O, metrics, logs and configuration files. `mainstay::client` adds them.

pub mod admission;
pub mod breaker;
pub mod bulkhead;
pub mod pool;
pub mod race;
pub mod rate_limit;
pub mod retry;

mod call;
mod clock;
mod jitter;

pub use self::call::Call;
pub use self::jitter::Jitter;
