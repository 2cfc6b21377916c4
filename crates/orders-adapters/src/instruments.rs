//! What a store measures of itself, and tells of its callers.

use std::time::Duration;

use mainstay::metrics::{Counter, Histogram, Metrics};
use mainstay_context::{Activity, Context};
use tokio::time::Instant;
use tracing::Span;

/// Upper bounds in seconds: from a read out of memory to a disk in trouble.
pub(crate) const TIMES: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
const CHANGES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Since when a change is queued, and the span of its commit, which its writer tells how that went.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) since: Instant,
    pub(crate) span: Span,
}

/// A caller that waits for a store: it is queued until its work is taken, and works on when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Waiting(Context);

impl Waiting {
    pub(crate) fn begin(cx: &Context) -> Self {
        cx.enter(Activity::Queued, now());
        Self(cx.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.enter(Activity::Working, now());
    }
}

/// Monotonic time, as deadlines have it.
pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Where a store reports to.
#[derive(Clone, Debug)]
pub(crate) struct Instruments {
    pub(crate) commit_wait: Histogram,
    pub(crate) commit: Histogram,
    pub(crate) batch: Histogram,
    pub(crate) read_wait: Histogram,
    pub(crate) read: Histogram,
    pub(crate) unreadable_tasks: Counter,
}

impl Instruments {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let time = |name: &str, help: &str| metrics.histogram(name, help, &[], TIMES);
        Self {
            commit_wait: time("commit_queue_wait_seconds", "Time a change waited for the writer"),
            commit: time(
                "commit_duration_seconds",
                "Time of a transaction of changes with its sync, and with the log's move where that is due",
            ),
            batch: metrics.histogram(
                "commit_batch_changes",
                "Changes that one transaction held",
                &[],
                CHANGES,
            ),
            read_wait: time("read_queue_wait_seconds", "Time a read waited for a reader"),
            read: time("read_duration_seconds", "Time a read took once it began"),
            unreadable_tasks: metrics.counter(
                "tasks_unreadable_total",
                "Tasks that cannot be read and were left aside until the next start",
                &[],
            ),
        }
    }

    /// A change was taken, in time or not.
    pub(crate) fn waited(&self, queued: &Queued, taken: Instant) {
        let seconds = taken.saturating_duration_since(queued.since).as_secs_f64();
        self.commit_wait.observe(seconds, &[]);
        queued.span.record("queue_wait_seconds", seconds);
    }

    /// A transaction of this many changes took this long.
    pub(crate) fn committed(&self, changes: usize, took: Duration) {
        self.commit.observe(took.as_secs_f64(), &[]);
        self.batch.observe(u32::try_from(changes).map_or(f64::INFINITY, f64::from), &[]);
    }
}

/// What the store did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Changes answered.
    pub changes: u64,
    /// Transactions they took.
    pub batches: u64,
    /// Bytes in the embedded store's write-ahead log since it last started over.
    pub wal_bytes: u64,
    /// What became of reads.
    pub reads: ReadCounters,
}

/// What became of the reads that were taken up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounters {
    /// Run to their end, well or badly.
    pub finished: u64,
    /// Stopped half-way, because their time was spent or their caller gone.
    pub interrupted: u64,
    /// Not begun, because that was so already when their turn came.
    pub expired: u64,
}
