//! What operators and their tools ask a process, on a listener of its own.
//!
//! | request | answer |
//! |---|---|
//! | `GET /livez` | 200 while the process makes progress: 503 only when its main runtime has run no task for 10 s, so that a restart would help; overload is no reason |
//! | `GET /readyz` | 200, or 503 with the reasons as JSON |
//! | `GET /startupz` | 503 until the start has succeeded |
//! | `GET /metrics` | Prometheus text, or OpenMetrics if accepted |
//! | `GET /` | a page for people; as JSON if that is accepted |
//! | `GET /status` | the same as JSON |
//! | `GET`, `PUT /log-level` | the level of logs; `PUT` changes it until the next start |
//!
//! Under [`Lifecycle::run`] it has a thread of its own and answers while every worker of the main
//! runtime is busy. What the service contributes is asked with a limit of 1 s, so that a section
//! that hangs is told as such and takes nothing else along.
//!
//! With a token ([`Config::token_file`]) everything but the first three asks for it, so that a
//! browser asks its user. Without one
//! the listener belongs on loopback, and refuses hosts that are neither an address nor `localhost`,
//! so that no page in the operator's browser can be made to point here. In either case a page of
//! another site cannot change anything.
//!
//! Deliberately absent: TLS, and users.

mod asking;
mod guard;
mod level;
mod page;
mod status;
mod thread;

pub(crate) use self::thread::serve_on_thread;

use self::{asking::Asking, level::LogLevel};
use crate::{
    config::Secret,
    http::InFlightRequest,
    lifecycle::{Lifecycle, Phase},
    metrics::{Format, Metrics},
};
use axum::{
    Json, Router, extract::DefaultBodyLimit, middleware::from_fn_with_state,
    response::IntoResponse, routing::get,
};
use http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// How long the main runtime may run no task before `/livez` fails.
const LIVENESS_LIMIT: Duration = Duration::from_secs(10);

/// The fewest bytes of a token: 128 random bits in hexadecimal.
const SHORTEST_TOKEN: usize = 32;

/// Where the admin listener is, and who may use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address and port of the admin listener; port 0 takes any free one. An address that
    /// other machines reach needs `token_file`. Default 127.0.0.1:9090.
    pub listen: SocketAddr,
    /// The file with the token that everything but `/livez`, `/readyz` and `/startupz` asks for,
    /// as `Authorization: Bearer TOKEN` or, in a browser, as the password of any user; at least 32
    /// bytes, relative to the working directory.
    /// Make one with `(umask 077; openssl rand -hex 32 > admin-token)`. Default: none, and nobody
    /// is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "admin-token")]
    pub token_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 9090).into(), token_file: None }
    }
}

/// Why an admin listener must not be started with a [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Other machines reach it, and nobody is asked.
    #[error(
        "it is reachable from other machines, and asks nobody who they are: listen on 127.0.0.1, \
         or set token_file beside it to a file made with `(umask 077; openssl rand -hex 32 > \
         admin-token)`"
    )]
    Open,
    /// The token cannot be read.
    #[error("cannot read {0}; `(umask 077; openssl rand -hex 32 > {0})` makes one")]
    Unreadable(PathBuf, #[source] io::Error),
    /// The token could be guessed.
    #[error(
        "the token in {0} is not at least 32 visible ASCII characters; \
         `(umask 077; openssl rand -hex 32 > {0})` makes one"
    )]
    Weak(PathBuf),
}

impl Config {
    /// Whether it may be reached as far as it can be.
    ///
    /// # Errors
    ///
    /// Fails when other machines reach it and there is no token.
    pub fn check_reach(&self) -> Result<(), Error> {
        let safe = self.listen.ip().is_loopback() || self.token_file.is_some();
        if safe { Ok(()) } else { Err(Error::Open) }
    }

    /// Reads the token, if there is to be one.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read or the token could be guessed.
    pub fn token(&self) -> Result<Option<Secret<String>>, Error> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let token = Secret::from_file(path);
        let token = token.map_err(|error| Error::Unreadable(path.clone(), error))?;
        let text = token.expose();
        if text.len() >= SHORTEST_TOKEN && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Some(token))
        } else {
            Err(Error::Weak(path.clone()))
        }
    }
}

/// Something that the service tells about itself.
#[derive(Clone)]
struct Section {
    name: String,
    tell: Arc<dyn Fn() -> Value + Send + Sync>,
    asking: Asking,
}

/// Gathers what the admin listener shows. Clones share what they ask.
#[derive(Clone)]
pub struct Admin {
    lifecycle: Lifecycle,
    metrics: Metrics,
    sections: Vec<Section>,
    log_level: Option<LogLevel>,
    config: Option<Arc<str>>,
    token: Option<Secret<String>>,
    readiness: Asking,
    scrapes: Asking,
}

impl Admin {
    /// Health, metrics, and what the chassis knows itself.
    pub fn new(lifecycle: &Lifecycle, metrics: &Metrics) -> Self {
        let tasks = lifecycle.clone();
        let admin = Self {
            lifecycle: lifecycle.clone(),
            metrics: metrics.clone(),
            sections: Vec::new(),
            log_level: None,
            config: None,
            token: None,
            readiness: Asking::new(),
            scrapes: Asking::new(),
        };
        admin.section("tasks", move || json!(tasks.tasks().by_name()))
    }

    /// Shows what `tell` tells, best an object, under this name; asked at each look, and told as
    /// hanging when it takes longer than 1 s. It is not asked again while it hangs.
    #[must_use]
    pub fn section(
        mut self,
        name: impl Into<String>,
        tell: impl Fn() -> Value + Send + Sync + 'static,
    ) -> Self {
        let (name, tell) = (name.into(), Arc::new(tell));
        self.sections.push(Section { name, tell, asking: Asking::new() });
        self
    }

    /// Shows the requests in flight.
    #[must_use]
    pub fn in_flight(
        self,
        list: impl Fn() -> Vec<InFlightRequest> + Send + Sync + 'static,
    ) -> Self {
        self.section("in_flight", move || list().iter().map(InFlightRequest::told).collect())
    }

    /// Shows the level of logs, and lets it be changed: `set` gets a text such as
    /// `info,orders=debug`, and what it refuses is answered with 400 and the reason.
    #[must_use]
    pub fn log_level<E: Into<Box<dyn std::error::Error>>>(
        mut self,
        get: impl Fn() -> String + Send + Sync + 'static,
        set: impl Fn(&str) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.log_level = Some(LogLevel::new(get, set));
        self
    }

    /// Shows the effective configuration, such as [`Loaded::print`](crate::config::Loaded::print)
    /// gives it: without secrets.
    #[must_use]
    pub fn config(mut self, text: impl Into<Arc<str>>) -> Self {
        self.config = Some(text.into());
        self
    }

    /// Asks for this token, see [`Config::token`]; for none by default.
    #[must_use]
    pub fn token(mut self, token: Option<Secret<String>>) -> Self {
        self.token = token;
        self
    }

    /// The routes of the admin listener.
    pub fn router(self) -> Router {
        let (live, ready, startup) = (self.clone(), self.clone(), self.clone());
        let probes = Router::new()
            .route("/livez", get(async move || livez(&live.lifecycle)))
            .route("/readyz", get(async move || ready.readyz().await))
            .route("/startupz", get(async move || startupz(&startup.lifecycle)));
        let (metrics, page, status) = (self.clone(), self.clone(), self.clone());
        let levels = self.log_level.map(LogLevel::routes).unwrap_or_default();
        let guarded = Router::new()
            .route("/metrics", get(async move |headers: HeaderMap| metrics.scrape(&headers).await))
            .route("/", get(async move |headers: HeaderMap| page.answer(&headers).await))
            .route("/status", get(async move || Json(status.status().await.json())))
            .merge(levels)
            .layer(from_fn_with_state(self.token, guard::guard));
        probes.merge(guarded).layer(DefaultBodyLimit::max(4 << 10))
    }

    async fn readyz(&self) -> impl IntoResponse + use<> {
        let reasons = self.unready_reasons().await;
        let status = status_code(reasons.is_empty());
        (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons })))
    }

    async fn unready_reasons(&self) -> Vec<String> {
        let lifecycle = self.lifecycle.clone();
        let reasons = self.readiness.ask(move || lifecycle.unready_reasons()).await;
        reasons.unwrap_or_else(|| vec!["a readiness check gave no answer within 1 s".to_owned()])
    }

    async fn scrape(&self, headers: &HeaderMap) -> impl IntoResponse + use<> {
        let format = Format::from_accept(accept(headers));
        let metrics = self.metrics.clone();
        match self.scrapes.ask(move || metrics.render(format)).await {
            Some(text) => Ok(([(header::CONTENT_TYPE, format.content_type())], text)),
            None => Err((StatusCode::SERVICE_UNAVAILABLE, "a metric gave no answer within 1 s\n")),
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sections: Vec<_> = self.sections.iter().map(|section| &section.name).collect();
        f.debug_struct("Admin").field("sections", &sections).finish_non_exhaustive()
    }
}

fn livez(lifecycle: &Lifecycle) -> (StatusCode, String) {
    match lifecycle.last_beat().filter(|ago| *ago > LIVENESS_LIMIT) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(ago) => {
            let stuck = format!("the main runtime has run no task for {} s\n", ago.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, stuck)
        }
    }
}

fn startupz(lifecycle: &Lifecycle) -> impl IntoResponse + use<> {
    let phase = lifecycle.phase();
    (status_code(phase > Phase::Starting), Json(json!({ "phase": phase.to_string() })))
}

fn status_code(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn accept(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle;
    use tokio::time::{advance, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_process_is_alive_until_no_task_has_run_for_the_limit() {
        let lifecycle = Lifecycle::new(lifecycle::Config::default());
        assert_eq!(livez(&lifecycle).0, StatusCode::OK, "it does not run yet");
        let beats = timeout(Duration::from_millis(1), lifecycle.beat());
        assert!(beats.await.is_err(), "it goes on");
        advance(Duration::from_secs(9)).await;
        assert_eq!(livez(&lifecycle).0, StatusCode::OK);
        advance(Duration::from_secs(2)).await;
        let (status, why) = livez(&lifecycle);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(why, "the main runtime has run no task for 11 s\n");
    }
}
