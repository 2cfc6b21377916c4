//! How fast a store's writers are of late, and so how long a change will wait for them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What stays of the older batches with each new one.
const KEPT: f64 = 0.875;
/// After so long without work half of what was slow is forgotten: what made it so may be over.
const HALF_LIFE: Duration = Duration::from_secs(1);

/// What the writers do, told batch by batch.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Changes that were taken and not answered.
    in_work: usize,
    /// Since when these are worked at, or nothing is: the last batch's end, or the first one's begin.
    since: Option<Instant>,
    /// Changes that were answered, and the seconds it took, the older the less.
    changes: f64,
    seconds: f64,
}

impl Pace {
    /// So many were taken.
    pub(crate) fn begin(&self, count: usize, now: Instant) {
        let mut inner = self.lock();
        if inner.in_work == 0 {
            let rested = inner.rested(now);
            inner.seconds *= rested;
            inner.since = Some(now);
        }
        inner.in_work += count;
    }

    /// So many of them are answered. Of batches side by side each has the time since the one before:
    /// together they are that much faster.
    pub(crate) fn end(&self, count: usize, now: Instant) {
        let mut inner = self.lock();
        let took = inner.elapsed(now);
        inner.seconds = inner.seconds.mul_add(KEPT, took);
        inner.changes = inner.changes.mul_add(KEPT, float(count));
        inner.in_work = inner.in_work.saturating_sub(count);
        inner.since = Some(now);
    }

    /// How long a change will wait that has so many before it: none when it has none. A batch that takes
    /// longer than is usual is expected to take as long again.
    pub(crate) fn expected(&self, before: usize, now: Instant) -> Duration {
        if before == 0 {
            return Duration::ZERO;
        }
        let inner = self.lock();
        let mut each = inner.each();
        let mut overdue = 0.0;
        if inner.in_work == 0 {
            each *= inner.rested(now);
        } else {
            overdue = (inner.elapsed(now) - each * float(inner.in_work)).max(0.0);
        }
        let wait = each.mul_add(float(before), overdue);
        Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing here panics half-way, so a poisoned lock still guards what is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The seconds that one change takes.
    fn each(&self) -> f64 {
        if self.changes > 0.0 { self.seconds / self.changes } else { 0.0 }
    }

    /// What a rest since the last work has left of what was slow.
    fn rested(&self, now: Instant) -> f64 {
        0.5_f64.powf(self.elapsed(now) / HALF_LIFE.as_secs_f64())
    }

    fn elapsed(&self, now: Instant) -> f64 {
        self.since.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64())
    }
}

fn float(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// What a batch costs here: a sync, and something for each change.
    fn cost(count: usize) -> Duration {
        2 * MS + Duration::from_micros(50) * u32::try_from(count).unwrap()
    }

    /// A queue before model writers, whose callers come again as soon as they are answered. Each tells,
    /// as it comes, how long it expects to wait.
    struct Model {
        pace: Pace,
        now: Instant,
        waiting: VecDeque<(Instant, Duration)>,
        /// Waits as they were expected and as they were.
        waits: Vec<(Duration, Duration)>,
    }

    impl Model {
        fn new(callers: usize) -> Self {
            let (pace, now) = (Pace::default(), start());
            let mut model = Self { pace, now, waiting: VecDeque::new(), waits: Vec::new() };
            model.come(callers);
            model
        }

        fn come(&mut self, count: usize) {
            for _ in 0..count {
                let expected = self.pace.expected(self.waiting.len(), self.now);
                self.waiting.push_back((self.now, expected));
            }
        }

        fn take(&mut self, most: usize) -> usize {
            let count = most.min(self.waiting.len());
            for (came, expected) in self.waiting.drain(..count) {
                self.waits.push((expected, self.now - came));
            }
            self.pace.begin(count, self.now);
            count
        }

        fn answer(&mut self, count: usize) {
            self.pace.end(count, self.now);
            self.come(count);
        }

        #[track_caller]
        fn is_right_within_a_factor_of_two(&self, after: usize) {
            assert!(self.waits.len() > 2 * after);
            for (expected, was) in &self.waits[after..] {
                assert!(*expected <= 2 * *was && *was <= 2 * *expected, "{expected:?}, {was:?}");
            }
        }
    }

    #[test]
    fn a_wait_is_foretold_within_a_factor_of_two_under_steady_load() {
        for (callers, most) in [(1_000, 64), (4_000, 256), (300, 16)] {
            let mut model = Model::new(callers);
            for _ in 0..400 {
                let count = model.take(most);
                model.now += cost(count);
                model.answer(count);
            }
            model.is_right_within_a_factor_of_two(callers);
        }
    }

    #[test]
    fn writers_side_by_side_are_as_much_faster() {
        let (mut model, most) = (Model::new(1_000), 64);
        // Each begins half-way through the other's batch.
        let half = cost(most) / 2;
        model.take(most);
        model.now += half;
        model.take(most);
        for _ in 0..800 {
            model.now += half;
            model.answer(most);
            model.take(most);
        }
        // Those who came with the first answer have seen one batch, and no two side by side.
        model.is_right_within_a_factor_of_two(1_000 + most);
    }

    #[test]
    fn who_has_nobody_before_it_waits_for_nothing() {
        let (pace, now) = (Pace::default(), start());
        assert_eq!(pace.expected(0, now), Duration::ZERO);
        assert_eq!(pace.expected(9, now), Duration::ZERO, "nothing is known yet");
        pace.begin(10, now);
        assert_eq!(pace.expected(0, now + 500 * MS), Duration::ZERO);
    }

    #[test]
    fn what_was_slow_is_forgotten_while_there_is_nothing_to_do() {
        let (pace, now) = (Pace::default(), start());
        pace.begin(10, now);
        pace.end(10, now + 1_000 * MS);
        let expected = |after: u32| pace.expected(10, now + (1_000 + after) * MS);
        assert_eq!(expected(0), 1_000 * MS);
        assert_eq!(expected(1_000), 500 * MS);
        assert!(expected(10_000) < MS, "{:?}", expected(10_000));
        // The next batch begins from there.
        let later = now + 11_000 * MS;
        pace.begin(10, later);
        assert!(pace.expected(10, later) < MS);
    }

    #[test]
    fn a_batch_that_hangs_is_noticed_while_it_does() {
        let (pace, now) = (Pace::default(), start());
        pace.begin(10, now);
        pace.end(10, now + 10 * MS);
        pace.begin(10, now + 10 * MS);
        assert_eq!(pace.expected(1, now + 20 * MS), MS);
        assert_eq!(pace.expected(1, now + 1_020 * MS), 1_001 * MS);
        pace.end(10, now + 1_020 * MS);
        assert!(pace.expected(1, now + 1_020 * MS) < 100 * MS);
    }
}
