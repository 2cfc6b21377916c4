//! The store without its threads: each call is carried out where it is made, and waits for no one.
//!
//! For a simulator, under whose clock no thread may run, and for benchmarks of the one write. Not for
//! a service: a call blocks its thread until the disk has answered.

use std::{fmt, path::PathBuf};

use jiff::Timestamp;
use orders::{
    domain::{Entry, Order, OrderId, Position, Record, TenantId, Version},
    ports::{
        Cause, Change, Cursor, Cutoff, FeedPage, Filter, Forgotten, Leased, OrderRef, Page,
        ReadError, Receipt, ReceiptKey, Scope, Task, TaskId,
    },
};
use rusqlite::Connection;

use super::{
    Config, OpenError, Snapshot, read, schema, tasks,
    writer::{Outcome, Prepared, Writer},
};

/// The embedded store, called inline.
pub struct Inline {
    writer: Writer,
    reader: Connection,
    path: PathBuf,
}

impl fmt::Debug for Inline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inline").field("head", &self.head()).finish_non_exhaustive()
    }
}

impl Inline {
    /// Opens the store, creating it if it is not there.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        let writer = Writer::open(config)?;
        let reader = schema::reader(&config.path).map_err(OpenError::sqlite(&config.path))?;
        Ok(Self { writer, reader, path: config.path.clone() })
    }

    /// The last position given.
    pub fn head(&self) -> Position {
        self.writer.head()
    }

    /// A secret of this store, made with it: signs what clients carry between requests.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn page_secret(&self) -> Result<[u8; 32], Cause> {
        Ok(self.writer.page_secret()?)
    }

    /// Says beside the file that `to` took the store over: no [`Sqlite`](super::Sqlite) is opened from
    /// it any more.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn mark_moved(&self, to: &str) -> Result<(), OpenError> {
        schema::mark_moved(&self.path, to)
    }

    /// Commits one change, as [`commit`](orders::ports::Store::commit) does.
    ///
    /// # Errors
    /// When the disk failed.
    pub fn commit(&mut self, change: Change) -> Result<Outcome, Cause> {
        let mut outcomes = self.writer.apply(&[Prepared::new(change)])?;
        outcomes.pop().ok_or_else(|| "a change without an answer".into())
    }

    /// Hands out tasks, as [`lease`](orders::ports::Store::lease) does.
    ///
    /// # Errors
    /// When the disk failed, or a task cannot be read.
    pub fn lease(
        &mut self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Leased>, Cause> {
        let taken = self.writer.lease(now, until, limit)??;
        match taken.unreadable.into_iter().next() {
            Some((_, cause)) => Err(cause),
            None => Ok(taken.leased),
        }
    }

    /// Forgets, as [`forget`](orders::ports::Store::forget) does.
    ///
    /// # Errors
    /// When the disk failed.
    pub fn forget(&mut self, cutoff: Cutoff, limit: usize) -> Result<Forgotten, Cause> {
        Ok(self.writer.forget(cutoff, limit)??)
    }

    /// Reads an order with what is kept apart from it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn order(&self, tenant: &TenantId, order: OrderRef) -> Result<Option<Record>, Cause> {
        read::order(&self.reader, tenant, order)
    }

    /// Reads orders, as [`orders`](orders::ports::Store::orders) does.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn orders(&self, ids: &[OrderId]) -> Result<Vec<Order>, Cause> {
        read::orders(&self.reader, ids)
    }

    /// Reads the receipt of a key, if one is remembered at this time.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn receipt(&self, key: &ReceiptKey, at: Timestamp) -> Result<Option<Receipt>, Cause> {
        Ok(read::receipt(&self.reader, key)?.filter(|receipt| at < receipt.expires_at))
    }

    /// Lists orders, as [`list`](orders::ports::Store::list) does.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn list(
        &self,
        tenant: &TenantId,
        filter: &Filter,
        page: Page<Cursor>,
    ) -> Result<Vec<Order>, Cause> {
        read::list(&self.reader, tenant, filter, page)
    }

    /// Reads an order's history, as [`history`](orders::ports::Store::history) does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn history(
        &self,
        tenant: &TenantId,
        order: OrderId,
        page: Page<Version>,
    ) -> Result<Vec<Entry>, Cause> {
        read::history(&self.reader, tenant, order, page)
    }

    /// Reads the feed, as [`events`](orders::ports::Store::events) does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn events(
        &self,
        scope: &Scope,
        page: Page<Position>,
    ) -> Result<Result<FeedPage, ReadError>, Cause> {
        read::events(&self.reader, scope, page)
    }

    /// Reads a task.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn task(&self, id: TaskId) -> Result<Option<Task>, Cause> {
        tasks::find(&self.reader, id)
    }

    /// How far the feed has been published, if it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn published(&self) -> Result<Option<Position>, Cause> {
        read::published(&self.reader)
    }

    /// Notes how far the feed has been published.
    ///
    /// # Errors
    /// When the disk failed.
    pub fn mark_published(&mut self, to: Position) -> Result<(), Cause> {
        Ok(self.writer.mark_published(to)??)
    }

    /// Reads every task that is owed.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn tasks(&self) -> Result<Vec<Task>, Cause> {
        tasks::all(&self.reader)
    }

    /// The store as it stands, for an audit.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn snapshot(&self) -> Result<Snapshot, OpenError> {
        Snapshot::open(&self.path)
    }
}
