//! The writer's thread: takes what waits, commits it at once, answers each.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use jiff::Timestamp;
use mainstay::telemetry::error_chain;
use mainstay_context::{Activity, Context};
use orders::{
    domain::{Position, TenantId},
    ports::{Answer, CommitError, Cutoff, Forgotten, Leased, NotWritten},
};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::{
    Config, Counters, OpenError, ReadCounters,
    checkpoint::Log,
    tasks::Taken,
    writer::{Broken, Prepared, Writer},
};
use crate::{
    instruments::{Instruments, Queued, now},
    pace::Pace,
    queue::Queue,
};

type Reply<T> = oneshot::Sender<Result<T, CommitError>>;

/// Work for the writer.
#[derive(Debug)]
pub(super) enum Job {
    Commit { cx: Context, prepared: Box<Prepared>, reply: Reply<Answer>, queued: Queued },
    Forget { cx: Context, cutoff: Cutoff, limit: usize, reply: Reply<Forgotten> },
    MarkPublished { cx: Context, to: Position, reply: Reply<()> },
    Lease { cx: Context, now: Timestamp, until: Timestamp, limit: usize, reply: Reply<Vec<Leased>> },
}

/// What the store's threads and its callers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue<Job>,
    pace: Pace,
    head: watch::Sender<Position>,
    failed: watch::Sender<Option<String>>,
    closing: watch::Sender<bool>,
    changes: AtomicU64,
    batches: AtomicU64,
    pub(super) log: Log,
    log_most: u64,
    pub(super) instruments: Instruments,
}

impl Shared {
    pub(super) fn new(
        config: &Config,
        writer: &Writer,
        instruments: Instruments,
    ) -> (Arc<Self>, watch::Receiver<Position>, watch::Receiver<Option<String>>) {
        let (head, heads) = watch::channel(writer.head());
        let (failed, failures) = watch::channel(None);
        let log = writer.log();
        let shared = Self {
            queue: Queue::new(config.queue),
            pace: Pace::default(),
            head,
            failed,
            closing: watch::Sender::new(false),
            changes: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            log,
            log_most: config.wal_limit.saturating_mul(4),
            instruments,
        };
        (Arc::new(shared), heads, failures)
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            changes: self.changes.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            wal_bytes: self.log.bytes(),
            reads: ReadCounters::default(),
        }
    }

    /// How long a change of this tenant would wait for the writer.
    pub(super) fn expected_wait(&self, tenant: &TenantId) -> Duration {
        self.pace.expected(self.queue.before(&Some(tenant.clone())), now())
    }

    pub(super) fn log_is_over(&self) -> bool {
        self.log.bytes() > self.log_most
    }

    pub(super) fn close(&self) {
        self.queue.close();
        self.closing.send_replace(true);
    }

    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.borrow().is_some()
    }

    /// Tells of the tasks that cannot be read; the others are handed out.
    fn handed_out(&self, taken: Taken) -> Vec<Leased> {
        for (id, why) in &taken.unreadable {
            self.instruments.unreadable_tasks.inc(&[]);
            tracing::error!(
                task.id = id,
                error = %why,
                "a task cannot be read and is left aside until the next start"
            );
        }
        taken.leased
    }

    /// Stops the store for good: nothing more is acknowledged.
    pub(super) fn fail(&self, reason: String) {
        tracing::error!(reason, "the order store has failed and takes no more changes");
        self.failed.send_replace(Some(reason));
        self.close();
    }
}

/// Held by a thread that the store cannot do without: its panic is the store's failure.
pub(super) struct Vital(pub(super) Arc<Shared>);

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the store panicked".to_owned());
        }
    }
}

/// Held by the writer's thread: however it ends, nobody waits for it in vain.
struct Answers(Arc<Shared>);

impl Drop for Answers {
    fn drop(&mut self) {
        self.0.close();
        while let Some(jobs) = self.0.queue.take(usize::MAX) {
            for job in jobs {
                job.refuse(|| CommitError::Unavailable(None));
            }
        }
    }
}

/// Starts the writer. It closes the store when the thread ends.
pub(super) fn start(
    shared: Arc<Shared>,
    mut writer: Writer,
    batch: usize,
) -> Result<JoinHandle<()>, OpenError> {
    let run = move || {
        // Dropped last first: a panic is told before those that wait are answered.
        let _answers = Answers(Arc::clone(&shared));
        let _vital = Vital(Arc::clone(&shared));
        while !shared.has_failed()
            && let Some(jobs) = shared.queue.take(batch)
        {
            let count = jobs.len();
            shared.pace.begin(count, now());
            let worked = work(&shared, &mut writer, jobs);
            shared.pace.end(count, now());
            if let Err(broken) = worked {
                shared.fail(error_chain(&broken));
            }
        }
    };
    spawn("orders-writer", run)
}

pub(super) fn spawn(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let started: io::Result<_> = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map_err(OpenError::Thread)
}

fn work(shared: &Shared, writer: &mut Writer, jobs: Vec<Job>) -> Result<(), Broken> {
    let taken = Instant::now();
    let mut batch = Vec::with_capacity(jobs.len());
    let mut replies = Vec::with_capacity(jobs.len());
    let mut spans = Vec::with_capacity(jobs.len());
    for job in jobs {
        if let Job::Commit { queued, .. } = &job {
            shared.instruments.waited(queued, taken);
        }
        if job.cx().ended(taken.into_std()).is_some() {
            job.refuse(|| CommitError::NotWritten(NotWritten::Expired));
            continue;
        }
        job.cx().enter(Activity::Storing, taken.into_std());
        match job {
            Job::Commit { prepared, reply, queued, .. } => {
                batch.push(*prepared);
                replies.push(reply);
                spans.push(queued.span);
            }
            Job::Forget { cutoff, limit, reply, .. } => {
                answer(reply, writer.forget(cutoff, limit)?);
            }
            Job::MarkPublished { to, reply, .. } => answer(reply, writer.mark_published(to)?),
            Job::Lease { now, until, limit, reply, .. } => {
                let taken = writer.lease(now, until, limit)?;
                answer(reply, taken.map(|taken| shared.handed_out(taken)));
            }
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    for span in spans {
        span.record("db.operation.batch.size", batch.len());
    }
    let began = Instant::now();
    match writer.apply(&batch) {
        Ok(outcomes) => {
            shared.instruments.committed(batch.len(), began.elapsed());
            shared.changes.fetch_add(count(outcomes.len()), Ordering::Relaxed);
            shared.batches.fetch_add(1, Ordering::Relaxed);
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                answer(reply, outcome);
            }
            shared.head.send_if_modified(|head| {
                let grew = *head != writer.head();
                *head = writer.head();
                grew
            });
            Ok(())
        }
        Err(broken) => {
            // A sync that failed says nothing of what is on the disk.
            for reply in replies {
                answer(reply, Err(CommitError::OutcomeUnknown));
            }
            Err(broken)
        }
    }
}

impl Job {
    pub(super) fn cx(&self) -> &Context {
        match self {
            Self::Commit { cx, .. }
            | Self::Forget { cx, .. }
            | Self::MarkPublished { cx, .. }
            | Self::Lease { cx, .. } => cx,
        }
    }

    fn refuse(self, error: impl Fn() -> CommitError) {
        match self {
            Self::Commit { reply, .. } => answer(reply, Err(error())),
            Self::Forget { reply, .. } => answer(reply, Err(error())),
            Self::MarkPublished { reply, .. } => answer(reply, Err(error())),
            Self::Lease { reply, .. } => answer(reply, Err(error())),
        }
    }
}

/// Answers a caller, who may be gone: what was committed stays committed.
fn answer<T>(reply: Reply<T>, outcome: Result<T, CommitError>) {
    drop(reply.send(outcome));
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> (Arc<Shared>, watch::Receiver<Option<String>>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::at(folder.path().join("orders.db"));
        let writer = Writer::open(&config).unwrap();
        let instruments = Instruments::new(&mainstay::metrics::Metrics::new("test"));
        let (shared, _head, failed) = Shared::new(&config, &writer, instruments);
        (shared, failed, folder)
    }

    fn waits(shared: &Shared) -> oneshot::Receiver<Result<Forgotten, CommitError>> {
        let (reply, answer) = oneshot::channel();
        let cx = Context::new("waits".parse().unwrap());
        let long_ago = Timestamp::UNIX_EPOCH;
        let cutoff = Cutoff {
            events_before: long_ago,
            now: long_ago,
            unpublished: false,
            receipts_before: long_ago,
        };
        shared.queue.push(&None, Job::Forget { cx, cutoff, limit: 1, reply }).unwrap();
        answer
    }

    #[test]
    fn a_tenant_waits_for_its_turn_and_not_for_a_crowd_of_others() {
        let (shared, _failed, _folder) = shared();
        let tenant: TenantId = "shop".parse().unwrap();
        assert_eq!(shared.expected_wait(&tenant), Duration::ZERO);
        // So slow that what the test itself takes does not count.
        shared.pace.begin(1, now());
        shared.pace.end(1, now() + Duration::from_hours(1));
        assert_eq!(shared.expected_wait(&tenant), Duration::ZERO, "nothing waits");
        let _answers: Vec<_> = (0..9).map(|_| waits(&shared)).collect();
        let expected = shared.expected_wait(&tenant);
        let (least, most) = (Duration::from_mins(50), Duration::from_mins(70));
        assert!((least..most).contains(&expected), "one of nine has its turn before: {expected:?}");
    }

    #[test]
    fn a_panic_of_a_vital_thread_is_the_stores_failure() {
        let (shared, failed, _folder) = shared();
        let vital = Vital(Arc::clone(&shared));
        let thread = spawn("doomed", move || {
            let _vital = vital;
            panic!("on purpose");
        });
        assert!(thread.unwrap().join().is_err());
        assert_eq!(failed.borrow().as_deref(), Some("a thread of the store panicked"));
        assert!(shared.has_failed());
    }

    #[test]
    fn a_vital_thread_that_ends_well_fails_nothing() {
        let (shared, failed, _folder) = shared();
        drop(Vital(Arc::clone(&shared)));
        assert_eq!(*failed.borrow(), None);
    }

    #[test]
    fn what_waits_for_a_writer_that_ended_is_answered() {
        let (shared, _failed, _folder) = shared();
        let mut answer = waits(&shared);
        drop(Answers(Arc::clone(&shared)));
        let answer = answer.try_recv().unwrap();
        assert!(matches!(answer, Err(CommitError::Unavailable(None))), "{answer:?}");
    }
}
