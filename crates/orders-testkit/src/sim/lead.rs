//! Who carries the feed out: one process at a time, as far as the store can tell.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// The lock that couriers take, each by its number; and which of them stand still.
#[derive(Debug, Default)]
pub(super) struct Lead {
    turn: u64,
    holder: Option<(usize, u64)>,
    /// The turns that ended before their courier let go, and when it hears of that.
    lost: BTreeMap<u64, Instant>,
    stopped: BTreeMap<usize, Instant>,
}

impl Lead {
    /// The courier's turn, if it is nobody else's.
    pub(super) fn take(&mut self, courier: usize) -> Option<u64> {
        if self.holder.is_some() {
            return None;
        }
        self.turn += 1;
        self.holder = Some((courier, self.turn));
        Some(self.turn)
    }

    /// Whoever leads stands still for a while, its connection is taken for dead, and it hears of that
    /// some time after it goes on.
    pub(super) fn stop(&mut self, stands: Duration, unaware: Duration) {
        if let Some((courier, turn)) = self.holder.take() {
            let goes_on = Instant::now() + stands;
            self.stopped.insert(courier, goes_on);
            self.lost.insert(turn, goes_on + unaware);
        }
    }

    /// A courier's process died, and its connection with it.
    pub(super) fn died(&mut self, courier: usize) {
        self.stopped.remove(&courier);
        self.holder = self.holder.filter(|(holder, _)| *holder != courier);
    }

    /// Until when a courier stands still, if it does.
    pub(super) fn stands_still(&self, courier: usize) -> Option<Instant> {
        self.stopped.get(&courier).copied().filter(|until| *until > Instant::now())
    }

    /// When somebody whose turn this was hears that it is over, if it is.
    pub(super) fn is_lost(&self, turn: u64) -> Option<Instant> {
        self.lost.get(&turn).copied()
    }
}
