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
    /// How long whoever leads is to stand still, and to be unaware, once it has something in hand.
    wanted: Option<(Duration, Duration)>,
    /// Who is in a round, and how often it has waited there.
    in_round: BTreeMap<usize, u32>,
}

/// How often a courier has waited in a round when it is stopped: it has read by then, and not yet noted
/// what it published.
const IN_HAND: u32 = 3;

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

    /// Whoever leads when it next has something in hand stands still for a while, its connection is taken
    /// for dead, and it hears of that some time after it goes on.
    pub(super) fn stop(&mut self, stands: Duration, unaware: Duration) {
        self.wanted = Some((stands, unaware));
    }

    /// A courier begins a round.
    pub(super) fn begins(&mut self, courier: usize) {
        self.in_round.insert(courier, 0);
    }

    /// Its round is over.
    pub(super) fn ends(&mut self, courier: usize) {
        self.in_round.remove(&courier);
    }

    /// It waits for something; whether it is stopped at that.
    pub(super) fn waits(&mut self, courier: usize) -> bool {
        let Some(waited) = self.in_round.get_mut(&courier) else { return false };
        *waited += 1;
        if *waited < IN_HAND || self.holder.is_none_or(|(holder, _)| holder != courier) {
            return false;
        }
        let (Some((stands, unaware)), Some((_, turn))) = (self.wanted.take(), self.holder) else {
            return false;
        };
        self.holder = None;
        let goes_on = Instant::now() + stands;
        self.stopped.insert(courier, goes_on);
        self.lost.insert(turn, goes_on + unaware);
        true
    }

    /// A courier's process died, and its connection with it.
    pub(super) fn died(&mut self, courier: usize) {
        self.stopped.remove(&courier);
        self.in_round.remove(&courier);
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
