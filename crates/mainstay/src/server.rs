//! A thin accept loop in which every connection has limits and none can hold up the end.
//!
//! HTTP/1.1 and HTTP/2, by prior knowledge or by ALPN, over TCP or [TLS](tls). A connection is
//! closed, at most a second late, when it does not finish its handshake, send its first byte,
//! finish a header, a preface or a frame, or use its keep-alive in time; when it takes nothing of
//! the answers that wait for it; and when it sends more HTTP/2 frames that do no work than answering
//! others excuses. Of several answers on HTTP/2 one that it does not take is reset and the others go
//! on. A body of which nothing comes fails with [`BodyIdle`]; on HTTP/1 its connection ends with
//! the answer, on HTTP/2 its stream alone. A connection that is old, whose client's certificate ends,
//! or that has carried many requests is told to end (`Connection: close`, `GOAWAY`) and finishes what it
//! carries. After abuse a connection's seat stays taken for a second, and an address that has several
//! such seats is barred for as long, by the kernel where that is possible: it cannot flood on by opening
//! the next. No accept error ends the loop, no address can take every seat, and a drain ends within its
//! budget whatever the peers do.
//!
//! Not here: deadlines of requests (see [`crate::http`]) and limits on the size of bodies. What
//! bounds a request whose answer streams on, such as a feed, is its own end, a peer that stops
//! taking it, and the drain; the age of its connection does not cut it. On HTTP/1, a header whose
//! first part came before the last answer ended has the idle limit and not the header's.

mod arrived;
mod arriving;
mod config;
mod connection;
mod draining;
mod felt;
mod first;
mod frames;
mod handshakes;
mod last_call;
mod network;
pub mod passed;
mod patience;
mod peer;
mod protocol;
mod pulse;
mod seats;
mod shed;
mod stream;
mod tally;
pub mod tls;

pub use self::arrived::Arrived;
pub use self::arriving::BodyIdle;
pub use self::config::Config;
pub(crate) use self::config::open_files_limit;
pub(crate) use self::connection::Mode;
pub(crate) use self::network::household;
pub use self::network::{InvalidNetwork, Network};
pub use self::peer::Peer;
pub use self::tls::Tls;

use self::{
    connection::{Protocols, Shared},
    handshakes::Barred,
    last_call::last_call,
    seats::Seats,
    shed::Shed,
    tally::{Ended, Open, Tally},
};
use crate::{metrics::Metrics, tasks::Tasks};
use axum::{Router, response::Response};
use http::request::Parts;
use mainstay_context::Context;
use std::{
    convert::Infallible,
    future, io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::watch,
    time::Instant,
};

/// How long to wait after an accept error that another attempt cannot mend at once, such as
/// having no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address of the peer that opened the connection, in every request's extensions.
///
/// Behind a proxy this is the proxy; see [`ClientAddr`](crate::http::ClientAddr).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// What happened to the connections of a [`Server`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// How many were open when the drain began.
    pub open: usize,
    /// How many connections ended, for the sake of the drain, with a request in flight or half sent.
    pub cut: usize,
    /// How long the drain took.
    pub waited: Duration,
    /// How many were closed at once because the server, or their address, had no seat left, since
    /// the server started.
    pub refused: u64,
}

/// A bound listener, ready to serve one router.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    /// Whether somebody else may have the socket too, and serve on it after this process. What is set
    /// on it would stay, and what waits in it is the successor's.
    shared: bool,
    config: Config,
    seats: Seats,
    tls: Option<Tls>,
    tally: Option<Tally>,
    shed: Option<Shed>,
}

impl Server {
    /// How long [`run`](Self::run) waits for requests in flight.
    pub const DRAIN_BUDGET: Duration = Duration::from_secs(10);

    /// Binds `addr`; port 0 picks a free port, told by [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    ///
    /// Fails when the address cannot be resolved or is taken.
    pub async fn bind(addr: impl ToSocketAddrs, config: Config) -> io::Result<Self> {
        Ok(Self::from_listener(TcpListener::bind(addr).await?, config).exclusive())
    }

    /// Serves on a socket that is bound already, and that others may hold too: a service manager, or
    /// the next process.
    ///
    /// Nothing is set on it that would outlive this process, and at a stop the connections that stand
    /// in its queue are left to whoever holds it. If nobody does, the system resets them; see
    /// [`exclusive`](Self::exclusive).
    pub fn from_listener(listener: TcpListener, config: Config) -> Self {
        let seats = Seats::new(&config);
        Self { listener, shared: true, config, seats, tls: None, tally: None, shed: None }
    }

    /// Declares that nobody else holds the socket, as is so for one that this process has bound.
    ///
    /// Then a stop serves whoever is connected by then and turns others away before they are, and
    /// addresses that flood are turned away before they connect. Both set a filter on the socket: one
    /// that is passed on nevertheless lets nobody in.
    #[must_use]
    pub fn exclusive(mut self) -> Self {
        self.shared = false;
        self
    }

    /// Serves over TLS only; if clients show certificates, requests have a [`Peer`].
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Reports to `metrics`: `http_connections`, and `http_connections_ended_total{reason}`.
    #[must_use]
    pub fn with_metrics(mut self, metrics: &Metrics) -> Self {
        self.tally = Some(Tally::new(metrics));
        self
    }

    /// Refuses requests before the router sees them, at the least cost: those of which `decide`, which is
    /// asked of each and told how long it has waited to be read, says when to come again. `tell` is the
    /// answer, to which the ids of the request are added; there is neither a line in the log nor a metric
    /// of it but what these two make.
    #[must_use]
    pub fn with_shedding(
        mut self,
        decide: impl Fn(&Parts, Duration) -> Option<Duration> + Send + Sync + 'static,
        tell: fn(&Parts, &Context, Duration) -> Response,
    ) -> Self {
        self.shed = Some(Shed::new(decide, tell));
        self
    }

    /// The address this server listens on.
    ///
    /// # Errors
    ///
    /// Fails when the operating system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// How many connections are open, asked for as long as the process runs.
    pub fn open_connections(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let seats = self.seats.clone();
        move || seats.taken()
    }

    /// The most connections there may be: [`Config::max_connections`], as far as the process's limit
    /// of open files affords them.
    pub fn most_connections(&self) -> usize {
        self.config.seats()
    }

    /// Serves `app` until `drain` is ready, then waits at most [`Self::DRAIN_BUDGET`].
    ///
    /// Dropping the future aborts all connections.
    pub async fn run(self, app: Router, drain: impl Future<Output = ()>) -> DrainReport {
        let (mode, modes) = watch::channel(Mode::Open);
        let signal = async {
            drain.await;
            mode.send_replace(Mode::Draining(Self::DRAIN_BUDGET));
        };
        tokio::join!(self.run_by(app, modes), signal).0
    }

    /// Moves the listener to the runtime that runs now.
    pub(crate) fn into_this_runtime(self) -> io::Result<Self> {
        let listener = TcpListener::from_std(self.listener.into_std()?)?;
        Ok(Self { listener, ..self })
    }

    /// Serves `app` in the mode that `modes` tells, until it tells to drain.
    pub(crate) async fn run_by(self, app: Router, mut modes: watch::Receiver<Mode>) -> DrainReport {
        let connections = Connections(Tasks::new());
        let protocols = Protocols::new(&self.config, &connections.0);
        let (config, seats, tls, shed) = (self.config, self.seats, self.tls, self.shed);
        let shared = Arc::new(Shared {
            app,
            config,
            tls: tls.clone(),
            protocols,
            shed,
            cut: AtomicUsize::new(0),
        });
        let mut fresh_tls = pin!(keep_fresh(tls));
        if !self.shared {
            arrived::stamp(&self.listener);
        }
        let mut barred = if self.shared { Barred::nobody() } else { Barred::default() };
        let mut door = Door {
            connections,
            seats,
            shared,
            modes: modes.clone(),
            tally: self.tally,
            refused: 0,
        };
        let budget = loop {
            tokio::select! {
                budget = Mode::draining(&mut modes) => break budget,
                accepted = accept(&self.listener) => {
                    if let Some(address) = door.admit(accepted) {
                        barred.add(&self.listener, address);
                    }
                }
                () = barred.over() => barred.relent(&self.listener),
                never = &mut fresh_tls => match never {},
            }
            // Sockets are looked at between two accepts: a storm of connections would otherwise keep
            // this thread, and those that are open would wait for it.
            tokio::task::yield_now().await;
        };
        let start = Instant::now();
        let admit = |accepted| {
            let _barred_already = door.admit(accepted);
        };
        if !self.shared {
            last_call(&self.listener, budget, admit).await;
        }
        drop(self.listener);
        let open = door.seats.taken();
        let left = budget.saturating_sub(start.elapsed());
        let ended = door.connections.0.close_and_wait(left.saturating_add(draining::NOTICE)).await;
        let aborted = ended.cut.iter().filter(|&&name| name == CONNECTION).count();
        let cut = aborted + door.shared.cut.load(Relaxed);
        DrainReport { open, cut, waited: start.elapsed(), refused: door.refused }
    }
}

/// Where connections come in.
struct Door {
    connections: Connections,
    seats: Seats,
    shared: Arc<Shared>,
    modes: watch::Receiver<Mode>,
    tally: Option<Tally>,
    refused: u64,
}

impl Door {
    /// Seats a connection, or closes it; returns an address that should not come again soon.
    fn admit(&mut self, (stream, peer): (TcpStream, SocketAddr)) -> Option<IpAddr> {
        let seat = match self.seats.take(peer.ip()) {
            Ok(seat) => seat,
            Err(reason) => {
                self.refused += 1;
                self.tally.iter().for_each(|tally| tally.refused(reason));
                tracing::debug!(%peer, reason = reason.as_str(), "connection refused");
                let abused = reason == Ended::Abuse;
                return abused.then(|| self.seats.counted(peer.ip())).flatten();
            }
        };
        let open = Open::new(seat, self.tally.clone());
        let (shared, modes) = (Arc::clone(&self.shared), self.modes.clone());
        self.connections.0.spawn(CONNECTION, connection::serve(stream, peer, open, shared, modes));
        None
    }
}

/// Renews what TLS is served with.
async fn keep_fresh(tls: Option<Tls>) -> Infallible {
    match tls {
        Some(tls) => tls.keep_fresh().await,
        None => future::pending().await,
    }
}

const CONNECTION: &str = "connection";

/// Aborts what is left when the server itself is dropped.
struct Connections(Tasks);

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

/// The next connection; no error ends the wait.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The peer left before it was accepted; the next one is not affected.
            Err(error) if peer_left(error.kind()) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn peer_left(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&kind)
}
