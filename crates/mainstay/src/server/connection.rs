//! One connection, from accept to close.

use super::{
    Config, Peer, PeerAddr, Tls,
    arrived::{Arrived, Stamped, Stamps},
    arriving::Arriving,
    draining,
    felt::Felt,
    peer::Identity,
    pulse::{InFlight, Pulse},
    shed::Shed,
    stream::Streams,
    tally::{Ended, Open},
};
use crate::{body::Observed, tasks::Tasks};
use axum::{Router, body::Body, http::HeaderValue};
use http::{Request, Response, Version, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use std::{
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
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

/// How long a seat stays taken after abuse. A flood that opens a new connection for each that was
/// cut would otherwise never pause.
const PENALTY: Duration = Duration::from_secs(1);

/// What all connections of a server have in common.
pub(super) struct Shared {
    pub(super) app: Router,
    pub(super) config: Config,
    pub(super) tls: Option<Tls>,
    pub(super) protocols: Protocols,
    pub(super) shed: Option<Shed>,
    /// How many connections ended by the drain's budget with something of a request.
    pub(super) cut: AtomicUsize,
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
            .max_send_buf_size(64 << 10)
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(100)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        Self(builder)
    }
}

/// Serves `stream` until it ends, breaks a limit, or is drained.
///
/// After abuse it keeps its seat for [`PENALTY`] where seats count by address.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    mut open: Open,
    shared: Arc<Shared>,
    mut modes: watch::Receiver<Mode>,
) {
    let ended = serve_socket(stream, peer, Arc::clone(&shared), modes.clone()).await;
    tracing::debug!(%peer, reason = ended.as_str(), "connection ended");
    if ended == Ended::Cut {
        shared.cut.fetch_add(1, Relaxed);
    }
    if ended.is_abuse() && open.abused() {
        let _drained = timeout(PENALTY, Mode::draining(&mut modes)).await.is_ok();
    }
    open.close(ended);
}

async fn serve_socket(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    mut modes: watch::Receiver<Mode>,
) -> Ended {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot send small packets at once");
    }
    let accepted = Instant::now();
    let stamps = Stamps::new();
    let stream = Stamped::new(stream, stamps.clone());
    if let Some(tls) = &shared.tls {
        let handshake = timeout(shared.config.first_byte_timeout, tls.acceptor().accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            // Nothing was asked yet, so nothing is cut.
            () = draining::unasked(&mut modes, accepted) => return Ended::Done,
        };
        match shaken {
            Ok(Ok(stream)) => {
                let identity = Identity::read(stream.get_ref().1.peer_certificates());
                let of = (peer, identity, stamps);
                Box::pin(serve_http(stream, of, Arc::clone(&shared), modes)).await
            }
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                Ended::Handshake
            }
            Err(_elapsed) => Ended::Handshake,
        }
    } else {
        serve_http(stream, (peer, Identity::default(), stamps), Arc::clone(&shared), modes).await
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (peer, identity, stamps): (SocketAddr, Identity, Stamps),
    shared: Arc<Shared>,
    modes: watch::Receiver<Mode>,
) -> Ended {
    let pulse = Pulse::new();
    let io = TokioIo::new(Felt::new(stream, pulse.clone()));
    let exchange = Exchange {
        shared: Arc::clone(&shared),
        addr: PeerAddr(peer),
        peer: identity.peer,
        pulse: pulse.clone(),
        mode: modes.clone(),
    };
    let service = service_fn(|request| {
        let free = if request.version() < Version::HTTP_2 { pulse.free_since() } else { None };
        let arrived = stamps.request(free);
        exchange.clone().answer(request, arrived)
    });
    let mut connection = pin!(shared.protocols.0.serve_connection(io, service));
    let accepted = Instant::now();
    let age = jittered(shared.config.max_age);
    let retires = accepted.checked_add(identity.left.map_or(age, |left| left.min(age)));
    let mut checks = interval(shared.config.check_period());
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drain = pin!(draining::drain(modes, accepted, pulse.clone()));
    loop {
        tokio::select! {
            ended = connection.as_mut() => return match (ended, pulse.leaving()) {
                (_, Some(why)) => why,
                (Ok(()), None) => Ended::Done,
                (Err(error), None) => {
                    tracing::debug!(%peer, error, "connection broke");
                    if refused(&*error) || pulse.is_strained() { Ended::Protocol } else { Ended::Error }
                }
            },
            ended = &mut drain => return ended,
            () = pulse.left() => connection.as_mut().graceful_shutdown(),
            now = checks.tick() => {
                if let Some(limit) = pulse.expired(&shared.config, now) {
                    return limit;
                }
                pulse.end_stalled(&shared.config, now);
                if retires.is_some_and(|at| now >= at) && pulse.leaving().is_none() {
                    pulse.leave(Ended::Age);
                }
            }
        }
    }
}

/// Whether h2 refused what the peer sent. A socket that broke and a peer that fell silent are nobody's
/// abuse.
fn refused(error: &(dyn Error + 'static)) -> bool {
    let mut chain = std::iter::successors(Some(error), |&error| error.source());
    chain.any(|error| error.downcast_ref().is_some_and(h2::Error::is_library))
}

/// `time`, up to 10 % more or less.
fn jittered(time: Duration) -> Duration {
    // Without randomness all connections have the same age, which is no failure.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    time.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX))
}

/// What each request of a connection needs.
#[derive(Clone)]
struct Exchange {
    shared: Arc<Shared>,
    addr: PeerAddr,
    peer: Option<Peer>,
    pulse: Pulse,
    mode: watch::Receiver<Mode>,
}

impl Exchange {
    async fn answer(
        self,
        request: Request<Incoming>,
        arrived: Option<Arrived>,
    ) -> Result<Response<Observed<Body, InFlight>>, Infallible> {
        let config = &self.shared.config;
        let mut in_flight = self.pulse.begin_request(config.max_requests);
        let http1 = request.version() < Version::HTTP_2;
        // A stream of HTTP/2 ends by itself, and the others on its connection go on.
        let pulse = http1.then(|| self.pulse.clone());
        let mut request =
            request.map(|body| Body::new(Arriving::new(body, config.body_idle_timeout, pulse)));
        request.extensions_mut().insert(self.addr);
        if let Some(arrived) = arrived {
            request.extensions_mut().insert(arrived);
        }
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        let waited = arrived.map_or(Duration::ZERO, |Arrived(at)| at.elapsed());
        let (head, body) = request.into_parts();
        let shed = self.shared.shed.as_ref().and_then(|shed| shed.answer(&head, waited));
        let mut response = match shed {
            Some(refused) => refused,
            None => self.shared.app.clone().call(Request::from_parts(head, body)).await?,
        };
        in_flight.answered();
        let last = *self.mode.borrow() != Mode::Open || self.pulse.leaving().is_some();
        if http1 && last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| Observed::new(body, in_flight)))
    }
}
