//! A TCP proxy with faults, between a client under test and a real server.
//!
//! ```text
//! let proxy = Proxy::start(server, seed);
//! proxy.set(Fault::ResetOn { way: Way::ToServer, seen: b"COMMIT".to_vec() });
//! // ... the client connects to `proxy.address()`; its COMMIT arrives, the answer never does.
//! proxy.heal();
//! ```
//!
//! | fault | lasts |
//! |---|---|
//! | [`Latency`](Fault::Latency), [`Rate`](Fault::Rate), [`Blackhole`](Fault::Blackhole), [`Pause`](Fault::Pause), [`Refuse`](Fault::Refuse) | until [`Proxy::heal`] |
//! | [`ResetAfter`](Fault::ResetAfter), [`ResetOn`](Fault::ResetOn), [`CloseAfter`](Fault::CloseAfter) | until it has ended one connection, or `heal` |
//! | [`ResetNow`](Fault::ResetNow), [`HalfClose`](Fault::HalfClose) | no time: they happen to the connections that are open |
//!
//! What [`Proxy::set`] sets holds for every byte that the client or the server sends after it returned.

mod connection;
mod rules;

use std::{
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener as Listener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinSet, yield_now},
};

use self::rules::Rules;
use crate::port;

/// One way through the proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// What the client sends.
    ToServer,
    /// What the server sends.
    ToClient,
}

/// What can go wrong with a network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// What is read is passed on this much later, and up to `jitter` later still. Nothing more is read
    /// meanwhile.
    Latency {
        /// Which way.
        way: Way,
        /// At least so long.
        delay: Duration,
        /// And up to so much more, drawn anew each time.
        jitter: Duration,
    },
    /// No more than this passes on each connection.
    Rate {
        /// Which way.
        way: Way,
        /// At most so many a second.
        bytes_per_second: u64,
    },
    /// Connections stay open, and what is sent is lost.
    Blackhole {
        /// Which way.
        way: Way,
    },
    /// Connections stay open, and what is sent waits: [`Proxy::heal`] lets it go on.
    Pause {
        /// Which way.
        way: Way,
    },
    /// New connections are refused; open ones go on.
    Refuse,
    /// Both sides of every open connection are reset.
    ResetNow,
    /// The connection on which so many more bytes have passed is reset.
    ResetAfter {
        /// Which way.
        way: Way,
        /// As many are passed on.
        bytes: u64,
    },
    /// The connection on which these bytes have passed is reset, before any answer to them. What was
    /// sent in one piece with them passes too.
    ResetOn {
        /// Which way.
        way: Way,
        /// The bytes to look for.
        seen: Vec<u8>,
    },
    /// The connection on which so many more bytes have passed is closed in order, on both sides.
    CloseAfter {
        /// Which way.
        way: Way,
        /// As many are passed on.
        bytes: u64,
    },
    /// The receiver is told that no more comes, on every open connection. The other way stays open.
    HalfClose {
        /// Which way.
        way: Way,
    },
}

/// What has passed so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Connections taken.
    pub connections: u64,
    /// Bytes passed on to the server.
    pub to_server: u64,
    /// Bytes passed on to clients.
    pub to_client: u64,
    /// Bytes taken and not passed on, in a black hole or after a half-close.
    pub lost: u64,
    /// Connections reset, by a fault or because the server could not be reached or a peer was gone.
    pub resets: u64,
}

/// A proxy before one server. Dropping it ends its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    listener: Listener,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    seed: u64,
    rules: watch::Sender<Rules>,
    connections: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
    lost: AtomicU64,
    resets: AtomicU64,
}

const BACKLOG: i32 = 128;

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes all on to `upstream`. Every draw follows from
    /// the seed.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(upstream: SocketAddr, seed: u64) -> Self {
        // A port that is asked for stays with a socket that does not listen for a while; one that the
        // kernel chose would not.
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, port::free())).expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let shared = Arc::new(Shared {
            upstream,
            seed,
            rules: watch::Sender::default(),
            connections: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            resets: AtomicU64::new(0),
        });
        let address = listener.local_addr().expect("its address");
        let mut tasks = JoinSet::new();
        let own = listener.try_clone().expect("a second handle of the listener");
        tasks.spawn(accept(own, Arc::clone(&shared)));
        Self { address, listener, shared, _tasks: tasks }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets a fault beside those already set. One of the same kind and way is replaced; the three that
    /// wait for bytes are of one kind. A connection is open when [`Counts::connections`] has it.
    ///
    /// # Panics
    /// When there is nothing to look for.
    pub fn set(&self, fault: Fault) {
        if let Fault::ResetOn { seen, .. } = &fault {
            assert!(!seen.is_empty(), "bytes to look for");
        }
        if fault == Fault::Refuse && !self.shared.rules.borrow().refuse {
            // It is no listener then, but bound still: the kernel refuses, and keeps the port.
            SockRef::from(&self.listener).shutdown(Shutdown::Read).expect("no listener");
        }
        self.shared.rules.send_modify(|rules| rules.set(fault));
    }

    /// Takes every fault away. What was lost stays lost, and what ended stays ended.
    pub fn heal(&self) {
        SockRef::from(&self.listener).listen(BACKLOG).expect("a listener again");
        self.shared.rules.send_modify(Rules::heal);
    }

    /// What has passed so far.
    pub fn counts(&self) -> Counts {
        let Shared { connections, to_server, to_client, lost, resets, .. } = &*self.shared;
        Counts {
            connections: connections.load(Ordering::Relaxed),
            to_server: to_server.load(Ordering::Relaxed),
            to_client: to_client.load(Ordering::Relaxed),
            lost: lost.load(Ordering::Relaxed),
            resets: resets.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn count_passed(&self, way: Way, bytes: usize) {
        let counter = match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn count_lost(&self, bytes: usize) {
        self.lost.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn count_reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the connection that asks is the one to end by this cut.
    fn spend(&self, way: Way, cut: u64) -> bool {
        self.rules.send_if_modified(|rules| rules.spend(way, cut))
    }
}

/// Takes connections for as long as the proxy lives.
async fn accept(listener: Listener, shared: Arc<Shared>) {
    let mut rules = shared.rules.subscribe();
    let mut connections = JoinSet::new();
    loop {
        // A runtime that once saw the listener shut down takes it for ready ever after: each change
        // of the rules makes a new registration.
        let registered = listener.try_clone().and_then(TcpListener::from_std);
        let listener = registered.expect("a registered listener");
        let refusing = rules.borrow_and_update().refuse;
        loop {
            tokio::select! {
                biased;
                changed = rules.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if !refusing => match accepted {
                    Ok((client, _)) => {
                        connections.spawn(connection::serve(client, Arc::clone(&shared)));
                    }
                    // The listener was shut down, and the change of rules that says so comes next.
                    Err(_) => yield_now().await,
                },
            }
        }
    }
}
