//! The store for more than one machine: PostgreSQL, with group commit, behind several replicas that
//! write at once.
//!
//! Changes wait in a queue with a fair turn for every tenant. A few writers, each with a connection of
//! its own, take whatever waits and write it as one batch; a lone change never waits for company. Reads
//! have a pool of connections. See `commit.rs` for the one write, `feed.rs` for the order of events.
//!
//! Deliberately absent: a transaction that is open while anything else is waited for, a look before
//! the write that the write relies on, session state that a pooler in transaction mode would lose; but for prepared statements,
//! which `prepare = false` leaves out, and what goes past the pooler (`lead.rs`, `feed::listen`).

mod alone;
mod audit;
mod cancel;
mod columns;
mod commit;
mod connect;
mod facts;
mod failed;
mod feed;
mod fill;
mod health;
mod hedge;
mod job;
mod lead;
mod open_error;
mod prepared;
mod read;
mod rows;
mod schema;
mod session;
mod shares;
mod tally;
mod touched;
mod writer;

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    task::Poll,
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
use tokio::{
    sync::{self, Notify, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{Instrument as _, field::Empty};

pub use crate::settings::Postgres as Config;
pub use audit::Snapshot;
pub use fill::{Beside, FillError, Filled, fill};
pub use lead::Lead;
pub use open_error::OpenError;
pub use schema::{Migrated, migrate, migrate_to};

use self::{
    cancel::Cancels,
    connect::{Pool, Servers},
    feed::Rounds,
    health::Health,
    hedge::Hedges,
    job::Job,
    prepared::Prepared,
    tally::Tally,
    touched::Touched,
};
use crate::{
    instruments::{Counters, Instruments, Queued, Waiting, now},
    pace::Pace,
    queue::Queue,
};

/// Orders in PostgreSQL. Call [`close`](Self::close) so that what waits is committed first.
pub struct Postgres {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
    page_secret: [u8; 32],
}

/// What the store's tasks and its callers share.
#[derive(Debug)]
struct Shared {
    config: Config,
    servers: Arc<Servers>,
    pool: Pool,
    writers: Pool,
    /// Of one connection, which nobody else is in the way of.
    probe: Pool,
    health: Health,
    hedges: Hedges,
    cancels: Cancels,
    queue: Queue<Job>,
    pace: Pace,
    /// Held by the writer whose turn it is.
    turn: Arc<sync::Mutex<()>>,
    touched: Touched,
    /// New orders of late were decided on before: by their keys, mostly, when clients try again.
    wary: AtomicBool,
    instruments: Instruments,
    tally: Tally,
    head: watch::Sender<Position>,
    /// Something was committed here that has no place in the feed yet, or somebody asks for a round.
    unstamped: Notify,
    rounds: Rounds,
    closing: watch::Sender<bool>,
}

impl Shared {
    /// What comes of some work; nothing when the store closes first.
    async fn while_open<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut closing = self.closing.subscribe();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => None,
            done = work => Some(done),
        }
    }
}

/// Shows neither what waits nor the secret.
impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("waiting", &self.queue_depth()).finish_non_exhaustive()
    }
}

impl Postgres {
    /// Connects, checks that the database is one to rely on, and starts the store's tasks.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way: no server, tables of another version, or settings
    /// that would make a promise void.
    pub async fn open(config: &Config, metrics: &Metrics) -> Result<Self, OpenError> {
        let (servers, probe, page_secret) = connected(config).await?;
        let (cancels, left) = cancel::channel(config.readers);
        let shared = Arc::new(Shared {
            cancels,
            config: config.clone(),
            pool: servers.pool(config.readers)?,
            writers: servers.pool(config.writers)?,
            probe,
            servers,
            health: Health::default(),
            hedges: Hedges::new(config.readers, metrics),
            queue: Queue::new(config.queue),
            pace: Pace::default(),
            turn: Arc::default(),
            touched: Touched::default(),
            wary: AtomicBool::new(false),
            instruments: Instruments::new(metrics),
            tally: Tally::default(),
            head: watch::Sender::new(Position(0)),
            unstamped: Notify::new(),
            rounds: Rounds::new(metrics),
            closing: watch::Sender::new(false),
        });
        tally::measure(&shared, metrics);
        let mut tasks = JoinSet::new();
        for _ in 0..config.writers.max(1) {
            tasks.spawn(writer::run(Arc::clone(&shared)));
        }
        tasks.spawn(cancel::run(Arc::clone(&shared), left));
        tasks.spawn(health::run(Arc::clone(&shared)));
        tasks.spawn(feed::stamp_on_news(Arc::clone(&shared)));
        tasks.spawn(feed::listen(Arc::clone(&shared)));
        Ok(Self { shared, tasks: Mutex::new(tasks), page_secret })
    }

    /// Looks whether [`open`](Self::open) would open it now.
    ///
    /// # Errors
    /// As `open`.
    pub async fn probe(config: &Config) -> Result<(), OpenError> {
        connected(config).await.map(drop)
    }

    /// A secret of this store, made with it: signs what clients carry between requests.
    pub const fn page_secret(&self) -> [u8; 32] {
        self.page_secret
    }

    /// Commits what waits, and ends the store's tasks. Nothing is taken any more.
    pub async fn close(&self) {
        self.shared.queue.close();
        self.shared.closing.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks());
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(error = %error, "a task of the store ended by a panic");
            }
        }
        self.shared.pool.close();
        self.shared.writers.close();
        self.shared.probe.close();
    }

    /// Waits until one of the store's tasks has ended by a panic: what it did for all is not done any
    /// more. Whoever owns the process must end it.
    pub async fn failed(&self) -> String {
        poll_fn(|cx| {
            loop {
                match self.tasks().poll_join_next(cx) {
                    Poll::Ready(Some(Err(error))) if error.is_panic() => {
                        return Poll::Ready(format!(
                            "a task of the store ended by a panic: {error}"
                        ));
                    }
                    Poll::Ready(Some(_)) => {}
                    // Those of a store that was closed have another who waits for them.
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes that wait for a writer now.
    pub fn queue_depth(&self) -> usize {
        self.shared.queue.len()
    }

    /// Reads that wait for a connection now.
    pub fn read_queue_depth(&self) -> usize {
        self.shared.pool.status().waiting
    }

    /// Counters since the store was opened.
    pub fn counters(&self) -> Counters {
        self.shared.tally.counters()
    }

    /// The last position of the feed that this process knows of.
    pub fn head(&self) -> Position {
        *self.shared.head.borrow()
    }

    /// Whether the database answered when it was last asked, and could be relied on.
    pub fn is_up(&self) -> bool {
        self.shared.health.is_up()
    }

    /// Why it is not [up](Self::is_up).
    pub fn trouble(&self) -> Option<String> {
        self.shared.health.trouble()
    }

    /// Leases this process its share of each of these limits, by what was asked here lately; the answer
    /// has each by name, in millionths.
    ///
    /// # Errors
    /// When the database did not answer; what is leased already stays leased to its end.
    pub async fn lease_shares(
        &self,
        cx: &Context,
        process: &str,
        asked: &[(&str, u64)],
        lasts: Duration,
    ) -> Result<Vec<(String, u32)>, CommitError> {
        shares::lease(&self.shared, cx, process, asked, lasts).await
    }

    /// Waits until this process is the one that carries the feed out of this database.
    ///
    /// # Errors
    /// When the database cannot be reached past its pooler, [`OpenError::Pooled`] when that shows.
    pub async fn lead(&self) -> Result<Lead, OpenError> {
        lead::lead(&self.shared.config).await
    }
}

/// The servers, a connection that was found to be one to rely on, and the store's secret.
async fn connected(config: &Config) -> Result<(Arc<Servers>, Pool, [u8; 32]), OpenError> {
    let checked = async {
        let servers = Servers::new(config)?;
        // Its connection is kept: later there may be no room for one.
        let probe = servers.pool(1)?;
        let page_secret = schema::check(&probe, config.answer_timeout).await?;
        Ok::<_, OpenError>((servers, probe, page_secret))
    };
    checked.await.map_err(|error| error.at(connect::near(config)))
}

impl Store for Postgres {
    async fn commit(&self, cx: &Context, change: Change) -> Result<Answer, CommitError> {
        if !self.shared.health.is_up() {
            return Err(CommitError::Unavailable(None));
        }
        let tenant = Some(change.tenant.clone());
        let span = tracing::info_span!(
            target: SPANS,
            "commit",
            db.system.name = "postgresql",
            db.operation.batch.size = Empty,
            queue_wait_seconds = Empty,
        );
        let queued = Queued { since: Instant::now(), span: span.clone() };
        let (job, ticket) = Job::new(cx.clone(), Prepared::new(change), queued);
        let _waiting = Waiting::begin(cx);
        if self.shared.queue.push(&tenant, job).is_err() {
            return Err(CommitError::NotWritten(NotWritten::Busy));
        }
        ticket.answer(cx.deadline()).instrument(span).await
    }

    fn expected_wait(&self, tenant: &TenantId) -> Duration {
        self.shared.pace.expected(self.shared.queue.before(&Some(tenant.clone())), now())
    }

    async fn order(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderRef,
    ) -> Result<Option<Record>, ReadError> {
        let once = |cx: Context| async move { read::order(&self.shared, &cx, tenant, order).await };
        self.shared.hedges.read(cx, once).await
    }

    async fn orders(&self, cx: &Context, ids: &[OrderId]) -> Result<Vec<Order>, ReadError> {
        read::orders(&self.shared, cx, ids).await
    }

    async fn receipt(
        &self,
        cx: &Context,
        key: &ReceiptKey,
        at: Timestamp,
    ) -> Result<Option<Receipt>, ReadError> {
        let found = read::receipt(&self.shared, cx, key).await?;
        Ok(found.filter(|receipt| at < receipt.expires_at))
    }

    async fn list(
        &self,
        cx: &Context,
        tenant: &TenantId,
        filter: &Filter,
        page: Page<Cursor>,
    ) -> Result<Vec<Order>, ReadError> {
        read::list(&self.shared, cx, tenant, filter, page).await
    }

    async fn history(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderId,
        page: Page<Version>,
    ) -> Result<Vec<Entry>, ReadError> {
        read::history(&self.shared, cx, tenant, order, page).await
    }

    async fn events(
        &self,
        cx: &Context,
        scope: &Scope,
        page: Page<Position>,
    ) -> Result<FeedPage, ReadError> {
        feed::events(&self.shared, cx, scope, page).await
    }

    async fn lease(
        &self,
        cx: &Context,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Leased>, CommitError> {
        alone::lease(&self.shared, cx, now, until, limit).await
    }

    async fn task(&self, cx: &Context, id: TaskId) -> Result<Option<Task>, ReadError> {
        read::task(&self.shared, cx, id).await
    }

    async fn events_after(&self, position: Position) {
        let mut head = self.shared.head.subscribe();
        let grown = async { head.wait_for(|head| *head > position).await.is_ok() };
        // When the store is closed nothing will come; the caller looks, and learns why.
        let _grown = self.shared.while_open(grown).await;
    }

    async fn published(&self, cx: &Context) -> Result<Option<Position>, ReadError> {
        feed::published(&self.shared, cx).await
    }

    async fn mark_published(&self, cx: &Context, to: Position) -> Result<(), CommitError> {
        feed::mark_published(&self.shared, cx, to).await
    }

    async fn forget(
        &self,
        cx: &Context,
        cutoff: Cutoff,
        limit: usize,
    ) -> Result<Forgotten, CommitError> {
        feed::forget(&self.shared, cx, cutoff, limit).await
    }
}

#[cfg(test)]
mod tests {
    use orders_testkit::servers;

    use super::*;

    #[tokio::test]
    async fn a_store_one_of_whose_tasks_panicked_has_failed() {
        let config = Config::at(servers::postgres().database());
        migrate(&config).await.unwrap();
        let store = Postgres::open(&config, &Metrics::new("test")).await.unwrap();
        // Waits already when it happens.
        let (failed, ()) = tokio::join!(store.failed(), async {
            tokio::task::yield_now().await;
            store.tasks().spawn(async { panic!("a writer's bug") });
        });
        assert!(failed.contains("panic"), "{failed}");
        store.close().await;
    }

    #[tokio::test]
    async fn who_waits_for_events_learns_that_the_store_is_closed() {
        let config = Config::at(servers::postgres().database());
        migrate(&config).await.unwrap();
        let store = Postgres::open(&config, &Metrics::new("test")).await.unwrap();
        tokio::join!(store.events_after(Position(9)), store.close());
    }
}
