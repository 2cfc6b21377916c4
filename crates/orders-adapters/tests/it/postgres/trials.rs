//! Commits whose connection is lost, over and over, for the tests and for `examples/pg_faults.rs`.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    time::Duration,
};

use orders::{
    Error, audit,
    domain::{OrderId, Position},
    ports::{OrderRef, Page, Ports as _, Scope, Store as _},
};
use orders_adapters::postgres::{self, Config, Snapshot};
use orders_testkit::{
    World, builders,
    proxy::{Fault, Proxy, Way},
};
use tokio::time::timeout;

use super::process::{Process, process};

/// Where in a commit its connection is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// After the server had all of it, and before it answers.
    AfterCommit,
    /// Anywhere in what is sent to the server.
    Anywhere,
    /// Anywhere in what the server answers.
    InTheAnswer,
}

impl Cut {
    fn fault(self, trial: u32) -> Fault {
        // Further in each trial, and then from the start again.
        let bytes = |up_to: u32| u64::from(1 + trial.wrapping_mul(53) % up_to);
        match self {
            Self::AfterCommit => Fault::ResetOn { way: Way::ToServer, seen: b"COMMIT".to_vec() },
            Self::Anywhere => Fault::ResetAfter { way: Way::ToServer, bytes: bytes(4_000) },
            Self::InTheAnswer => Fault::ResetAfter { way: Way::ToClient, bytes: bytes(400) },
        }
    }
}

/// What came of so many trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Orders asked for, each under a key of its own.
    pub(crate) trials: u64,
    /// Connections that were reset under a commit.
    pub(crate) resets: u64,
    /// Times a client had to ask again, since the service itself could not find out.
    pub(crate) retries: u64,
    /// Orders in the database.
    pub(crate) orders: u64,
    /// Acknowledged, and not there.
    pub(crate) lost: u64,
    /// There, without having been asked for.
    pub(crate) duplicates: u64,
    /// What an audit objects to.
    pub(crate) findings: u64,
}

impl Outcome {
    /// Whether every order is there once.
    pub(crate) fn is_sound(&self) -> bool {
        self.orders == self.trials && self.lost + self.duplicates + self.findings == 0
    }
}

/// Places so many orders in a new database, each over a connection that is lost on the way.
pub(crate) async fn run(database: &str, cut: Cut, trials: u32) -> Outcome {
    let (server, address) = server_of(database);
    let proxy = Proxy::start(server, 1);
    let url = database.replacen(&address, &proxy.address().to_string(), 1);
    // The service goes through the proxy, and who looks at the end does not.
    let direct = Config::at(database);
    // Nobody else commits: events are given positions only when something was committed.
    let config = Config { poll: Duration::from_hours(1), ..Config::at(url) };
    postgres::migrate(&direct).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    let mut outcome = Outcome { trials: trials.into(), ..Outcome::default() };
    let mut acknowledged = Vec::new();
    for trial in 0..trials {
        proxy.set(cut.fault(trial));
        acknowledged.push(place(&orders, trial, &mut outcome).await);
        proxy.heal();
        quiet(&orders, u64::from(trial) + 1).await;
    }
    outcome.resets = proxy.counts().resets;
    judge(&orders, &direct, &acknowledged, &mut outcome).await;
    outcome
}

/// Asks for an order under one key until it is acknowledged.
async fn place(orders: &Process, trial: u32, outcome: &mut Outcome) -> OrderId {
    let cx = builders::context("shop");
    loop {
        let key = builders::key(&format!("trial-{trial}"));
        match orders.create(&cx, builders::draft(), key).await {
            Ok(done) => return done.record.order.id,
            Err(Error::Unavailable(_) | Error::OutcomeUnknown | Error::NotWritten(_)) => {
                outcome.retries += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("trial {trial}: {error}"),
        }
    }
}

/// Waits until so many orders have their events in the feed, so that nobody but the next order commits
/// when that is cut.
async fn quiet(orders: &Process, placed: u64) {
    let store = orders.ports().store();
    let before = Position(placed - 1);
    while timeout(Duration::from_secs(1), store.events_after(before)).await.is_err() {
        // The cut was in what gives positions, which is asked for anew by whoever reads.
        let page = Page { after: Some(store.head()), limit: 1 };
        drop(store.events(&builders::context("shop"), &Scope::All, page).await);
    }
}

async fn judge(orders: &Process, direct: &Config, acknowledged: &[OrderId], outcome: &mut Outcome) {
    let (cx, tenant) = (builders::context("shop"), "shop".parse().unwrap());
    let store = orders.ports().store();
    for id in acknowledged {
        let found = store.order(&cx, &tenant, OrderRef::Id(*id)).await.unwrap();
        outcome.lost += u64::from(found.is_none());
    }
    let report = audit::audit(&Snapshot::open(direct).await.unwrap()).await.unwrap();
    outcome.orders = report.census.orders;
    outcome.duplicates = outcome.orders.saturating_sub(outcome.trials);
    outcome.findings = report.findings.len() as u64;
    store.close().await;
}

/// The server of a URL, and how the URL names it.
fn server_of(database: &str) -> (SocketAddr, String) {
    let (_, rest) = database.split_once('@').unwrap();
    let (address, _) = rest.split_once('/').unwrap();
    (address.to_socket_addrs().unwrap().next().unwrap(), address.to_owned())
}
