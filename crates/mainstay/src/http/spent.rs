//! The cap on rejecting requests that arrive with a spent deadline.
//!
//! Nobody waits for such a request, so it is rejected before any work. But a peer whose idea of
//! time is wrong sends nothing else, and a service that rejects all of it is down for that peer.
//! So at most a fifth of the requests that bring a deadline are rejected in ten seconds; the
//! others are served as if they had brought none. The figures are those of Finagle's
//! `DeadlineFilter`: `rejectPeriod` 10 s, `maxRejectFraction` 0.2
//! (<https://twitter.github.io/finagle/docs/com/twitter/finagle/service/DeadlineFilter.html>).
//!
//! Guarantee: shared by all clones, never more than the share, counted when a request arrives.
//! Not guaranteed: fairness between peers; and the window moves in steps of a second.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// One in so many may be rejected.
const SHARE: u64 = 5;
/// A quieter window counts as this many requests, so that a lone late one is rejected too.
const LEAST_VOLUME: u64 = 10;
/// The window is this many steps.
const STEPS: u64 = 10;
const STEP: Duration = Duration::from_secs(1);

/// Counts requests with a deadline, and which of them were rejected. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(super) struct SpentDeadlines(Arc<Mutex<Window>>);

#[derive(Debug, Default)]
struct Window {
    /// When the first request came: steps are counted from there.
    start: Option<Instant>,
    /// The steps of the last window in which something came, the oldest first.
    steps: VecDeque<Step>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    number: u64,
    arrived: u64,
    rejected: u64,
}

impl SpentDeadlines {
    /// Counts a request that brought a deadline; `true` when it is spent and to be rejected.
    pub(super) fn reject(&self, spent: bool, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reject(spent, now)
    }
}

impl Window {
    fn reject(&mut self, spent: bool, now: Instant) -> bool {
        let number = now.saturating_duration_since(*self.start.get_or_insert(now)).as_secs()
            / STEP.as_secs();
        self.steps.retain(|step| step.number + STEPS > number);
        if self.steps.back().is_none_or(|last| last.number < number) {
            self.steps.push_back(Step { number, ..Step::default() });
        }
        let arrived = 1 + self.steps.iter().map(|step| step.arrived).sum::<u64>();
        let rejected = 1 + self.steps.iter().map(|step| step.rejected).sum::<u64>();
        let reject = spent && rejected * SHARE <= arrived.max(LEAST_VOLUME);
        if let Some(last) = self.steps.back_mut() {
            last.arrived += 1;
            last.rejected += u64::from(reject);
        }
        reject
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn rejections(deadlines: &SpentDeadlines, spent: bool, count: usize) -> usize {
        (0..count).filter(|_| deadlines.reject(spent, Instant::now())).count()
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_thousand_spent_requests_a_fifth_is_rejected() {
        let deadlines = SpentDeadlines::default();
        assert_eq!(rejections(&deadlines, true, 1_000), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn the_share_holds_in_every_window_of_a_long_skew() {
        let deadlines = SpentDeadlines::default();
        let mut seconds = Vec::new();
        for _ in 0..60 {
            seconds.push(rejections(&deadlines, true, 37));
            advance(STEP).await;
        }
        for window in seconds.windows(10) {
            let rejected: usize = window.iter().sum();
            assert!(rejected <= 37 * 10 / 5, "{window:?}");
        }
        // And it is used: a late request is not worked for when there is room.
        assert!(seconds.iter().sum::<usize>() >= 37 * 60 / 5 - 10, "{seconds:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_time_make_room_and_are_never_rejected() {
        let deadlines = SpentDeadlines::default();
        assert_eq!(rejections(&deadlines, false, 100), 0);
        assert_eq!(rejections(&deadlines, true, 20), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_late_request_is_rejected_and_a_few_more_are_not() {
        let deadlines = SpentDeadlines::default();
        assert_eq!(rejections(&deadlines, true, 9), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_counted_is_forgotten_after_the_window() {
        let deadlines = SpentDeadlines::default();
        assert_eq!(rejections(&deadlines, true, 9), 2);
        advance(STEP * 9).await;
        assert_eq!(rejections(&deadlines, true, 1), 0);
        advance(STEP).await;
        assert_eq!(rejections(&deadlines, true, 1), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn clones_share_the_counts() {
        let deadlines = SpentDeadlines::default();
        let clones: Vec<_> = (0..100).map(|_| deadlines.clone()).collect();
        let rejected = clones.iter().filter(|clone| clone.reject(true, Instant::now())).count();
        assert_eq!(rejected, 20);
    }
}
