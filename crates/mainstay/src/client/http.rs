//! A client of one HTTP service, from one section of the configuration.
//!
//! Outermost first: metrics, retries with a budget, circuit breaker, bulkhead, the time limit of a
//! try with what the request's [`Context`] sends on ([`propagate`](crate::http::propagate)), and a
//! pool of connections. Nothing is held while a call waits for its next try. Retries, breaker and
//! permits are those of [`mainstay_resilience`], and each client has its own.
//!
//! ```no_run
//! use bytes::Bytes;
//! use mainstay::{client::http::{Client, Config, Error, Safety}, metrics::Metrics};
//!
//! # async fn pay(cx: &mainstay_context::Context) -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("https://payments.internal/v1".parse()?);
//! let client = Client::new("payments", &config, &Metrics::new("shop"))?;
//! let request = http::Request::post("/charges")
//!     .header("idempotency-key", "7c0e")
//!     .body(Bytes::from_static(b"{}"))?;
//! match client.call(cx, Safety::Keyed, request).await {
//!     Ok(answer) => println!("{}: {} bytes", answer.status(), answer.body().len()),
//!     Err(Error::NotSent(why)) => println!("nothing has happened: {why}"),
//!     Err(Error::Unknown(why)) => println!("ask what became of it: {why}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Guarantees: an error says whether the request was surely not sent, and when that cannot be told,
//! that it may have been; a try that may have been sent is never hidden by a later one that was not.
//! A call ends with its deadline, its cancellation or the limit of its tries. An answer is read up
//! to a limit, and takes no more memory however long it is. No redirect is followed. A call that is
//! dropped gives its permit back and closes its connection.
//!
//! What a proxy between has tried again, as its answer says by `x-envoy-attempt-count`, is not tried
//! again here: one layer retries.
//!
//! Not guaranteed: that a request that was sent was not carried out, or once only: that takes a key
//! ([`Safety::Keyed`]) which the callee honours. The lookup of a name runs on a thread of Tokio's
//! pool and may outlive the call that wanted it. Connections that rest are looked at when one is
//! needed, so that one the peer has closed keeps its file descriptor until then. A connection goes on
//! with the certificates that it was made with, until it has rested too long or the callee ends it.
//!
//! Deliberately absent: HTTP/2 (which [gRPC](super::grpc) has), proxies, cookies, compression, streams
//! of any kind.

mod answer;
mod base_url;
mod config;
mod connection;
mod error;
mod judge;
mod origin;

pub use self::base_url::{BaseUrl, InvalidBaseUrl};
pub use self::config::{Breaker, Config};
pub use self::error::{Error, NotSent, Unknown};
pub use super::tls::TlsError;
pub use mainstay_resilience::retry::Safety;

use self::origin::Origin;
use super::{
    ask::Ask,
    stack::{Judge, Stack},
};
use crate::{http::answered_try, metrics::Metrics};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use mainstay_context::Context;
use mainstay_resilience::{breaker, retry::Budget};
use serde::Serialize;
use std::{fmt, sync::Arc};

type Answer = Response<Bytes>;

/// Which try an answer is to, from 1, or from the [attempt](Context::attempt) that the caller's own
/// request was; in the answer's extensions. An answer to the first says that there was no other, if
/// no proxy between tries again without saying so: one that does says it in
/// `x-envoy-attempt-count` of the answer, and its count holds where it is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries(pub u32);

impl Tries {
    /// Of an answer with these headers to the try that `cx` is for. A proxy between may have tried it
    /// again, and then says so.
    pub(in crate::client) fn of(cx: &Context, headers: &HeaderMap) -> Self {
        Self(answered_try(headers).map_or(cx.attempt(), |theirs| theirs.max(cx.attempt())))
    }
}

/// A client of one service. Clones are the same client.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    stack: Stack<Answer>,
    origin: Origin,
}

/// What a client tells of itself, as for a section of the [admin page](crate::admin).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Whether calls flow: `closed`, `half-open` or `open`.
    pub breaker: &'static str,
    /// Whether an operator has decided that.
    pub forced: bool,
    /// How often it has opened by itself.
    pub opened: u64,
    /// When calls are tried again, if it is open by itself.
    pub retry_in_ms: Option<u64>,
    /// The calls of the breaker's window.
    pub calls: u32,
    /// Those of them that failed.
    pub failures: u32,
    /// Those of them that were slow.
    pub slow: u32,
    /// The tries in flight.
    pub in_flight: usize,
    /// The tries that wait for one of them to end.
    pub waiting: usize,
    /// The connections that rest.
    pub idle_connections: usize,
    /// How many retries the budget allows now.
    pub retries_left: u64,
}

impl Client {
    /// A client of the service that metrics, logs and the admin page call `dependency`. No
    /// connection is made until one is needed.
    ///
    /// It reports to `metrics`: `client_requests_total{dependency,outcome}` with the outcomes `ok`,
    /// `refused` (4xx), `failed` (5xx), `not_sent`, `unknown` and `dropped`,
    /// `client_request_duration_seconds{dependency}` over all tries, `client_requests_in_flight`,
    /// `client_retries_total`, `client_retries_denied_total` (for want of budget) and
    /// `client_breaker_state` (0 closed, 1 half-open, 2 open; as the last call or look found it).
    ///
    /// # Errors
    ///
    /// Fails when the certificates that an `https` address needs cannot be read.
    pub fn new(dependency: &str, config: &Config, metrics: &Metrics) -> Result<Self, TlsError> {
        let origin = Origin::new(config)?;
        let connections = origin.clone();
        let judge = Judge { health: judge::health, verdict: judge::verdict };
        let attempt = move |ask| connections.clone().attempt(ask);
        let stack = Stack::new(dependency, config, metrics, judge, attempt);
        Ok(Self(Arc::new(Inner { stack, origin })))
    }

    /// Makes a call for the request of `cx`, and reads the whole answer, whatever its status.
    ///
    /// The address of `request` is a path with or without a query, and is put behind the path of
    /// the base address as it is: encode what comes from outside. `safety` says whether it may be made
    /// again when it fails or is answered with 429 or 5xx.
    ///
    /// # Errors
    ///
    /// Fails when there is no answer, and says whether the request was surely not sent.
    pub async fn call(
        &self,
        cx: &Context,
        safety: Safety,
        request: Request<Bytes>,
    ) -> Result<Answer, Error> {
        let stack = &self.0.stack;
        let exchange = stack.meters.begin(cx);
        let result = match stack.config.base_url.request(request) {
            Ok(request) => stack.call(Ask::new(cx.clone(), safety, request)).await,
            Err(invalid) => Err(Error::NotSent(invalid)),
        };
        exchange.end(judge::label(&result));
        result
    }

    /// The circuit breaker, to be read and forced.
    pub fn breaker(&self) -> &breaker::Breaker {
        &self.0.stack.breaker
    }

    /// The budget for more calls than were asked for, for [hedges](mainstay_resilience::race::hedge).
    pub fn budget(&self) -> &Budget {
        &self.0.stack.budget
    }

    /// What it tells of itself now.
    pub fn status(&self) -> Status {
        self.0.stack.status(self.0.origin.idle())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = &self.0.stack.config.base_url;
        f.debug_struct("Client").field("base", base).finish_non_exhaustive()
    }
}
