//! A service chassis: what a production service needs around its router.
//!
//! Each part is a module that can be adopted alone from plain axum: a [`server`] whose
//! connections all have limits, a [`lifecycle`] whose shutdown nothing can hold up, an inbound
//! [`http`] stack with deadlines and one log line per request, a [`client`] of other services, an
//! [`admin`] router, [`metrics`], [`telemetry`] and layered [`config`]. The request context itself
//! is the crate [`mainstay_context`]; breakers, retries, bulkheads, rate limits, admission and pools
//! are [`mainstay_resilience`].
//!
//! The shortest way in replaces `axum::serve`:
//!
//! ```no_run
//! # async fn start() -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! mainstay::serve(listener, axum::Router::new()).await
//! # }
//! ```
//!
//! A whole service has a configuration, an admin listener and phases. This is
//! `examples/service.rs`:
//!
//! ```no_run
#![doc = include_str!("../examples/service.rs")]
//! ```
//!
//! The way there in steps is [`guide::from_axum`].
//!
//! Deliberately absent: anything about orders, hidden globals, and metrics or OpenTelemetry types
//! in signatures.

pub mod admin;
pub mod client;
pub mod config;
pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod server;
pub mod tasks;
pub mod telemetry;

/// For people: how to get here, when not to come, and what to rely on.
pub mod guide {
    #[doc = include_str!("../docs/from-axum.md")]
    pub mod from_axum {}
    #[doc = include_str!("../docs/when-not.md")]
    pub mod when_not {}
    #[doc = include_str!("../docs/stability.md")]
    pub mod stability {}
}

mod body;
mod chain;
mod panics;
mod pem;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

/// Serves `app` until SIGTERM or SIGINT, then drains, all with default limits.
///
/// Whoever was accepted is served to the end. Connections that still stand in the listener's queue
/// at the stop are not: somebody else may hold the socket, to serve them next, and if nobody does the
/// system resets them. [`Server::bind`](server::Server::bind) serves those too.
///
/// First it serves on for the 5 s that a balancer may need to notice, with `Connection: close` in
/// its answers. Not at a terminal (standard input is one), where nobody balances and somebody waits
/// for Ctrl-C: there the drain begins at once.
///
/// # Errors
///
/// Fails when the signals cannot be listened for, when a part of the service failed, and when a
/// second signal cut the drain short.
pub async fn serve(listener: tokio::net::TcpListener, app: axum::Router) -> io::Result<()> {
    let mut budgets = lifecycle::Config::default();
    if io::stdin().is_terminal() {
        budgets.lame_duck = Duration::ZERO;
    }
    let lifecycle = lifecycle::Lifecycle::new(budgets);
    let server = server::Server::from_listener(listener, server::Config::default());
    match lifecycle.run(server, app).await.end {
        lifecycle::End::Stopped => Ok(()),
        lifecycle::End::Failed(reason) => Err(io::Error::other(reason)),
        lifecycle::End::Forced => Err(io::ErrorKind::Interrupted.into()),
    }
}
