//! A service chassis: what a production service needs around its router.
//!
//! Each part is a module that can be adopted alone from plain axum: a [`server`] whose
//! connections all have limits, a [`lifecycle`] whose shutdown nothing can hold up, an inbound
//! [`http`] stack with deadlines and one log line per request, an [`admin`] router, [`metrics`],
//! [`telemetry`] and layered [`config`]. The request context itself is the crate
//! [`mainstay_context`].
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
//! A whole service has a configuration, an admin listener and phases:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use mainstay::{
//!     admin, config::Loader, http, lifecycle::{self, Lifecycle}, metrics::Metrics,
//!     server::{self, Server}, telemetry,
//! };
//! use serde::Deserialize;
//! use std::{error::Error, process::ExitCode};
//!
//! #[derive(Default, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config {
//!     server: server::Config,
//!     http: http::Config,
//!     lifecycle: lifecycle::Config,
//!     telemetry: telemetry::Config,
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<ExitCode, Box<dyn Error>> {
//!     let layers = Loader::new().file("shop.toml").env("SHOP__", std::env::vars());
//!     let config: Config = layers.load()?.value;
//!     let _telemetry = telemetry::init("shop", &config.telemetry)?;
//!     let metrics = Metrics::new("shop");
//!     metrics.build_info(&[("version", env!("CARGO_PKG_VERSION"))]);
//!     let lifecycle = Lifecycle::new(config.lifecycle);
//!
//!     let hello = async |http::Cx(cx): http::Cx| format!("you are request {}", cx.request_id());
//!     let routes = Router::new().route("/", get(hello));
//!     let app = http::inbound(routes, &http::Stack::new(&metrics).with_config(config.http));
//!     let server = Server::bind("127.0.0.1:8080", config.server).await?;
//!     let admin = Server::bind("127.0.0.1:9090", server::Config::default()).await?;
//!
//!     lifecycle.ready();
//!     let admin = Some((admin, admin::router(&lifecycle, &metrics)));
//!     Ok(lifecycle.run(server, app, admin).await.exit_code())
//! }
//! ```
//!
//! Deliberately absent: anything about orders, hidden globals, and metrics or OpenTelemetry types
//! in signatures.

pub mod admin;
pub mod config;
pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod server;
pub mod tasks;
pub mod telemetry;

mod body;
mod panics;

use std::io;

/// Serves `app` until SIGTERM or SIGINT, then drains, all with default limits.
///
/// # Errors
///
/// Fails when the signals cannot be listened for, when a part of the service failed, and when a
/// second signal cut the drain short.
pub async fn serve(listener: tokio::net::TcpListener, app: axum::Router) -> io::Result<()> {
    let lifecycle = lifecycle::Lifecycle::new(lifecycle::Config::default());
    let server = server::Server::from_listener(listener, server::Config::default());
    lifecycle.ready();
    match lifecycle.run(server, app, None).await.end {
        lifecycle::End::Stopped => Ok(()),
        lifecycle::End::Failed(reason) => Err(io::Error::other(reason)),
        lifecycle::End::Forced => Err(io::ErrorKind::Interrupted.into()),
    }
}
