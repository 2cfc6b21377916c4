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
//! needed, so that one the peer has closed keeps its file descriptor until then.
//!
//! Deliberately absent: HTTP/2, proxies, cookies, compression, streams of any kind.

mod answer;
mod ask;
mod base_url;
mod config;
mod connection;
mod error;
mod judge;
mod meters;
mod origin;

pub use self::base_url::{BaseUrl, InvalidBaseUrl};
pub use self::config::{Breaker, Config};
pub use self::error::{Error, NotSent, Unknown};
pub use super::tls::TlsError;
pub use mainstay_resilience::retry::Safety;

use self::{ask::Ask, meters::Meters, origin::Origin};
use crate::metrics::Metrics;
use bytes::Bytes;
use http::{Request, Response};
use mainstay_context::Context;
use mainstay_resilience::{
    Jitter,
    breaker::{self, State},
    bulkhead::{self, Bulkhead},
    retry::{self, Budget},
};
use serde::Serialize;
use std::{fmt, sync::Arc};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, util::BoxCloneSyncService};

type Answer = Response<Bytes>;

/// Which try an answer is to, from 1, or from the [attempt](Context::attempt) that the caller's own
/// request was; in the answer's extensions. An answer to the first says that there was no other, if
/// no proxy between tries again without saying so: one that does says it in
/// `x-envoy-attempt-count` of the answer, and its count holds where it is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries(pub u32);

/// A client of one service. Clones are the same client.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    base: BaseUrl,
    stack: BoxCloneSyncService<Ask, Answer, Error>,
    breaker: breaker::Breaker,
    budget: Budget,
    bulkhead: Bulkhead,
    origin: Origin,
    meters: Meters,
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
        let now = Instant::now().into_std();
        let meters = Meters::new(dependency, metrics);
        let listener = meters.clone();
        let breaker = breaker::Breaker::new(config.breaker.settings(), Jitter::system(), now)
            .with_listener(move |change| listener.changed(change));
        let budget = Budget::new(&config.budget(), now);
        let bulkhead = Bulkhead::new(config.bulkhead());
        let origin = Origin::new(config)?;
        let stack = stack(config, (&breaker, &budget, &bulkhead), origin.clone(), meters.clone());
        let base = config.base_url.clone();
        Ok(Self(Arc::new(Inner { base, stack, breaker, budget, bulkhead, origin, meters })))
    }

    /// Makes a call for the request of `cx`, and reads the whole answer, whatever its status.
    ///
    /// The address of `request` is a path with or without a query, and is put behind the path of
    /// the base address as it is: encode what comes from outside. `safety` says whether it may be made again when it fails or is answered
    /// with 429 or 5xx.
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
        let exchange = self.0.meters.begin(cx);
        let result = match Ask::new(cx, safety, request, &self.0.base) {
            Ok(ask) => self.0.stack.clone().oneshot(ask).await,
            Err(invalid) => Err(Error::NotSent(invalid)),
        };
        exchange.end(&result);
        result
    }

    /// The circuit breaker, to be read and forced.
    pub fn breaker(&self) -> &breaker::Breaker {
        &self.0.breaker
    }

    /// The budget for more calls than were asked for, for [hedges](mainstay_resilience::race::hedge).
    pub fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// What it tells of itself now.
    pub fn status(&self) -> Status {
        let now = Instant::now().into_std();
        let breaker = self.0.breaker.snapshot(now);
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Status {
            breaker: breaker.state.as_str(),
            forced: breaker.forced.is_some(),
            opened: breaker.opened,
            retry_in_ms: breaker.retry_in.map(millis),
            calls: breaker.calls,
            failures: breaker.failures,
            slow: breaker.slow,
            in_flight: self.0.bulkhead.in_flight(),
            waiting: self.0.bulkhead.waiting(),
            idle_connections: self.0.origin.idle(),
            retries_left: self.0.budget.left(now),
        }
    }
}

/// Puts the layers around the connections, in the order in which they belong.
fn stack(
    config: &Config,
    (breaker, budget, bulkhead): (&breaker::Breaker, &Budget, &Bulkhead),
    origin: Origin,
    meters: Meters,
) -> BoxCloneSyncService<Ask, Answer, Error> {
    let patience = config.breaker.slow_call.min(config.try_timeout);
    let health = move |result: &Result<Answer, Error>| judge::health(result, patience);
    let retries =
        retry::Layer::new(config.policy(), budget.clone(), Jitter::system(), judge::verdict)
            .with_listener(move |what| meters.tried(what));
    let breaker = breaker::Layer::new(breaker.clone(), health);
    let bulkhead = bulkhead::Layer::new(bulkhead.clone());
    BoxCloneSyncService::new(retries.layer(breaker.layer(bulkhead.layer(origin))))
}

/// The number of a breaker's state in its metric.
fn number(state: State) -> f64 {
    match state {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open => 2.0,
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.0.base).finish_non_exhaustive()
    }
}
