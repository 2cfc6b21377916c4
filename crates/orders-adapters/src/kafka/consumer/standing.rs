//! How a consumer stands, for the status page.

use std::sync::{Mutex, MutexGuard, PoisonError};

use orders::ports::Clock as _;

use crate::SystemClock;

/// How a consumer stands. Whoever does something notes it here.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<Now>);

#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    /// The partitions that are its own; `None` while the group gives it none and may.
    pub(super) partitions: Option<Vec<i32>>,
    /// How many of their records the group is not done with; `None` while nobody could tell.
    pub(super) lag: Option<i64>,
    /// How many records it has taken and is not done with.
    pub(super) in_hand: usize,
    /// What went wrong last.
    pub(super) last_error: Option<String>,
    /// When that was.
    pub(super) last_error_at: Option<String>,
}

impl Standing {
    pub(super) fn now(&self) -> Now {
        self.noted().clone()
    }

    pub(super) fn assigned(&self, partitions: Vec<i32>) {
        self.noted().partitions = Some(partitions);
    }

    /// The group takes all of its partitions, or it left the group.
    pub(super) fn revoked(&self) {
        let mut now = self.noted();
        now.partitions = None;
        now.lag = None;
    }

    pub(super) fn behind(&self, lag: Option<i64>) {
        self.noted().lag = lag;
    }

    pub(super) fn in_hand(&self, records: usize) {
        self.noted().in_hand = records;
    }

    pub(super) fn failed(&self, error: &str) {
        let at = SystemClock.now().to_string();
        let mut now = self.noted();
        now.last_error = Some(error.to_owned());
        now.last_error_at = Some(at);
    }

    fn noted(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
