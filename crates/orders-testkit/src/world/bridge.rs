//! A real store, whose server is elsewhere, as what a world keeps its orders in.

use std::{
    fmt,
    future::Future,
    sync::{Arc, mpsc::sync_channel},
};

use jiff::Timestamp;
use mainstay_context::Context;
use orders::{
    domain::{Entry, Order, OrderId, Position, Record, TenantId, Version},
    ports::{
        Answer, Census, Change, Cursor, Cutoff, Dossier, FeedPage, Filter, Forgotten, Leased,
        OrderRef, Page, ReadError, Receipt, ReceiptKey, Scope, Store, Task, TaskId,
    },
};
use tokio::runtime::{Builder, Runtime};

use super::engine::Engine;

/// A position that no feed gets to.
const PAST_EVERY_FEED: Position = Position(i64::MAX.unsigned_abs());

/// One database of a real server: empty at first, and the same one whenever it is opened.
pub trait Database: Send + Sync + fmt::Debug + 'static {
    /// What it is opened as. Dropping it is all that a crash leaves time for.
    type Store: Store;
    /// Opens it.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;
    /// See [`census`](orders::ports::AuditSource::census).
    fn census(&self) -> impl Future<Output = Census> + Send;
    /// See [`dossiers`](orders::ports::AuditSource::dossiers).
    fn dossiers(&self, page: Page<OrderId>) -> impl Future<Output = Vec<Dossier>> + Send;
}

/// A store that is called inline although it works on a runtime of its own. While it answers, the
/// caller's thread waits; so a runtime whose time is paused lets none pass meanwhile.
pub struct Bridge<D: Database> {
    database: Arc<D>,
    /// Nothing only while it is opened again.
    store: Option<Arc<D::Store>>,
    /// Nothing only while it is dropped.
    runtime: Option<Runtime>,
}

impl<D: Database> Bridge<D> {
    /// Opens a database.
    pub fn over(database: D) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = Some(runtime.expect("a thread"));
        let mut bridge = Self { database: Arc::new(database), store: None, runtime };
        bridge.open();
        bridge
    }

    fn open(&mut self) {
        let database = Arc::clone(&self.database);
        self.store = Some(self.wait(async move { Arc::new(database.open().await) }));
    }

    /// What the future comes to, on the store's own runtime.
    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (answer, answered) = sync_channel(1);
        let runtime = self.runtime.as_ref().expect("it runs until this is dropped");
        runtime.spawn(async move { drop(answer.send(future.await)) });
        answered.recv().expect("the store panicked; see above")
    }

    /// What the store answers.
    fn ask<T, F>(&self, call: impl FnOnce(Arc<D::Store>, Context) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let store = self.store.as_ref().expect("it is open");
        self.wait(call(Arc::clone(store), Context::new("world".parse().expect("an id"))))
    }
}

impl<D: Database> fmt::Debug for Bridge<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").field("database", &self.database).finish_non_exhaustive()
    }
}

impl<D: Database> Drop for Bridge<D> {
    fn drop(&mut self) {
        // Where this is dropped is most often another runtime, in which none may be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<D: Database> Engine for Bridge<D> {
    fn commit(&mut self, change: Change) -> Answer {
        self.ask(async move |store, cx| store.commit(&cx, change).await).expect("an answer")
    }

    fn lease(&mut self, now: Timestamp, until: Timestamp, limit: usize) -> Vec<Leased> {
        let leased = self.ask(async move |store, cx| store.lease(&cx, now, until, limit).await);
        leased.expect("leases")
    }

    fn forget(&mut self, cutoff: Cutoff, limit: usize) -> Forgotten {
        let forgotten = self.ask(async move |store, cx| store.forget(&cx, cutoff, limit).await);
        forgotten.expect("a count")
    }

    fn order(&mut self, tenant: &TenantId, order: OrderRef) -> Option<Record> {
        let tenant = tenant.clone();
        let found = self.ask(async move |store, cx| store.order(&cx, &tenant, order).await);
        found.expect("an order that can be read")
    }

    fn orders(&mut self, ids: &[OrderId]) -> Vec<Order> {
        let ids = ids.to_vec();
        let found = self.ask(async move |store, cx| store.orders(&cx, &ids).await);
        found.expect("orders that can be read")
    }

    fn receipt(&mut self, key: &ReceiptKey, at: Timestamp) -> Option<Receipt> {
        let key = key.clone();
        let found = self.ask(async move |store, cx| store.receipt(&cx, &key, at).await);
        found.expect("a receipt that can be read")
    }

    fn list(&mut self, tenant: &TenantId, filter: &Filter, page: Page<Cursor>) -> Vec<Order> {
        let (tenant, filter) = (tenant.clone(), filter.clone());
        let listed = self.ask(async move |store, cx| store.list(&cx, &tenant, &filter, page).await);
        listed.expect("orders that can be read")
    }

    fn history(&mut self, tenant: &TenantId, order: OrderId, page: Page<Version>) -> Vec<Entry> {
        let tenant = tenant.clone();
        let read = self.ask(async move |store, cx| store.history(&cx, &tenant, order, page).await);
        read.expect("a history that can be read")
    }

    fn events(&mut self, scope: &Scope, page: Page<Position>) -> Result<FeedPage, ReadError> {
        let scope = scope.clone();
        let page = self.ask(async move |store, cx| store.events(&cx, &scope, page).await);
        match page {
            Ok(_) | Err(ReadError::CursorTooOld { .. }) => page,
            Err(error) => panic!("a feed that can be read, and not {error}"),
        }
    }

    fn task(&mut self, id: TaskId) -> Option<Task> {
        let task = self.ask(async move |store, cx| store.task(&cx, id).await);
        task.expect("a task that can be read")
    }

    fn published(&mut self) -> Option<Position> {
        self.ask(async move |store, cx| store.published(&cx).await).expect("a position")
    }

    fn mark_published(&mut self, to: Position) {
        self.ask(async move |store, cx| store.mark_published(&cx, to).await).expect("a note of it");
    }

    fn tasks(&mut self) -> Vec<Task> {
        let all = self.dossiers(Page { after: None, limit: usize::MAX });
        all.into_iter().flat_map(|dossier| dossier.tasks).collect()
    }

    fn head(&mut self) -> Position {
        // Not what the store has heard of: the feed itself knows of all that is committed.
        let page = Page { after: Some(PAST_EVERY_FEED), limit: 1 };
        self.events(&Scope::All, page).expect("a cursor that is not too old").head
    }

    fn census(&mut self) -> Census {
        let database = Arc::clone(&self.database);
        self.wait(async move { database.census().await })
    }

    fn dossiers(&mut self, page: Page<OrderId>) -> Vec<Dossier> {
        let database = Arc::clone(&self.database);
        self.wait(async move { database.dossiers(page).await })
    }

    fn crash(&mut self) {
        self.store = None;
        self.open();
    }
}
