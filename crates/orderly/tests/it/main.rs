//! The real binary from the outside, each test with a folder of its own, and the shape of the
//! workspace.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod architecture;
mod audit;
mod calls;
mod certificates;
mod crash;
mod deadline;
mod demo;
mod drain;
mod first_order;
mod gateway_check;
mod grpc;
mod idempotency;
mod import;
mod keys;
mod limits;
mod logs;
mod metrics;
mod pay;
mod peers;
mod reconcile;
mod secrets;
mod settings;
mod shared;
mod sockets;
mod support;
mod traces;
mod webhooks;
#[cfg(feature = "kafka")]
mod with_kafka;
