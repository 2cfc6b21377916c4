//! A change in the queue, and its caller, who waits.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Instant as Deadline,
};

use mainstay_context::{Activity, Context};
use orders::ports::{Answer, Change, CommitError, NotWritten};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{commit, prepared::Prepared};
use crate::instruments::{Queued, now};

/// What a change is answered.
pub(super) type Outcome = Result<Answer, CommitError>;

/// Nobody has taken the work yet.
const WAITING: u8 = 0;
/// A writer has it: it may be written from now on.
const TAKEN: u8 = 1;
/// The caller has given up before anybody took it.
const GONE: u8 = 2;

/// A change that waits for a writer.
pub(super) struct Job {
    cx: Context,
    pub(super) prepared: Prepared,
    pub(super) queued: Queued,
    state: Arc<AtomicU8>,
    was_behind: AtomicBool,
    reply: oneshot::Sender<Outcome>,
}

/// Shows nothing of the change: it holds personal data.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.prepared.change.id).finish()
    }
}

/// What a caller waits with for its change's answer.
pub(super) struct Ticket {
    state: Arc<AtomicU8>,
    answer: oneshot::Receiver<Outcome>,
}

impl Job {
    pub(super) fn new(cx: Context, prepared: Prepared, queued: Queued) -> (Self, Ticket) {
        let (reply, answer) = oneshot::channel();
        let state = Arc::new(AtomicU8::new(WAITING));
        let ticket = Ticket { state: Arc::clone(&state), answer };
        let was_behind = AtomicBool::new(false);
        (Self { cx, prepared, queued, state, was_behind, reply }, ticket)
    }

    pub(super) fn change(&self) -> &Change {
        &self.prepared.change
    }

    pub(super) fn is_new(&self) -> bool {
        commit::new_order(self.change()).is_some()
    }

    /// Whether it is too late to begin with it.
    pub(super) fn is_over(&self) -> bool {
        self.cx.ended(now()).is_some()
    }

    /// Leaves it in the queue, for another that touches the same is under way.
    pub(super) fn stay_behind(&self) {
        self.was_behind.store(true, Ordering::Relaxed);
    }

    /// Whether it stayed behind another, which mostly decided on it by now.
    pub(super) fn was_behind(&self) -> bool {
        self.was_behind.load(Ordering::Relaxed)
    }

    /// Takes it off its caller's hands, if that still waits.
    pub(super) fn take(&self, taken: Instant) -> bool {
        if self.is_over() {
            return false;
        }
        let was = self.state.compare_exchange(WAITING, TAKEN, Ordering::AcqRel, Ordering::Acquire);
        if was.is_ok() {
            self.cx.enter(Activity::Storing, taken.into_std());
        }
        was.is_ok()
    }

    /// Answers a caller, who may be gone: what was committed stays committed.
    pub(super) fn answer(self, outcome: Outcome) {
        drop(self.reply.send(outcome));
    }
}

impl Ticket {
    /// The answer, by the deadline: what no writer had taken by then is not written.
    pub(super) async fn answer(self, deadline: Option<Deadline>) -> Outcome {
        let Self { state, answer } = self;
        // A writer that is gone may have written before it went.
        let answered = async { answer.await.unwrap_or(Err(CommitError::OutcomeUnknown)) };
        let Some(deadline) = deadline else { return answered.await };
        if let Ok(outcome) = timeout_at(Instant::from_std(deadline), answered).await {
            return outcome;
        }
        let was = state.compare_exchange(WAITING, GONE, Ordering::AcqRel, Ordering::Acquire);
        Err(match was {
            Ok(_) => CommitError::NotWritten(NotWritten::Expired),
            Err(_) => CommitError::OutcomeUnknown,
        })
    }
}
