//! How fast tasks are begun: as fast as they come, but for a time after the provider was away.
//!
//! While its breaker is open nothing is begun: what is due waits in its order, with nothing written
//! and nobody's next try put off. Once calls flow again, what has waited is not thrown at a provider
//! that has just come back: until it is done, no more is begun than a third above what was usual,
//! and twice as much with each five minutes that this is too little.
//!
//! Deliberately absent: a clock, and a limit while nothing was wrong.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use mainstay_resilience::breaker::State;

/// The time between two looks while fewer are begun than could be.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// The seconds that say what is usual.
const MEMORY: usize = 60;
/// The least that is begun in a minute while it catches up: of a service that was at rest nobody
/// knows what it can do.
const LEAST: u64 = 600;
const MINUTE: Duration = Duration::from_mins(1);
/// After each such time of catching up the pace is doubled: more may come in than before.
const DOUBLES: Duration = Duration::from_mins(5);
/// The same while nothing is known of what is usual, as after a restart.
const DOUBLES_BLINDLY: Duration = Duration::from_secs(30);

/// Who may begin how much, and how much that usually is.
#[derive(Debug)]
pub(super) struct Pace {
    /// Tasks begun in each of the last whole seconds in which nothing was wrong.
    usual: VecDeque<u64>,
    /// The second that is not over.
    second: (Instant, u64),
    behind: Option<Behind>,
}

/// It has to catch up.
#[derive(Clone, Copy, Debug)]
struct Behind {
    /// Since when calls flow.
    flows: Instant,
    /// Up to when the tasks that time allows were begun.
    used: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { usual: VecDeque::new(), second: (now, 0), behind: None }
    }

    /// How many tasks may be begun now, of the `free` that could be; `in_hand` are under way.
    pub(super) fn share(
        &mut self,
        provider: State,
        (free, in_hand): (usize, usize),
        now: Instant,
    ) -> usize {
        if provider != State::Closed {
            self.behind = Some(Behind { flows: now, used: now });
        }
        match (provider, self.behind) {
            (State::Open, _) => 0,
            // One after the other: each is a probe.
            (State::HalfOpen, _) => usize::from(in_hand == 0).min(free),
            (State::Closed, Some(behind)) => free.min(self.earned(behind, now)),
            (State::Closed, None) => free,
        }
    }

    /// Whether fewer are begun than could be.
    pub(super) const fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// So many were begun of those that might be, which may take so many calls.
    pub(super) fn began(
        &mut self,
        share: usize,
        (begun, calls): (usize, usize),
        provider: State,
        now: Instant,
    ) {
        match (self.behind, provider) {
            (Some(_), State::Closed) if begun < share => {
                // Nothing waits any more.
                self.behind = None;
                self.second = (now, 0);
            }
            (Some(behind), State::Closed) => {
                let used = behind.used + self.time_of(calls, behind, now);
                self.behind = Some(Behind { used, ..behind });
            }
            (Some(_), State::Open | State::HalfOpen) => {}
            (None, _) => self.count(begun, now),
        }
    }

    /// Tasks that may be begun in a minute while it catches up.
    fn per_minute(&self, behind: Behind, now: Instant) -> u64 {
        let seconds = u64::try_from(self.usual.len().max(1)).unwrap_or(u64::MAX);
        let usual = self.usual.iter().sum::<u64>().saturating_mul(60) / seconds;
        let time = now.saturating_duration_since(behind.flows).as_secs();
        let doubles = if self.usual.is_empty() { DOUBLES_BLINDLY } else { DOUBLES };
        let doublings = u32::try_from(time / doubles.as_secs()).unwrap_or(u32::MAX).min(20);
        (usual.saturating_mul(4) / 3).max(LEAST).saturating_mul(1 << doublings)
    }

    /// How many the time allows that is not used. What a slow loop has missed is not made up for.
    fn earned(&mut self, behind: Behind, now: Instant) -> usize {
        let used = behind.used.max(now.checked_sub(2 * TICK).unwrap_or(behind.used));
        self.behind = Some(Behind { used, ..behind });
        let time = now.saturating_duration_since(used);
        let earned = u128::from(self.per_minute(behind, now)) * time.as_micros();
        usize::try_from(earned / MINUTE.as_micros()).unwrap_or(usize::MAX)
    }

    /// The time that so many take.
    fn time_of(&self, calls: usize, behind: Behind, now: Instant) -> Duration {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        let most = u32::try_from(self.per_minute(behind, now)).unwrap_or(u32::MAX);
        MINUTE.saturating_mul(calls) / most.max(1)
    }

    fn count(&mut self, begun: usize, now: Instant) {
        while now.saturating_duration_since(self.second.0) >= Duration::from_secs(1) {
            if self.usual.len() == MEMORY {
                self.usual.pop_front();
            }
            self.usual.push_back(self.second.1);
            // Of a long rest only what is remembered counts.
            let oldest = now.checked_sub(MINUTE);
            let next = self.second.0 + Duration::from_secs(1);
            self.second = (oldest.map_or(next, |oldest| oldest.max(next)), 0);
        }
        self.second.1 = self.second.1.saturating_add(u64::try_from(begun).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    const FREE: (usize, usize) = (64, 0);

    /// A worker that began twenty tasks a second for half a minute, and the time then.
    fn used_to_twenty() -> (Pace, Instant) {
        let mut now = now();
        let mut pace = Pace::new(now);
        for _ in 0..600 {
            now += Duration::from_millis(50);
            assert_eq!(pace.share(State::Closed, FREE, now), 64);
            pace.began(64, (1, 1), State::Closed, now);
        }
        (pace, now)
    }

    /// What it begins in each second while there is more than enough to do, of so many calls each.
    fn catches_up(
        pace: &mut Pace,
        now: &mut Instant,
        (seconds, calls): (usize, usize),
    ) -> Vec<usize> {
        let second = |_| {
            (0..20).fold(0, |sum, _| {
                *now += TICK;
                let share = pace.share(State::Closed, FREE, *now);
                pace.began(share, (share, share * calls), State::Closed, *now);
                sum + share
            })
        };
        (0..seconds).map(second).collect()
    }

    #[test]
    fn nothing_is_begun_while_the_provider_is_away_and_one_at_a_time_to_probe_it() {
        let (mut pace, now) = used_to_twenty();
        assert_eq!(pace.share(State::Open, FREE, now), 0);
        assert_eq!(pace.share(State::HalfOpen, FREE, now), 1);
        assert_eq!(pace.share(State::HalfOpen, (63, 1), now), 0);
    }

    #[test]
    fn after_an_outage_a_third_more_than_usual_is_begun_until_nothing_waits() {
        let (mut pace, mut now) = used_to_twenty();
        assert_eq!(pace.share(State::Open, FREE, now), 0);
        now += Duration::from_mins(1);
        assert_eq!(pace.share(State::HalfOpen, FREE, now), 1);
        let seconds = catches_up(&mut pace, &mut now, (60, 1));
        assert!(seconds.iter().all(|begun| (25..=27).contains(begun)), "{seconds:?}");
        now += TICK;
        let share = pace.share(State::Closed, FREE, now);
        pace.began(share, (share - 1, share - 1), State::Closed, now);
        assert!(!pace.is_behind());
        assert_eq!(pace.share(State::Closed, FREE, now), 64);
    }

    #[test]
    fn what_may_take_two_calls_counts_twice() {
        let (mut pace, mut now) = used_to_twenty();
        assert_eq!(pace.share(State::Open, FREE, now), 0);
        let seconds = catches_up(&mut pace, &mut now, (30, 2));
        assert!(seconds.iter().all(|begun| (12..=14).contains(begun)), "{seconds:?}");
    }

    #[test]
    fn what_is_too_slow_for_what_comes_in_is_doubled_in_time() {
        let (mut pace, mut now) = used_to_twenty();
        assert_eq!(pace.share(State::Open, FREE, now), 0);
        catches_up(&mut pace, &mut now, (301, 1));
        assert!(catches_up(&mut pace, &mut now, (1, 1))[0] >= 50);
    }

    #[test]
    fn a_loop_that_was_late_does_not_make_up_for_it_at_once() {
        let (mut pace, mut now) = used_to_twenty();
        assert_eq!(pace.share(State::Open, FREE, now), 0);
        now += Duration::from_secs(30);
        assert!(pace.share(State::Closed, FREE, now) <= 3);
    }

    #[test]
    fn a_worker_that_was_at_rest_catches_up_at_ten_a_second() {
        let mut now = now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.share(State::Open, FREE, now), 0);
        let seconds = catches_up(&mut pace, &mut now, (10, 1));
        assert_eq!(seconds.iter().sum::<usize>(), 100);
        now += Duration::from_hours(1);
        pace.began(1, (0, 0), State::Closed, now);
        assert!(!pace.is_behind());
    }
}
