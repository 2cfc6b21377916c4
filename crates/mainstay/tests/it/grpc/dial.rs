//! The one connection is made for all calls that need it, in a time of its own.

use super::{Config, Error, MS, NotSent, Safety, ask, channel, context, never, open};
use crate::{
    client::{Peer, pair},
    support::{serve_with, until},
};
use axum::Router;
use mainstay::{
    client::grpc::unanswered,
    server::{self, Tls},
    tasks::Tasks,
};
use std::{
    io::ErrorKind,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{copy, copy_bidirectional, sink},
    net::TcpStream,
    sync::Semaphore,
    time::Instant,
};
use tonic::Code;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// The way to a peer over TLS, which is tried once.
fn over_tls(peer: &Peer, ca_file: PathBuf) -> Config {
    let base = format!("https://localhost:{}", peer.addr.port()).parse().unwrap();
    let limits = Config { connect_timeout: LONG, try_timeout: LONG, ..Config::new(base) };
    Config { ca_file: Some(ca_file), tries: 1, breaker: never(), ..limits }
}

/// A service over TLS behind a door, which lets one connection through for each permit.
struct Door {
    peer: Peer,
    permits: Arc<Semaphore>,
    config: Config,
    _folder: TempDir,
    _tasks: Tasks,
}

impl Door {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let files = pair(folder.path());
        let tls = Tls::load(&files).unwrap();
        let app = Router::new().fallback(async || [("grpc-status", "0")]);
        let (to, tasks) =
            serve_with(app, server::Config::default(), |server| server.with_tls(tls)).await;
        let permits = Arc::new(Semaphore::new(0));
        let waits = Arc::clone(&permits);
        let peer = Peer::start(move |mut near: TcpStream| {
            let waits = Arc::clone(&waits);
            async move {
                waits.acquire().await.unwrap().forget();
                let mut far = TcpStream::connect(to).await.unwrap();
                drop(copy_bidirectional(&mut near, &mut far).await);
            }
        });
        let peer = peer.await;
        let config = over_tls(&peer, files.cert_file);
        Self { peer, permits, config, _folder: folder, _tasks: tasks }
    }
}

#[tokio::test]
async fn a_dial_outlives_the_call_that_began_it() {
    let door = Door::start().await;
    let (channel, _) = channel(&door.config);
    let within = |time: Duration| context().with_deadline((Instant::now() + time).into_std());
    let (hasty, patient) = (within(50 * MS), within(LONG));
    let first = async {
        let answer = open(&channel, &hasty, Some(Safety::Once)).await;
        door.permits.add_permits(1);
        answer
    };
    let (first, second) = tokio::join!(first, open(&channel, &patient, Some(Safety::Once)));
    let status = first.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(unanswered(&status).is_some_and(Error::is_not_sent), "{status:?}");
    assert!(second.is_ok(), "{second:?}");
    assert_eq!(door.peer.accepted(), 1);
}

#[tokio::test]
async fn a_dial_that_nobody_waits_for_any_more_serves_the_next_call() {
    let door = Door::start().await;
    let (channel, _) = channel(&door.config);
    let hasty = context().with_deadline((Instant::now() + 50 * MS).into_std());
    assert!(open(&channel, &hasty, Some(Safety::Once)).await.is_err());
    door.permits.add_permits(1);
    assert_eq!(ask(&channel, Safety::Once).await.unwrap(), Code::Ok);
    assert_eq!(door.peer.accepted(), 1);
}

/// A peer that takes whatever comes and says nothing.
struct Mute {
    peer: Peer,
    /// How many of its connections have ended.
    ended: Arc<AtomicUsize>,
    config: Config,
    _folder: TempDir,
}

impl Mute {
    async fn start() -> Self {
        let ended = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ended);
        let peer = Peer::start(move |mut stream: TcpStream| {
            let counted = Arc::clone(&counted);
            async move {
                drop(copy(&mut stream, &mut sink()).await);
                counted.fetch_add(1, SeqCst);
            }
        });
        let (peer, folder) = (peer.await, TempDir::new().unwrap());
        let config = over_tls(&peer, pair(folder.path()).cert_file);
        Self { peer, ended, config, _folder: folder }
    }
}

#[tokio::test]
async fn a_dial_that_takes_too_long_fails_for_all_who_wait_for_it() {
    let mute = Mute::start().await;
    let (channel, _) = channel(&Config { connect_timeout: 1_000 * MS, ..mute.config.clone() });
    let (one, other) = tokio::join!(ask(&channel, Safety::Once), ask(&channel, Safety::Once));
    for status in [one.unwrap_err(), other.unwrap_err()] {
        let Some(Error::NotSent(NotSent::Connect(error))) = unanswered(&status) else {
            panic!("{status:?}")
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
    assert_eq!(mute.peer.accepted(), 1);
    assert!(ask(&channel, Safety::Once).await.is_err());
    assert_eq!(mute.peer.accepted(), 2, "the next call has another connection made");
}

#[tokio::test]
async fn a_dial_ends_with_its_channel() {
    let mute = Mute::start().await;
    let (channel, _) = channel(&mute.config);
    tokio::select! {
        answer = ask(&channel, Safety::Once) => panic!("{answer:?}"),
        () = until(|| mute.peer.accepted() == 1) => {}
    }
    drop(channel);
    until(|| mute.ended.load(SeqCst) == 1).await;
}
