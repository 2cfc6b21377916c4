//! SQLite as what a simulated world keeps its orders in.

#![expect(clippy::expect_used, clippy::panic, reason = "a simulation fails by panicking")]

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use orders::{
    domain::{Entry, Order, OrderId, Position, Record, TenantId, Version},
    ports::{
        Answer, AuditSource as _, Census, Change, Cursor, Cutoff, Dossier, FeedPage, Filter,
        Forgotten, Leased, OrderRef, Page, ReadError, Receipt, ReceiptKey, Scope, Task, TaskId,
    },
};
use orders_adapters::sqlite::{Config, Inline, OpenError};
use orders_testkit::Engine;
use tempfile::TempDir;

/// An empty store in a folder that goes with it.
pub(crate) fn fresh() -> Box<dyn Engine> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { durable: false, ..Config::at(folder.path().join("orders.db")) };
    let store = Some(Inline::open(&config).expect("a store"));
    Box::new(File { store, config, _folder: folder })
}

#[derive(Debug)]
struct File {
    /// Nothing only while it is opened again.
    store: Option<Inline>,
    config: Config,
    _folder: TempDir,
}

/// A store that nobody uses. Who starts a process beside this has its lock for a moment as well: a child has
/// all files that are open until it becomes a program of its own.
#[expect(clippy::disallowed_methods, reason = "the store is called from this thread as well")]
fn opened(config: &Config) -> Inline {
    for _ in 0..1_000 {
        match Inline::open(config) {
            Err(OpenError::InUse(_)) => thread::sleep(Duration::from_millis(5)),
            opened => return opened.expect("a store after a crash"),
        }
    }
    panic!("the store stays in use")
}

impl File {
    fn store(&mut self) -> &mut Inline {
        self.store.as_mut().expect("it is open")
    }
}

/// What needs no runtime: the audit's reads answer at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits for something"),
    }
}

impl Engine for File {
    fn commit(&mut self, change: Change) -> Answer {
        self.store().commit(change).expect("a disk").expect("an answer")
    }

    fn lease(&mut self, now: Timestamp, until: Timestamp, limit: usize) -> Vec<Leased> {
        self.store().lease(now, until, limit).expect("a disk")
    }

    fn forget(&mut self, cutoff: Cutoff, limit: usize) -> Forgotten {
        self.store().forget(cutoff, limit).expect("a disk")
    }

    fn order(&mut self, tenant: &TenantId, order: OrderRef) -> Option<Record> {
        self.store().order(tenant, order).expect("an order that can be read")
    }

    fn orders(&mut self, ids: &[OrderId]) -> Vec<Order> {
        self.store().orders(ids).expect("orders that can be read")
    }

    fn receipt(&mut self, key: &ReceiptKey, at: Timestamp) -> Option<Receipt> {
        self.store().receipt(key, at).expect("a receipt that can be read")
    }

    fn list(&mut self, tenant: &TenantId, filter: &Filter, page: Page<Cursor>) -> Vec<Order> {
        self.store().list(tenant, filter, page).expect("orders that can be read")
    }

    fn history(&mut self, tenant: &TenantId, order: OrderId, page: Page<Version>) -> Vec<Entry> {
        self.store().history(tenant, order, page).expect("a history that can be read")
    }

    fn events(&mut self, scope: &Scope, page: Page<Position>) -> Result<FeedPage, ReadError> {
        self.store().events(scope, page).expect("a feed that can be read")
    }

    fn task(&mut self, id: TaskId) -> Option<Task> {
        self.store().task(id).expect("a task that can be read")
    }

    fn published(&mut self) -> Option<Position> {
        self.store().published().expect("a position")
    }

    fn mark_published(&mut self, to: Position) {
        self.store().mark_published(to).expect("a disk");
    }

    fn tasks(&mut self) -> Vec<Task> {
        self.store().tasks().expect("tasks that can be read")
    }

    fn head(&mut self) -> Position {
        self.store().head()
    }

    fn census(&mut self) -> Census {
        now(self.store().snapshot().expect("a snapshot").census()).expect("a census")
    }

    fn dossiers(&mut self, page: Page<OrderId>) -> Vec<Dossier> {
        now(self.store().snapshot().expect("a snapshot").dossiers(page)).expect("dossiers")
    }

    fn crash(&mut self) {
        // The lock goes with the connection, so this comes first.
        self.store = None;
        self.store = Some(opened(&self.config));
    }
}
