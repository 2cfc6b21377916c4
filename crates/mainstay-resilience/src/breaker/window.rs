//! What the calls of the last while came to.

use std::time::{Duration, Instant};

/// How finely the window forgets: a tenth of it at a time.
const BUCKETS: usize = 10;

/// How calls ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

impl Counts {
    pub(super) fn one(failure: bool, slow: bool) -> Self {
        Self { calls: 1, failures: failure.into(), slow: slow.into() }
    }

    fn add(&mut self, more: Self) {
        self.calls = self.calls.saturating_add(more.calls);
        self.failures = self.failures.saturating_add(more.failures);
        self.slow = self.slow.saturating_add(more.slow);
    }
}

/// A ring of time buckets: what is older than the window is forgotten, however much of it there
/// was.
#[derive(Debug)]
pub(super) struct Window {
    start: Instant,
    width: Duration,
    ring: [Bucket; BUCKETS],
    latest: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    tick: u64,
    counts: Counts,
}

impl Window {
    pub(super) fn new(length: Duration, start: Instant) -> Self {
        let width = (length / 10).max(Duration::from_micros(1));
        Self { start, width, ring: [Bucket::default(); BUCKETS], latest: 0 }
    }

    pub(super) fn add(&mut self, counts: Counts, now: Instant) {
        // Two threads may tell in another order than they looked at the clock.
        self.latest = self.latest.max(self.tick(now));
        let bucket = &mut self.ring[slot(self.latest)];
        if bucket.tick != self.latest {
            *bucket = Bucket { tick: self.latest, counts: Counts::default() };
        }
        bucket.counts.add(counts);
    }

    /// What was added in the window that ends at `now`.
    pub(super) fn total(&self, now: Instant) -> Counts {
        let latest = self.latest.max(self.tick(now));
        let mut total = Counts::default();
        for bucket in &self.ring {
            // Not `tick > latest - BUCKETS`, which would underflow in the first window.
            if latest - bucket.tick.min(latest) < BUCKETS as u64 {
                total.add(bucket.counts);
            }
        }
        total
    }

    fn tick(&self, now: Instant) -> u64 {
        let ticks = now.saturating_duration_since(self.start).as_nanos() / self.width.as_nanos();
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

fn slot(tick: u64) -> usize {
    usize::try_from(tick % BUCKETS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    proptest! {
        #[test]
        fn the_window_counts_what_a_list_with_times_counts(
            steps in prop::collection::vec((0_u32..300, any::<bool>(), any::<bool>()), 1..200)
        ) {
            let (start, mut at) = (start(), 0);
            let mut window = Window::new(1_000 * MS, start);
            let mut list = Vec::new();
            for (step, failure, slow) in steps {
                at += step;
                let counts = Counts::one(failure, slow);
                window.add(counts, start + at * MS);
                list.push((at, counts));
                // The current bucket of 100 ms, and the nine before it.
                let oldest = (at / 100).saturating_sub(9) * 100;
                let mut expected = Counts::default();
                list.iter().filter(|(at, _)| *at >= oldest).for_each(|(_, one)| expected.add(*one));
                prop_assert_eq!(window.total(start + at * MS), expected);
            }
            prop_assert_eq!(window.total(start + (at + 1_100) * MS), Counts::default());
        }
    }

    #[test]
    fn a_time_before_the_latest_is_taken_for_the_latest() {
        let start = start();
        let mut window = Window::new(1_000 * MS, start);
        window.add(Counts::one(true, false), start + 5_000 * MS);
        window.add(Counts::one(true, false), start);
        assert_eq!(window.total(start + 5_000 * MS).failures, 2);
    }
}
