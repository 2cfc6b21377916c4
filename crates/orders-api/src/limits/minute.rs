//! How often something happened in the last minute. Time is passed in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The seconds that are kept.
const SECONDS: usize = 60;

/// A number for each of the last seconds, and which second it is of.
#[derive(Debug)]
pub(super) struct Minute {
    start: Instant,
    seconds: Mutex<[(u64, u64); SECONDS]>,
}

impl Minute {
    /// Nothing has happened yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { start: now, seconds: Mutex::new([(0, 0); SECONDS]) }
    }

    /// It has happened.
    pub(super) fn add(&self, now: Instant) {
        let second = self.second(now);
        let mut seconds = self.seconds();
        let (of, count) = &mut seconds[Self::place(second)];
        if *of != second {
            (*of, *count) = (second, 0);
        }
        *count += 1;
    }

    /// How often it has happened in the last sixty seconds, of which the one under way is the last.
    pub(super) fn count(&self, now: Instant) -> u64 {
        let second = self.second(now);
        let is_late = |of: u64| second.saturating_sub(of) < SECONDS as u64;
        self.seconds().iter().filter(|(of, _)| is_late(*of)).map(|(_, count)| count).sum()
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }

    fn place(second: u64) -> usize {
        usize::try_from(second % SECONDS as u64).unwrap_or(0)
    }

    fn seconds(&self) -> MutexGuard<'_, [(u64, u64); SECONDS]> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_older_than_a_minute_does_not_count() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let minute = Minute::new(start);
        for second in [0, 0, 30, 59] {
            minute.add(at(second));
        }
        for (second, count) in [(59, 4), (60, 2), (89, 2), (90, 1), (119, 0), (500, 0)] {
            assert_eq!(minute.count(at(second)), count, "{second}");
        }
        minute.add(at(120));
        assert_eq!(minute.count(at(121)), 1, "in the place of the first");
    }
}
