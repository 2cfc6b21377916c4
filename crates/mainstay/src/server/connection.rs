//! One connection, from accept to close.

use super::{
    Config, PeerAddr,
    pulse::{Felt, Pulse},
};
use crate::{body::Observed, tasks::Tasks};
use axum::{Router, body::Body, http::HeaderValue};
use http::{Request, Response, Version, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tower::Service;

/// What a server does with connections and requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Takes them.
    Open,
    /// Takes them, but ends each HTTP/1 connection after its next answer.
    Closing,
    /// Takes no connection, and finishes requests in flight within this time.
    Draining(Duration),
}

impl Mode {
    /// Waits for the drain and tells its budget; no budget at all when nobody can tell any more.
    pub(super) async fn draining(modes: &mut watch::Receiver<Self>) -> Duration {
        match modes.wait_for(|mode| matches!(mode, Self::Draining(_))).await.as_deref() {
            Ok(Self::Draining(budget)) => *budget,
            Ok(Self::Open | Self::Closing) | Err(_) => Duration::ZERO,
        }
    }
}

/// What all connections of a server have in common.
pub(super) struct Shared {
    pub(super) app: Router,
    pub(super) config: Config,
    pub(super) protocols: Protocols,
}

/// The HTTP settings, and the owner of tasks for HTTP/2 streams.
pub(super) struct Protocols(Builder<Streams>);

impl Protocols {
    pub(super) fn new(config: &Config, tasks: &Tasks) -> Self {
        let mut builder = Builder::new(Streams(tasks.clone()));
        // Header and idle time are the pulse's: hyper has one limit for both.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(32 << 10);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.max_streams)
            .max_header_list_size(16 << 10)
            .initial_stream_window_size(64 << 10)
            .initial_connection_window_size(1 << 20)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        Self(builder)
    }
}

#[derive(Clone)]
struct Streams(Tasks);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.spawn("stream", async move {
            stream.await;
        });
    }
}

/// Serves `stream` until it ends, breaks a limit, or is drained.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    mut modes: watch::Receiver<Mode>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot send small packets at once");
    }
    let pulse = Pulse::new();
    let io = TokioIo::new(Felt { socket: stream, pulse: pulse.clone() });
    let mode = modes.clone();
    let service = service_fn(|request| {
        answer(request, peer, shared.app.clone(), pulse.clone(), mode.clone())
    });
    let mut connection = pin!(shared.protocols.0.serve_connection(io, service));
    let mut checks = interval(check_period(&shared.config));
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut draining = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error, "connection ended badly");
                }
                return;
            }
            _ = Mode::draining(&mut modes), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = checks.tick() => if pulse.expired(&shared.config, Instant::now()) {
                tracing::debug!(%peer, "connection closed: idle or too slow");
                return;
            }
        }
    }
}

/// Often enough to close a connection within a second of its limit.
fn check_period(config: &Config) -> Duration {
    let shortest = config.first_byte_timeout.min(config.header_timeout).min(config.idle_timeout);
    (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
}

async fn answer(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    mut app: Router,
    pulse: Pulse,
    mode: watch::Receiver<Mode>,
) -> Result<Response<Observed<Body, super::pulse::InFlight>>, Infallible> {
    let in_flight = pulse.begin_request();
    let http1 = request.version() < Version::HTTP_2;
    request.extensions_mut().insert(PeerAddr(peer));
    let mut response = app.call(request).await?;
    if http1 && *mode.borrow() != Mode::Open {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Observed::new(body, in_flight)))
}
