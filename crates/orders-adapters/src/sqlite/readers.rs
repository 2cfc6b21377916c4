//! Threads that read, each with a connection of its own, behind a bounded queue.
//!
//! Guarantee: no read goes on for long after its deadline, nor after its caller has gone. SQLite
//! asks between its instructions, on the reader's own thread, whether the read it is running still
//! has somebody waiting; so a read can only ever be stopped by its own end, never by that of
//! another on the same connection. A caller is answered at its deadline even if its thread is late.
//! Not guaranteed: a stop inside one instruction, such as the sync of a slow disk.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use mainstay_context::{Activity, Cause, Context};
use orders::ports::ReadError;
use rusqlite::{Connection, ErrorCode};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{Config, OpenError, ReadCounters, rows::Read, schema, thread::spawn};
use crate::instruments::{Instruments, Waiting, now};

/// Instructions of SQLite between two looks at the time: some 20 µs, so that a look costs nothing.
const LOOK_EVERY: i32 = 1_000;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The readers. They end when this is closed or dropped.
pub(super) struct Readers {
    jobs: Mutex<Option<SyncSender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    tally: Arc<Tally>,
    instruments: Instruments,
}

/// What became of reads.
#[derive(Debug, Default)]
struct Tally {
    waiting: AtomicUsize,
    finished: AtomicU64,
    interrupted: AtomicU64,
    expired: AtomicU64,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

impl Readers {
    pub(super) fn start(config: &Config, instruments: Instruments) -> Result<Self, OpenError> {
        let (jobs, queue) = sync_channel(config.read_queue);
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for _ in 0..config.readers.max(1) {
            let mut connection =
                schema::reader(&config.path).map_err(OpenError::sqlite(&config.path))?;
            let queue = Arc::clone(&queue);
            threads.push(spawn("orders-reader", move || {
                while let Some(job) = next(&queue) {
                    job(&mut connection);
                }
            })?);
        }
        let (jobs, threads) = (Mutex::new(Some(jobs)), Mutex::new(threads));
        Ok(Self { jobs, threads, tally: Arc::default(), instruments })
    }

    /// Runs a read on the next free thread. One that nobody waits for by then is not run, and one
    /// that nobody waits for any more is interrupted.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        cx: &Context,
        work: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (reply, answer) = oneshot::channel();
        let caller = Caller::begin(cx);
        let (cx, tally) = (caller.read.clone(), Arc::clone(&self.tally));
        let (deadline, instruments) = (cx.deadline(), self.instruments.clone());
        let queued = Instant::now();
        let job: Job = Box::new(move |connection| {
            tally.waiting.fetch_sub(1, Relaxed);
            instruments.read_wait.observe(queued.elapsed().as_secs_f64(), &[]);
            drop(reply.send(tally.run(&cx, connection, work, &instruments)));
        });
        self.queue(job)?;
        let answer = async { answer.await.unwrap_or(Err(ReadError::Unavailable(None))) };
        match deadline {
            // Its thread may be late: in the queue before it, or inside an instruction.
            Some(at) => {
                let in_time = timeout_at(Instant::from_std(at), answer).await;
                in_time.unwrap_or(Err(ReadError::Expired))
            }
            None => answer.await,
        }
    }

    fn queue(&self, job: Job) -> Result<(), ReadError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let jobs = jobs.ok_or(ReadError::Unavailable(None))?;
        // Counted first: a thread may take it before this returns.
        self.tally.waiting.fetch_add(1, Relaxed);
        jobs.try_send(job).map_err(|error| {
            self.tally.waiting.fetch_sub(1, Relaxed);
            match error {
                TrySendError::Full(_) => ReadError::Busy,
                TrySendError::Disconnected(_) => ReadError::Unavailable(None),
            }
        })
    }

    /// Takes no more reads, and hands out the threads, which end with those they have.
    pub(super) fn close(&self) -> Vec<JoinHandle<()>> {
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads that no thread has taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.tally.waiting.load(Relaxed)
    }

    pub(super) fn counters(&self) -> ReadCounters {
        ReadCounters {
            finished: self.tally.finished.load(Relaxed),
            interrupted: self.tally.interrupted.load(Relaxed),
            expired: self.tally.expired.load(Relaxed),
        }
    }
}

/// Waits for a read; when it is dropped, nobody does any more.
struct Caller {
    read: Context,
    _waiting: Waiting,
}

impl Caller {
    fn begin(cx: &Context) -> Self {
        Self { read: cx.child(), _waiting: Waiting::begin(cx) }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.read.cancel(Cause::CallerGone);
    }
}

impl Tally {
    /// Runs a read on this thread for as long as `cx` lasts.
    fn run<T>(
        &self,
        cx: &Context,
        connection: &mut Connection,
        work: impl FnOnce(&Connection) -> Read<T>,
        instruments: &Instruments,
    ) -> Result<T, ReadError> {
        let begun = now();
        if cx.ended(begun).is_some() {
            self.expired.fetch_add(1, Relaxed);
            return Err(ReadError::Expired);
        }
        cx.enter(Activity::Storing, begun);
        let read = watched(cx, connection, work);
        instruments.read.observe((now() - begun).as_secs_f64(), &[]);
        match read {
            Err(cause) if is_interrupt(cause.as_ref()) => {
                self.interrupted.fetch_add(1, Relaxed);
                Err(ReadError::Expired)
            }
            ended => {
                self.finished.fetch_add(1, Relaxed);
                ended.map_err(|cause| ReadError::Unavailable(Some(cause)))
            }
        }
    }
}

/// Lets SQLite look at the time while `work` runs, and not longer.
fn watched<T>(
    cx: &Context,
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Read<T>,
) -> Read<T> {
    let cx = cx.clone();
    connection.progress_handler(LOOK_EVERY, Some(move || cx.ended(now()).is_some()))?;
    // A read that panics ends alone: its thread goes on, its caller is told.
    let read = catch_unwind(AssertUnwindSafe(|| work(connection)))
        .unwrap_or_else(|_| Err("the read panicked".into()));
    connection.progress_handler(0, None::<fn() -> bool>)?;
    read
}

fn is_interrupt(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let error = cause.downcast_ref::<rusqlite::Error>();
    error.and_then(rusqlite::Error::sqlite_error_code) == Some(ErrorCode::OperationInterrupted)
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{RecvTimeoutError, channel},
        time::Duration,
    };

    use futures_util::FutureExt as _;
    use mainstay::metrics::Metrics;
    use tempfile::TempDir;

    use super::*;

    /// Counts for ever.
    const ENDLESS: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// One reader over a file with one table of one number.
    fn reader() -> (Readers, Connection, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("read.db");
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)").unwrap();
        let instruments = Instruments::new(&Metrics::new("test"));
        let config = Config { readers: 1, ..Config::at(path) };
        let readers = Readers::start(&config, instruments).unwrap();
        (readers, writer, folder)
    }

    fn context() -> Context {
        Context::new("test".parse().unwrap())
    }

    /// A request that has this long; where its read must have begun by then, long enough for that.
    fn within(ms: u64) -> Context {
        context().with_deadline(now() + Duration::from_millis(ms))
    }

    fn count(db: &Connection, sql: &str) -> Read<i64> {
        Ok(db.query_row(sql, [], |row| row.get(0))?)
    }

    async fn number(readers: &Readers) -> i64 {
        readers.read(&context(), |db| count(db, "SELECT n FROM t")).await.unwrap()
    }

    async fn until(mut condition: impl FnMut() -> bool) {
        let work = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap();
    }

    #[tokio::test]
    async fn a_read_under_way_ends_at_its_deadline() {
        let (readers, _writer, _folder) = reader();
        let read = readers.read(&within(250), |db| count(db, ENDLESS)).await;
        assert!(matches!(read, Err(ReadError::Expired)), "{read:?}");
        // Its thread is free again.
        assert_eq!(number(&readers).await, 1);
        let counters = readers.counters();
        assert_eq!((counters.interrupted, counters.finished, counters.expired), (1, 1, 0));
        assert_eq!(readers.waiting(), 0);
    }

    #[tokio::test]
    async fn a_read_whose_caller_is_gone_is_interrupted() {
        let (readers, _writer, _folder) = reader();
        let cx = context();
        let mut read = Box::pin(readers.read(&cx, |db| count(db, ENDLESS)));
        assert!(read.as_mut().now_or_never().is_none());
        until(|| cx.activity() == Activity::Storing).await;
        drop(read);
        assert_eq!(number(&readers).await, 1);
        assert_eq!(readers.counters().interrupted, 1);
        assert_eq!(cx.ended(now()), None, "the request itself goes on");
    }

    #[tokio::test]
    async fn a_read_whose_request_is_cancelled_is_interrupted() {
        let (readers, _writer, _folder) = reader();
        let cx = context();
        let mut read = Box::pin(readers.read(&cx, |db| count(db, ENDLESS)));
        assert!(read.as_mut().now_or_never().is_none());
        cx.cancel(Cause::ShuttingDown);
        let read = read.await;
        assert!(matches!(read, Err(ReadError::Expired)), "{read:?}");
    }

    #[tokio::test]
    async fn an_interrupt_never_meets_the_next_read() {
        let (readers, _writer, _folder) = reader();
        let rounds = 300;
        for round in 0..rounds {
            let late = within(round % 4);
            let (dropped, patient) = (context(), context());
            // One ends by its deadline, one by its caller, at all moments, and one must be whole.
            let (late, _, sound) = tokio::join!(
                readers.read(&late, |db| count(db, ENDLESS)),
                tokio::time::timeout(
                    Duration::from_millis(round % 3),
                    readers.read(&dropped, |db| count(db, ENDLESS)),
                ),
                readers.read(&patient, |db| count(db, "SELECT n FROM t")),
            );
            assert!(matches!(late, Err(ReadError::Expired)), "{late:?}");
            assert_eq!(sound.unwrap(), 1);
        }
        let counters = readers.counters();
        assert_eq!(counters.finished, rounds);
        assert_eq!(counters.interrupted + counters.expired, 2 * rounds);
        assert!(counters.interrupted > 0, "{counters:?}");
    }

    #[tokio::test]
    async fn a_read_whose_time_is_spent_in_the_queue_is_not_run() {
        let (readers, _writer, _folder) = reader();
        let (open, gate) = channel::<()>();
        let blocker = context();
        let blocks = readers.read(&blocker, move |_| Ok(gate.recv_timeout(PATIENCE)));
        let late = async {
            until(|| blocker.activity() == Activity::Storing).await;
            let read = readers.read(&within(20), |db| count(db, ENDLESS)).await;
            // Answered at its deadline, although the only thread is not free.
            assert!(matches!(read, Err(ReadError::Expired)), "{read:?}");
            assert_eq!(readers.waiting(), 1);
            open.send(()).unwrap();
        };
        let (opened, ()) = tokio::join!(blocks, late);
        assert_eq!(opened.unwrap(), Ok::<(), RecvTimeoutError>(()));
        assert_eq!(number(&readers).await, 1);
        let counters = readers.counters();
        assert_eq!((counters.expired, counters.interrupted, readers.waiting()), (1, 0, 0));
    }

    #[tokio::test]
    async fn an_interrupted_read_keeps_no_snapshot() {
        let (readers, writer, _folder) = reader();
        let in_a_snapshot = |db: &Connection| {
            let snapshot = db.unchecked_transaction()?;
            count(&snapshot, "SELECT n FROM t")?;
            count(&snapshot, ENDLESS)
        };
        let read = readers.read(&within(30), in_a_snapshot).await;
        assert!(matches!(read, Err(ReadError::Expired)), "{read:?}");
        writer.execute_batch("UPDATE t SET n = 2").unwrap();
        assert_eq!(number(&readers).await, 2);
    }

    #[tokio::test]
    async fn a_read_that_panics_ends_alone() {
        let (readers, _writer, _folder) = reader();
        let read = readers.read(&context(), |_| -> Read<()> { panic!("on purpose") }).await;
        assert!(matches!(read, Err(ReadError::Unavailable(Some(_)))), "{read:?}");
        assert_eq!(number(&readers).await, 1);
    }

    #[tokio::test]
    async fn a_read_tells_its_request_where_the_time_went() {
        let (readers, _writer, _folder) = reader();
        let cx = within(250);
        cx.enter(Activity::Working, now());
        let read = readers.read(&cx, |db| count(db, ENDLESS)).await;
        assert!(matches!(read, Err(ReadError::Expired)), "{read:?}");
        assert_eq!(cx.activity(), Activity::Working);
        let now = now();
        let stored = cx.spent(Activity::Storing, now);
        assert!(!stored.is_zero());
        assert_eq!(cx.spent(Activity::Queued, now + PATIENCE), cx.spent(Activity::Queued, now));
    }
}
