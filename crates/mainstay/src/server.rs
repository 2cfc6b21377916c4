//! A thin accept loop in which every connection has limits and none can hold up the end.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge, over TCP. Guarantees: a connection that does not
//! send its first byte, finish a header or use its keep-alive in time is closed, at most a second
//! late; no accept error ends the loop; a drain ends within its budget whatever the peers do.
//! On HTTP/2, a header that is never finished counts as idleness. A peer that takes its answer
//! slowly is not idle; one that takes nothing more is, once the whole answer was handed to its
//! connection.
//!
//! Not here: deadlines of requests (see [`crate::http`]), limits on bodies and on peers that stop
//! reading an answer of which more is to come, TLS.

mod connection;
mod pulse;

pub(crate) use self::connection::Mode;
use self::connection::{Protocols, Shared};
use crate::tasks::Tasks;
use axum::Router;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::{Semaphore, watch},
};

/// How long to wait after an accept error that another attempt cannot mend at once, such as
/// having no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limits of a [`Server`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The time from accepting a connection to its first byte. Default 5 s.
    #[serde(with = "crate::config::duration::Text")]
    pub first_byte_timeout: Duration,
    /// The time from the first byte of a request's header to its last. Default 10 s.
    #[serde(with = "crate::config::duration::Text")]
    pub header_timeout: Duration,
    /// How long a connection may carry no request and take nothing of an answer. Default 120 s.
    #[serde(with = "crate::config::duration::Text")]
    pub idle_timeout: Duration,
    /// The most connections at a time; one more is closed as soon as it is accepted. Default
    /// 10,000; never more than half of the process's limit of open files.
    pub max_connections: usize,
    /// The most concurrent requests on one HTTP/2 connection. Default 100.
    pub max_streams: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            first_byte_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(2),
            max_connections: 10_000,
            max_streams: 100,
        }
    }
}

impl Config {
    /// The most connections that this process can afford.
    fn seats(&self) -> usize {
        let files = open_files_limit().unwrap_or(usize::MAX);
        self.max_connections.min(files / 2).min(Semaphore::MAX_PERMITS)
    }
}

/// The soft limit of open files; `None` where `/proc` does not tell.
fn open_files_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// The address of the peer that opened the connection, in every request's extensions.
///
/// Behind a proxy this is the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// What happened to the connections of a [`Server`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// How many were open when the drain began.
    pub open: usize,
    /// How many of those did not end within the budget and were aborted.
    pub cut: usize,
    /// How long the drain took.
    pub waited: Duration,
    /// How many were closed at once because the server was full, since it started.
    pub refused: u64,
}

/// A bound listener, ready to serve one router.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    config: Config,
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
        Ok(Self::from_listener(TcpListener::bind(addr).await?, config))
    }

    /// Serves on a socket that is bound already.
    pub fn from_listener(listener: TcpListener, config: Config) -> Self {
        Self { listener, config }
    }

    /// The address this server listens on.
    ///
    /// # Errors
    ///
    /// Fails when the operating system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
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
        let all_seats = self.config.seats();
        let seats = Arc::new(Semaphore::new(all_seats));
        let protocols = Protocols::new(&self.config, &connections.0);
        let shared = Arc::new(Shared { app, config: self.config, protocols });
        let mut refused = 0;
        let budget = loop {
            let (stream, peer) = tokio::select! {
                budget = Mode::draining(&mut modes) => break budget,
                accepted = accept(&self.listener) => accepted,
            };
            let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else {
                refused += 1;
                tracing::debug!(%peer, "connection refused: the server is full");
                continue;
            };
            let serving = connection::serve(stream, peer, Arc::clone(&shared), modes.clone());
            connections.0.spawn(CONNECTION, async move {
                serving.await;
                drop(seat);
            });
        };
        drop(self.listener);
        let open = all_seats - seats.available_permits();
        let ended = connections.0.close_and_wait(budget).await;
        let cut = ended.cut.iter().filter(|&&name| name == CONNECTION).count();
        DrainReport { open, cut, waited: ended.waited, refused }
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
