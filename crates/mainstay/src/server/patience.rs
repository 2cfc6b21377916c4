//! How many frames that do no work a peer may send.

use std::time::Duration;
use tokio::time::Instant;

/// What a peer may spend at once.
const BURST: f64 = 1_000.0;
/// What it gets back each second.
const REFILL: f64 = 100.0;
/// What it gets back for an answer: less than a reset costs.
const ANSWER: f64 = 2.0;
/// What it gets back for each [`PART`] of an answer begun: room to open both windows and to ping.
const TAKEN: f64 = 3.0;
const PART: usize = 8 << 10;

/// A bucket of tokens: frames that do no work take some, answers give some back.
///
/// It is filled by answers and not by writes, because our acknowledgements of a flood are writes
/// too.
#[derive(Debug)]
pub(super) struct Patience {
    tokens: f64,
    filled: Instant,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { tokens: BURST, filled: Instant::now() }
    }

    /// Takes `cost`; returns whether there was enough.
    pub(super) fn spend(&mut self, cost: u32) -> bool {
        if cost == 0 {
            return true;
        }
        let now = Instant::now();
        let since: Duration = now - self.filled;
        self.filled = now;
        self.give(since.as_secs_f64() * REFILL);
        self.tokens -= f64::from(cost);
        self.tokens >= 0.0
    }

    /// Whether more than half was spent at the last frame that cost something.
    pub(super) fn is_strained(&self) -> bool {
        self.tokens < BURST / 2.0
    }

    /// A request was answered.
    pub(super) fn answered(&mut self) {
        self.give(ANSWER);
    }

    /// The peer is sent this much of an answer.
    pub(super) fn sent(&mut self, bytes: usize) {
        let parts = u32::try_from(bytes.div_ceil(PART)).unwrap_or(u32::MAX);
        self.give(TAKEN * f64::from(parts));
    }

    fn give(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(BURST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_borne_and_a_flood_is_not() {
        let mut patience = Patience::new();
        assert!((0..1_000).all(|_| patience.spend(1)));
        assert!(!patience.spend(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_trickle_is_borne_for_ever() {
        let mut patience = Patience::new();
        for _ in 0..10_000 {
            advance(Duration::from_millis(10)).await;
            assert!(patience.spend(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_of_a_long_answer_may_open_its_windows() {
        let mut patience = Patience::new();
        for _ in 0..10_000 {
            patience.sent(100);
            assert!(patience.spend(3), "two windows and a ping for each event");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn resets_of_answered_requests_run_out() {
        let mut patience = Patience::new();
        let borne = (0..10_000).take_while(|_| {
            patience.answered();
            patience.spend(5)
        });
        assert!(borne.count() < 400);
    }
}
