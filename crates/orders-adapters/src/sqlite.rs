//! The embedded store: one SQLite file, one writer thread with group commit, readers beside it.
//!
//! Deliberately absent: transactions that outlive a call, and a second writer. The writer takes
//! whatever changes wait, commits them in one transaction with one sync, and answers each; a lone
//! change never waits for company.

mod audit;
mod checkpoint;
mod facts;
mod inline;
mod read;
mod readers;
mod rows;
mod schema;
mod statements;
mod tasks;
mod thread;
mod writer;

use std::{
    fmt, mem,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use jiff::Timestamp;
use mainstay::{metrics::Metrics, telemetry::SPANS};
use mainstay_context::Context;
use orders::{
    domain::{Entry, Order, OrderId, Position, Record, TenantId, Version},
    ports::{
        Answer, Change, CommitError, Cursor, Cutoff, FeedPage, Filter, Forgotten, Leased,
        NotWritten, OrderRef, Page, ReadError, Receipt, ReceiptKey, Scope, Store, Task, TaskId,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tracing::{Instrument as _, field::Empty};

pub use crate::instruments::{Counters, ReadCounters};
pub use audit::Snapshot;
pub use inline::Inline;
pub use schema::OpenError;
pub use writer::{Broken, Outcome, Prepared, Writer};

use self::{
    readers::Readers,
    thread::{Job, Shared},
};
use crate::instruments::{Instruments, Queued, TIMES, Waiting};

/// How the embedded store is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file, relative to the working directory; its folder is made if only that is missing.
    /// Beside it stand `-wal`, `-shm` and `-lock`, and `-moved` once `orderly move` took it over.
    /// Default: `data/orderly.db`.
    pub path: PathBuf,
    /// Changes that may wait for the writer, three quarters of them of one tenant; more are refused as
    /// busy. At most 1,000,000. Default: 4,096.
    pub queue: usize,
    /// Changes that one transaction may hold. At most 65,536. Default: 256.
    pub batch: usize,
    /// Threads that read, each with a connection. At most 64. Default: 2.
    pub readers: usize,
    /// Reads that may wait for one of those threads; more are refused as busy. At most 1,000,000.
    /// Default: 1,024.
    pub read_queue: usize,
    /// The write-ahead log is emptied when it holds more bytes than this; at four times as many
    /// changes are refused as busy until it is. Default: 134,217,728 (128 MiB).
    pub wal_limit: u64,
    /// Whether a commit waits for the disk. `false` is for measuring what that costs, and loses
    /// acknowledged orders on power loss. Default: `true`.
    pub durable: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: "data/orderly.db".into(),
            queue: 4_096,
            batch: 256,
            readers: 2,
            read_queue: 1_024,
            wal_limit: 128 << 20,
            durable: true,
        }
    }
}

impl Config {
    /// The defaults, at this path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }
}

/// The embedded store. [Closing](Self::close) or dropping it commits what waits, then closes the file;
/// dropping does not when it was [abandoned](Self::abandon).
pub struct Sqlite {
    shared: Arc<Shared>,
    abandoned: AtomicBool,
    readers: Readers,
    /// Those of the connections that write; empty once somebody waits for them.
    threads: Mutex<Vec<JoinHandle<()>>>,
    head: watch::Receiver<Position>,
    failed: watch::Receiver<Option<String>>,
    page_secret: [u8; 32],
}

/// Shows neither what waits nor the secret.
impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("waiting", &self.queue_depth()).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens the store, creating it if it is not there and its folder with it, and starts its threads.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way; a store that another process writes is refused, and
    /// one that another store took over.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        Self::open_measured(config, &Metrics::new("unread"))
    }

    /// As [`open`](Self::open), and reports to `metrics`: `commit_queue_wait_seconds`,
    /// `commit_duration_seconds`, `commit_batch_changes`, `checkpoint_duration_seconds`,
    /// `read_queue_wait_seconds`, `read_duration_seconds` and `tasks_unreadable_total`.
    ///
    /// # Errors
    /// As those of [`open`](Self::open).
    pub fn open_measured(config: &Config, metrics: &Metrics) -> Result<Self, OpenError> {
        schema::not_moved(&config.path)?;
        let writer = Writer::open(config)?;
        let page_secret = writer.page_secret().map_err(OpenError::sqlite(&config.path))?;
        let instruments = Instruments::new(metrics);
        let (shared, head, failed) = Shared::new(config, &writer, instruments.clone());
        let readers = Readers::start(config, instruments)?;
        let took = metrics.histogram(
            "checkpoint_duration_seconds",
            "Time to move the write-ahead log into the database, beside the commits",
            &[],
            TIMES,
        );
        let checkpoint = checkpoint::start(Arc::clone(&shared), config, took)?;
        let writer = thread::start(Arc::clone(&shared), writer, config.batch)?;
        let threads = Mutex::new(vec![checkpoint, writer]);
        let abandoned = AtomicBool::new(false);
        Ok(Self { shared, abandoned, readers, threads, head, failed, page_secret })
    }

    /// Whether there is a store at `path`.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when there is none.
    pub fn find(path: &Path) -> Result<(), OpenError> {
        schema::find(path)
    }

    /// Whether a store is at `path` or could be made there; makes nothing.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way.
    pub fn place(path: &Path) -> Result<(), OpenError> {
        schema::place(path)
    }

    /// Whether the store at `path` could be opened now, as far as that shows without doing it.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way, a process that writes it included.
    pub fn probe(path: &Path) -> Result<(), OpenError> {
        schema::probe(path)
    }

    /// Reads a store as it stands at this instant, for an audit; also while a service writes it.
    ///
    /// # Errors
    /// [`OpenError`] when the file is not there or is no store.
    pub fn snapshot(path: &Path) -> Result<Snapshot, OpenError> {
        Snapshot::open(path)
    }

    /// A secret of this store, made with it: signs what clients carry between requests.
    pub const fn page_secret(&self) -> [u8; 32] {
        self.page_secret
    }

    /// Waits until the store has failed for good and says why: a write or a sync did not reach the
    /// disk, so that nothing more can be promised. Whoever owns the process must end it.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the writer ended".to_owned(),
        }
    }

    /// Commits what waits and closes the file, all of the log in it. Nothing is taken any more.
    ///
    /// Whoever stops waiting leaves that to a thread; the process may end meanwhile as by a kill.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        let end = self.end();
        let ends = move || {
            end();
            let _left = done.send(()).is_err();
        };
        if thread::spawn("orders-closer", ends).is_ok() {
            drop(closed.await);
        }
    }

    /// What is left to do when the store is to end: waits for its threads.
    ///
    /// The connections that only read are closed first: the last one takes the log into the file,
    /// and must be one that can.
    fn end(&self) -> impl FnOnce() + Send + use<> {
        let readers = self.readers.close();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let (threads, shared) = (mem::take(&mut *threads), Arc::clone(&self.shared));
        move || {
            readers.into_iter().for_each(join);
            shared.close();
            threads.into_iter().for_each(join);
        }
    }

    /// Makes dropping the store wait for nothing: for a process that must end now. What was
    /// acknowledged is on the disk, and the next start takes the log up, as after a kill.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Changes that wait for the writer now.
    pub fn queue_depth(&self) -> usize {
        self.shared.queue.len()
    }

    /// Reads that wait for a reader now.
    pub fn read_queue_depth(&self) -> usize {
        self.readers.waiting()
    }

    /// The last position of the feed.
    pub fn head(&self) -> Position {
        *self.head.borrow()
    }

    /// Counters since the store was opened.
    pub fn counters(&self) -> Counters {
        Counters { reads: self.readers.counters(), ..self.shared.counters() }
    }

    fn unavailable(&self) -> CommitError {
        CommitError::Unavailable(self.failed.borrow().clone().map(Into::into))
    }

    async fn read<T: Send + 'static>(
        &self,
        cx: &Context,
        work: impl FnOnce(&rusqlite::Connection) -> rows::Read<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        self.readers.read(cx, work).await
    }

    async fn ask<T>(
        &self,
        tenant: Option<&TenantId>,
        job: Job,
        answer: oneshot::Receiver<Result<T, CommitError>>,
    ) -> Result<T, CommitError> {
        if self.failed.borrow().is_some() {
            return Err(self.unavailable());
        }
        let _waiting = Waiting::begin(job.cx());
        if self.shared.log_is_over() || self.shared.queue.push(&tenant.cloned(), job).is_err() {
            return Err(CommitError::NotWritten(NotWritten::Busy));
        }
        // The writer answers everything it takes; if it died, it may have written before it did.
        answer.await.unwrap_or(Err(CommitError::OutcomeUnknown))
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        let end = self.end();
        if self.abandoned.load(Ordering::Relaxed) {
            self.shared.close();
        } else {
            end();
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store ended by a panic");
    }
}

impl Store for Sqlite {
    async fn commit(&self, cx: &Context, change: Change) -> Result<Answer, CommitError> {
        let tenant = change.tenant.clone();
        let (reply, answer) = oneshot::channel();
        let prepared = Prepared::new(change);
        let span = tracing::info_span!(
            target: SPANS,
            "commit",
            db.system.name = "sqlite",
            db.operation.batch.size = Empty,
            queue_wait_seconds = Empty,
        );
        let queued = Queued { since: Instant::now(), span: span.clone() };
        let job = Job::Commit { cx: cx.clone(), prepared: Box::new(prepared), reply, queued };
        self.ask(Some(&tenant), job, answer).instrument(span).await
    }

    fn expected_wait(&self, tenant: &TenantId) -> Duration {
        self.shared.expected_wait(tenant)
    }

    async fn order(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderRef,
    ) -> Result<Option<Record>, ReadError> {
        let tenant = tenant.clone();
        self.read(cx, move |db| read::order(db, &tenant, order)).await
    }

    async fn orders(&self, cx: &Context, ids: &[OrderId]) -> Result<Vec<Order>, ReadError> {
        let ids = ids.to_vec();
        self.read(cx, move |db| read::orders(db, &ids)).await
    }

    async fn receipt(
        &self,
        cx: &Context,
        key: &ReceiptKey,
        at: Timestamp,
    ) -> Result<Option<Receipt>, ReadError> {
        let key = key.clone();
        let found = self.read(cx, move |db| read::receipt(db, &key)).await?;
        Ok(found.filter(|receipt| at < receipt.expires_at))
    }

    async fn list(
        &self,
        cx: &Context,
        tenant: &TenantId,
        filter: &Filter,
        page: Page<Cursor>,
    ) -> Result<Vec<Order>, ReadError> {
        let (tenant, filter) = (tenant.clone(), filter.clone());
        self.read(cx, move |db| read::list(db, &tenant, &filter, page)).await
    }

    async fn history(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderId,
        page: Page<Version>,
    ) -> Result<Vec<Entry>, ReadError> {
        let tenant = tenant.clone();
        self.read(cx, move |db| read::history(db, &tenant, order, page)).await
    }

    async fn events(
        &self,
        cx: &Context,
        scope: &Scope,
        page: Page<Position>,
    ) -> Result<FeedPage, ReadError> {
        let scope = scope.clone();
        self.read(cx, move |db| read::events(db, &scope, page)).await?
    }

    async fn lease(
        &self,
        cx: &Context,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Leased>, CommitError> {
        let (reply, answer) = oneshot::channel();
        self.ask(None, Job::Lease { cx: cx.clone(), now, until, limit, reply }, answer).await
    }

    async fn task(&self, cx: &Context, id: TaskId) -> Result<Option<Task>, ReadError> {
        self.read(cx, move |db| tasks::find(db, id)).await
    }

    async fn events_after(&self, position: Position) {
        // When the writer is gone nothing will come; the caller looks, and learns why.
        drop(self.head.clone().wait_for(|head| *head > position).await);
    }

    async fn published(&self, cx: &Context) -> Result<Option<Position>, ReadError> {
        self.read(cx, read::published).await
    }

    async fn mark_published(&self, cx: &Context, to: Position) -> Result<(), CommitError> {
        let (reply, answer) = oneshot::channel();
        self.ask(None, Job::MarkPublished { cx: cx.clone(), to, reply }, answer).await
    }

    async fn forget(
        &self,
        cx: &Context,
        cutoff: Cutoff,
        limit: usize,
    ) -> Result<Forgotten, CommitError> {
        let (reply, answer) = oneshot::channel();
        self.ask(None, Job::Forget { cx: cx.clone(), cutoff, limit, reply }, answer).await
    }
}
