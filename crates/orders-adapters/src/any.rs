//! The store that is configured, whichever it is.

use std::time::Duration;

use jiff::Timestamp;
use mainstay_context::Context;
use orders::{
    domain::{Entry, Order, OrderId, Position, Record, TenantId, Version},
    ports::{
        Answer, AuditSource, Cause, Census, Change, CommitError, Cursor, Cutoff, Dossier, FeedPage,
        Filter, Forgotten, Leased, OrderRef, Page, ReadError, Receipt, ReceiptKey, Scope, Store,
        Task, TaskId,
    },
};

#[cfg(feature = "postgres")]
use crate::postgres::{self, Postgres};
use crate::{
    instruments::Counters,
    sqlite::{self, Sqlite},
};

/// One of the stores there are.
#[derive(Debug)]
#[cfg_attr(
    feature = "postgres",
    expect(clippy::large_enum_variant, reason = "a process has one of them")
)]
pub enum AnyStore {
    /// The embedded one.
    Sqlite(Sqlite),
    /// The one for more than one machine.
    #[cfg(feature = "postgres")]
    Postgres(Postgres),
}

/// Calls the same method of whichever store it is.
macro_rules! each {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::Sqlite($store) => $call,
            #[cfg(feature = "postgres")]
            Self::Postgres($store) => $call,
        }
    };
}

/// As `each!`, for what is waited for. The larger futures are boxed, so that the embedded store does
/// not carry them about.
macro_rules! each_async {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::Sqlite($store) => $call.await,
            #[cfg(feature = "postgres")]
            Self::Postgres($store) => Box::pin($call).await,
        }
    };
}

impl AnyStore {
    /// A secret of this store, made with it: signs what clients carry between requests.
    pub const fn page_secret(&self) -> [u8; 32] {
        each!(self, store => store.page_secret())
    }

    /// Waits until the store has failed for good and says why. That a server is away is no failure: it
    /// may come back.
    pub async fn failed(&self) -> String {
        each_async!(self, store => store.failed())
    }

    /// Whether the store answered when it was last asked, and could be relied on. One of this process
    /// does, or has failed for good.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.is_up(),
        }
    }

    /// Why the store is not up.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Sqlite(_) => None,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.trouble(),
        }
    }

    /// Commits what waits, and lets go of everything. Nothing is taken any more.
    pub async fn close(&self) {
        each_async!(self, store => store.close());
    }

    /// Makes dropping the store wait for nothing: for a process that must end now.
    pub fn abandon(&self) {
        match self {
            Self::Sqlite(store) => store.abandon(),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => {}
        }
    }

    /// Waits until this process is the one that carries the feed out of the store.
    ///
    /// # Errors
    /// When the store cannot be reached.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "only the store of several processes is waited for")
    )]
    pub async fn lead(&self) -> Result<AnyLead, Cause> {
        match self {
            Self::Sqlite(_) => Ok(AnyLead::Sole),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Ok(AnyLead::Held(store.lead().await?)),
        }
    }

    /// Leases this process its share of each of these limits, by what was asked here lately; the answer
    /// has each by name, in millionths. `None` where the store belongs to this process, which then has
    /// the whole.
    ///
    /// # Errors
    /// When the store did not answer; what is leased already stays leased to its end.
    #[cfg(feature = "postgres")]
    pub async fn lease_shares(
        &self,
        cx: &Context,
        process: &str,
        asked: &[(&str, u64)],
        lasts: Duration,
    ) -> Result<Option<Vec<(String, u32)>>, CommitError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(store) => {
                Box::pin(store.lease_shares(cx, process, asked, lasts)).await.map(Some)
            }
        }
    }

    /// Changes that wait for a writer now.
    pub fn queue_depth(&self) -> usize {
        each!(self, store => store.queue_depth())
    }

    /// Reads that wait for a reader now.
    pub fn read_queue_depth(&self) -> usize {
        each!(self, store => store.read_queue_depth())
    }

    /// The last position of the feed that this process knows of.
    pub fn head(&self) -> Position {
        each!(self, store => store.head())
    }

    /// Counters since the store was opened.
    pub fn counters(&self) -> Counters {
        each!(self, store => store.counters())
    }
}

impl Store for AnyStore {
    async fn commit(&self, cx: &Context, change: Change) -> Result<Answer, CommitError> {
        each_async!(self, store => store.commit(cx, change))
    }

    fn expected_wait(&self, tenant: &TenantId) -> Duration {
        each!(self, store => store.expected_wait(tenant))
    }

    async fn order(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderRef,
    ) -> Result<Option<Record>, ReadError> {
        each_async!(self, store => store.order(cx, tenant, order))
    }

    async fn orders(&self, cx: &Context, ids: &[OrderId]) -> Result<Vec<Order>, ReadError> {
        each_async!(self, store => store.orders(cx, ids))
    }

    async fn receipt(
        &self,
        cx: &Context,
        key: &ReceiptKey,
        at: Timestamp,
    ) -> Result<Option<Receipt>, ReadError> {
        each_async!(self, store => store.receipt(cx, key, at))
    }

    async fn list(
        &self,
        cx: &Context,
        tenant: &TenantId,
        filter: &Filter,
        page: Page<Cursor>,
    ) -> Result<Vec<Order>, ReadError> {
        each_async!(self, store => store.list(cx, tenant, filter, page))
    }

    async fn history(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderId,
        page: Page<Version>,
    ) -> Result<Vec<Entry>, ReadError> {
        each_async!(self, store => store.history(cx, tenant, order, page))
    }

    async fn events(
        &self,
        cx: &Context,
        scope: &Scope,
        page: Page<Position>,
    ) -> Result<FeedPage, ReadError> {
        each_async!(self, store => store.events(cx, scope, page))
    }

    async fn lease(
        &self,
        cx: &Context,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Leased>, CommitError> {
        each_async!(self, store => store.lease(cx, now, until, limit))
    }

    async fn task(&self, cx: &Context, id: TaskId) -> Result<Option<Task>, ReadError> {
        each_async!(self, store => store.task(cx, id))
    }

    async fn events_after(&self, position: Position) {
        each_async!(self, store => store.events_after(position));
    }

    async fn published(&self, cx: &Context) -> Result<Option<Position>, ReadError> {
        each_async!(self, store => store.published(cx))
    }

    async fn mark_published(&self, cx: &Context, to: Position) -> Result<(), CommitError> {
        each_async!(self, store => store.mark_published(cx, to))
    }

    async fn forget(
        &self,
        cx: &Context,
        cutoff: Cutoff,
        limit: usize,
    ) -> Result<Forgotten, CommitError> {
        each_async!(self, store => store.forget(cx, cutoff, limit))
    }
}

/// A store as it stands at one instant, whichever it is.
#[derive(Debug)]
pub enum AnySnapshot {
    /// The embedded one.
    Sqlite(sqlite::Snapshot),
    /// The one for more than one machine.
    #[cfg(feature = "postgres")]
    Postgres(postgres::Snapshot),
}

impl AuditSource for AnySnapshot {
    async fn census(&self) -> Result<Census, ReadError> {
        each_async!(self, store => store.census())
    }

    async fn dossiers(&self, page: Page<OrderId>) -> Result<Vec<Dossier>, ReadError> {
        each_async!(self, store => store.dossiers(page))
    }
}

/// While this is held, no other process carries the feed out of the same store.
#[derive(Debug)]
pub enum AnyLead {
    /// The store belongs to this process.
    Sole,
    /// The store is shared.
    #[cfg(feature = "postgres")]
    Held(postgres::Lead),
}

impl AnyLead {
    /// Waits until it is lost, as far as that shows.
    pub async fn lost(&mut self) {
        match self {
            Self::Sole => std::future::pending().await,
            #[cfg(feature = "postgres")]
            Self::Held(lead) => lead.lost().await,
        }
    }
}
