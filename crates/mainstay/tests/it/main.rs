//! The chassis over real sockets on the loopback interface.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod admin;
mod arrival;
mod client;
mod client_certificates;
mod config;
mod deadlines;
mod grpc;
mod hostile;
mod http;
mod lifecycle;
mod logs;
mod server;
mod signals;
mod support;
mod telemetry;
mod tls;
