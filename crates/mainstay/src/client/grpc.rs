//! A channel to one service of gRPC, from one section of the configuration.
//!
//! It is the service that the clients which tonic generates take, `OrderServiceClient::new(channel)`.
//! Outermost first: metrics, retries with a budget, circuit breaker, bulkhead, the time limit of a
//! try with what the request's [`Context`] sends on
//! ([`propagate_grpc`](crate::http::propagate_grpc)), and one connection of HTTP/2 that all calls
//! share. The parts are those of the [HTTP client](super::http), from the same section.
//!
//! What a call is for stands in the extensions of its request:
//!
//! ```no_run
//! # use bytes::Bytes;
//! # use http_body_util::Full;
//! # use mainstay::{client::grpc::{Channel, Config, Safety}, metrics::Metrics};
//! # use tower::Service as _;
//! # async fn get(cx: &mainstay_context::Context) -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("https://orders.internal".parse()?);
//! let mut channel = Channel::new("orders", &config, &Metrics::new("shop"))?;
//! // A `tonic::Request` has the same extensions.
//! let request = http::Request::post("/orders.v1.OrderService/GetOrder")
//!     .extension(cx.clone())
//!     .extension(Safety::Safe)
//!     .body(Full::new(Bytes::from_static(&[0; 5])))?;
//! let answer = channel.call(request).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A request with a [`Safety`] is a call of one message and one answer: its message is kept to be sent
//! again, its answer is read whole, up to a limit, and judged by its `grpc-status`. Tried again are
//! `UNAVAILABLE`, and `RESOURCE_EXHAUSTED` where the answer says when, by `RetryInfo` or
//! `grpc-retry-pushback-ms`; both are obeyed, and a pushback that is no number of milliseconds ends
//! the call. A request without a [`Safety`] is one that streams: it is made once, and ends with its
//! request and no limit of a try. Its permit, its place in the breaker and its metrics are those of
//! its opening, which lasts until the head of the answer is there: whoever listens for hours would
//! otherwise keep others from calling, or be the slowest call of all.
//!
//! What a proxy between has tried again is not tried again here, as over HTTP.
//!
//! A request without a [`Context`] gets one. A `grpc-timeout` of the request's own shortens it.
//!
//! An answer that comes from no service of gRPC, such as the page of a proxy, is the status that stands
//! for its HTTP status; a stream that is over without a status of its own has broken off.
//!
//! Guarantees: those of the HTTP client. A call that fails without an answer is a [`tonic::Status`]
//! whose code says so and whose source is an [`Error`] (see [`unanswered`]). It was surely not carried
//! out when the peer says that it did not begin with it: `REFUSED_STREAM`, or a `GOAWAY` that names an
//! earlier stream. A call that is dropped, cancelled or late resets its stream, and no other. A
//! connection that is told to end carries what it carries to its end, while a new one takes the next
//! calls; one over which nothing came during a call that was waited for in vain is not used again. Pings
//! go out while calls are open, every 20 s, and one that is not answered in 10 s ends the connection.
//! Never more streams are open than the peer allows: more of them wait, as part of their try. An answer
//! that nobody reads takes no more than 1 MiB, and keeps no other from coming. The tasks of a
//! connection end with the channel and the answers that are still read. A connection is made for all
//! calls that need one, within `connect_timeout`: each waits no longer than its own time, and one that
//! leaves takes it from no other.
//!
//! Not guaranteed: that a call gets another connection where the one that is being made takes long: all
//! who wait for it are told that it failed, and the next try has a new one made.
//!
//! Deliberately absent: several connections to one service, balancing, compression, retries of calls
//! that stream.

mod answer;
mod body;
mod connection;
mod error;
mod judge;
mod origin;

pub use self::body::Body;
pub use self::error::unanswered;
pub use super::http::{
    BaseUrl, Breaker, Config, Error, InvalidBaseUrl, NotSent, Safety, Status, TlsError, Tries,
    Unknown,
};

use self::{
    answer::Answer,
    body::{BoxError, Outgoing},
    origin::Origin,
};
use super::{
    ask::Ask,
    limit::Limit,
    stack::{Judge, Stack},
};
use crate::{http as inbound, metrics::Metrics};
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::BodyExt as _;
use mainstay_context::{Context, RequestId};
use mainstay_resilience::{breaker, retry::Budget};
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};
use tokio::time::Instant;

/// A channel to one service. Clones are the same channel.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

struct Inner {
    stack: Stack<Answer>,
    origin: Origin,
}

impl Channel {
    /// A channel to the service that metrics, logs and the admin page call `dependency`. No connection
    /// is made until one is needed.
    ///
    /// It reports as the [HTTP client](super::http::Client::new) does. The outcome `refused` is a status
    /// that says something of the call, `failed` one that says something of the service.
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

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = &self.0.stack.config.base_url;
        f.debug_struct("Channel").field("base", base).finish_non_exhaustive()
    }
}

impl<B> tower::Service<Request<B>> for Channel
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = tonic::Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, tonic::Status>> + Send>>;

    fn poll_ready(&mut self, _task: &mut task::Context<'_>) -> Poll<Result<(), tonic::Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        let request: Request<Outgoing> =
            request.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(async move { inner.call(request).await.map_err(tonic::Status::from) })
    }
}

impl Inner {
    async fn call(&self, request: Request<Outgoing>) -> Result<Response<Body>, Error> {
        let (mut head, body) = request.into_parts();
        let cx = context(&head).map_err(Error::NotSent)?;
        head.uri = self.stack.config.base_url.whole(&head.uri).map_err(Error::NotSent)?;
        let exchange = self.stack.meters.begin(&cx);
        if let Some(safety) = head.extensions.get::<Safety>().copied() {
            let result = self.ask(cx, safety, (head, body)).await;
            exchange.end(judge::label(&result));
            result.map(Answer::into_response)
        } else {
            let result = self.open(&cx, Request::from_parts(head, body)).await;
            exchange.end(judge::label_of_head(&result));
            result
        }
    }

    /// A call of one message and one answer.
    async fn ask(
        &self,
        cx: Context,
        safety: Safety,
        (head, body): (Parts, Outgoing),
    ) -> Result<Answer, Error> {
        let message = Limit::none(&cx).hold(body::message(body)).await;
        let message = message.map_err(|cut| Error::NotSent(cut.before()))?;
        let request = Request::from_parts(head, message.map_err(Error::NotSent)?);
        self.stack.call(Ask::new(cx, safety, request)).await
    }

    /// The opening of a call that streams. The layers are those of the others, but for retries.
    async fn open(
        &self,
        cx: &Context,
        request: Request<Outgoing>,
    ) -> Result<Response<Body>, Error> {
        let permit = self.stack.breaker.admit(Instant::now().into_std())?;
        let _place = self.stack.bulkhead.acquire(Some(cx)).await?;
        let result = self.origin.open(cx, request).await;
        let health = judge::health_of_head(&result, self.stack.config.patience());
        permit.finish(health, Instant::now().into_std());
        result
    }
}

/// The circumstances of a call: those of its request, until its own `grpc-timeout` if it has one.
fn context(head: &Parts) -> Result<Context, NotSent> {
    let given = head.extensions.get::<Context>().cloned();
    let cx = given.unwrap_or_else(|| Context::new(RequestId::from_bytes(inbound::random())));
    match inbound::asked(&head.headers) {
        Ok(None) => Ok(cx),
        Ok(Some(time)) => Ok(cx.with_deadline((Instant::now() + time).into_std())),
        Err(_) => Err(NotSent::Invalid("its timeout cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn head(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Parts {
        build(Request::post("/a.B/C")).body(()).unwrap().into_parts().0
    }

    #[tokio::test(start_paused = true)]
    async fn the_smaller_of_the_contexts_deadline_and_the_calls_own_holds() {
        let now = Instant::now();
        for (given, own, expected) in [(9, "2S", 2), (1, "2S", 1)] {
            let cx = Context::new("r-1".parse().unwrap());
            let cx = cx.with_deadline((now + Duration::from_secs(given)).into_std());
            let head = head(|request| request.extension(cx).header("grpc-timeout", own));
            let cx = context(&head).unwrap();
            assert_eq!(cx.deadline(), Some((now + Duration::from_secs(expected)).into_std()));
            assert_eq!(cx.request_id().as_str(), "r-1");
        }
    }

    #[tokio::test]
    async fn a_call_without_a_context_gets_one_of_its_own() {
        let (one, other) = (context(&head(|it| it)).unwrap(), context(&head(|it| it)).unwrap());
        assert_ne!(one.request_id(), other.request_id());
        assert_eq!(one.deadline(), None);
    }

    #[tokio::test]
    async fn a_timeout_that_cannot_be_read_is_not_passed_over() {
        let head = head(|request| request.header("grpc-timeout", "soon"));
        assert!(matches!(context(&head), Err(NotSent::Invalid(_))));
    }
}
