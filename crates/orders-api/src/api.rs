//! What the handlers of both protocols share: the use cases, what is set, and the time there is.

use std::{fmt, future::pending, sync::Arc, time::Duration};

use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use mainstay::{http::StreamDeadline, lifecycle::Phase, telemetry::SPANS};
use mainstay_context::Context;
use mainstay_resilience::{
    Jitter,
    admission::{self, Admission},
    pool::Pool,
};
use orders::{
    Error, Orders,
    ports::{Clock as _, Ports},
};
use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};
use tracing::Instrument as _;

use crate::{
    auth::Auth,
    http::Webhooks,
    limits::Limits,
    live::Watchers,
    problem::{Code, Problem},
    wait::Seats,
};

/// Tells whether the process is ready: quick, and by local conditions only.
pub type Readiness = Arc<dyn Fn() -> bool + Send + Sync>;

/// What the API needs besides the use cases.
pub struct Config {
    /// What opens it.
    pub auth: Arc<Auth>,
    /// What page tokens are authenticated with; the same on every replica.
    pub page_secret: [u8; 32],
    /// The largest body that is read over HTTP, in bytes; a message of gRPC has
    /// [`LARGEST_IN`](crate::grpc::LARGEST_IN). Default 256 KiB.
    pub body_limit: usize,
    /// How long each order of a streamed batch, and each read for a live feed, may take. Default 2 s.
    pub step: Duration,
    /// Where the process stands: at [`Phase::Draining`] live feeds end with a resume position, and
    /// streamed batches once what they have taken is answered.
    pub phase: watch::Receiver<Phase>,
    /// What health is told by. Default: whether the phase is [`Phase::Ready`].
    pub ready: Readiness,
    /// How much is in service at a time, over both protocols, and how much waits. Default: as the
    /// default of [`admission::Config`].
    pub admission: Admission,
    /// Threads for what computes, such as reading a large batch. Default: none, and it is done where the
    /// request is.
    pub pool: Option<Pool>,
    /// The live feeds, for whoever measures them.
    pub watchers: Watchers,
    /// Whether there is a gateway to pay through. Default: no.
    pub payments: bool,
    /// What the gateway's webhooks are checked with. Default: none are taken.
    pub webhooks: Option<Webhooks>,
    /// How much may be asked. Default: there is no limit.
    pub limits: Limits,
}

impl Config {
    /// The default limits.
    pub fn new(auth: Arc<Auth>, page_secret: [u8; 32], phase: watch::Receiver<Phase>) -> Self {
        let now = phase.clone();
        Self {
            auth,
            page_secret,
            body_limit: 256 * 1024,
            step: Duration::from_secs(2),
            phase,
            ready: Arc::new(move || *now.borrow() == Phase::Ready),
            admission: Admission::new(admission::Config::default(), Jitter::system()),
            pool: None,
            watchers: Watchers::default(),
            payments: false,
            webhooks: None,
            limits: Limits::default(),
        }
    }

    /// Refuses what needs a gateway where there is none.
    pub(crate) fn must_have_gateway(&self, needed: bool) -> Result<(), Problem> {
        if needed && !self.payments {
            return Err(Problem::new(Code::NoGateway, "This service has no payment gateway."));
        }
        Ok(())
    }
}

/// Shows no secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("auth", &self.auth)
            .field("body_limit", &self.body_limit)
            .finish_non_exhaustive()
    }
}

/// What handlers share.
pub(crate) struct Api<P> {
    pub(crate) orders: Arc<Orders<P>>,
    pub(crate) config: Arc<Config>,
    pub(crate) seats: Seats,
}

impl<P> Clone for Api<P> {
    fn clone(&self) -> Self {
        let (orders, config) = (Arc::clone(&self.orders), Arc::clone(&self.config));
        Self { orders, config, seats: self.seats.clone() }
    }
}

impl<P: Ports> Api<P> {
    pub(crate) fn new(orders: Arc<Orders<P>>, config: Config) -> Self {
        Self { orders, config: Arc::new(config), seats: Seats::default() }
    }

    /// The context of one step of a stream, which has a deadline of its own.
    pub(crate) fn step(&self, cx: &Context) -> Context {
        let now = self.orders.ports().clock().instant();
        cx.child().with_deadline(now + self.config.step)
    }

    /// What comes of one step in its time. The context's deadline alone does not do it: a store
    /// that hangs looks at no clock.
    pub(crate) async fn in_time<T, E: Into<Problem>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Problem> {
        match timeout(self.config.step, work).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(out_of_time()),
        }
    }
}

/// Runs a use case in a span of its own: the core itself knows nothing of traces.
pub(crate) async fn use_case<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    let span = tracing::info_span!(target: SPANS, "use case", otel.name = name);
    work.instrument(span).await
}

/// All that is told here until it fails, or until the deadline of the caller, which is then told last.
/// That the answer has a head by then is the stack's to see to.
pub(crate) fn until<T: Send + 'static>(
    by: Option<StreamDeadline>,
    told: impl Stream<Item = Result<T, Problem>> + Send + 'static,
) -> impl Stream<Item = Result<T, Problem>> + Send {
    stream::unfold(Timed { told: Some(told.boxed()), by }, Timed::next)
}

/// What is told, under way.
struct Timed<T> {
    /// Nothing once it has failed: what it holds ends with it.
    told: Option<BoxStream<'static, Result<T, Problem>>>,
    by: Option<StreamDeadline>,
}

impl<T> Timed<T> {
    async fn next(mut self) -> Option<(Result<T, Problem>, Self)> {
        let told = self.told.as_mut()?;
        let next = tokio::select! {
            biased;
            () = over(self.by) => Some(Err(out_of_time())),
            next = told.next() => next,
        };
        let next = next?;
        if next.is_err() {
            self.told = None;
        }
        Some((next, self))
    }
}

/// Waits for the deadline, if there is one.
async fn over(by: Option<StreamDeadline>) {
    match by {
        Some(StreamDeadline(at)) => sleep_until(at).await,
        None => pending().await,
    }
}

/// The problem of work that was left under way when its time was spent.
pub(crate) fn out_of_time() -> Problem {
    let mut problem = Problem::from(Error::DeadlineExceeded);
    "The time was spent before there was an answer; a change that was asked may have taken effect."
        .clone_into(&mut problem.detail);
    problem
}
