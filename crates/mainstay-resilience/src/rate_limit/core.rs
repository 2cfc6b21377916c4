//! The arithmetic of one key: GCRA in whole nanoseconds. No lock, no clock.
//!
//! `owed` is the time by which all that was asked is paid for; a key whose time has passed owes nothing.

use super::{Left, Refused, pace::Moment};
use std::{num::NonZeroU32, time::Duration};

/// The longest time that anything is paid by, 146 years: sums of it still fit, and so are compared right.
const LONGEST: u64 = u64::MAX / 4;

/// So much in a time, and so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: NonZeroU32,
    period: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// `count` in each `period`, of which `burst` may be asked at once. More than one for each
    /// nanosecond is as much as one.
    pub const fn new(count: NonZeroU32, period: Duration, burst: NonZeroU32) -> Self {
        Self { count, period, burst }
    }

    /// What may be asked at once.
    pub const fn burst(self) -> u32 {
        self.burst.get()
    }

    /// The limit as a quota for a window of whole seconds, the shortest in which the burst is paid for.
    pub fn policy(self) -> (u64, u64) {
        let count = u128::from(self.count.get()) * Duration::from_secs(1).as_nanos();
        let window = (u128::from(self.burst()) * self.nanoseconds()).div_ceil(count);
        let quota = window * count / self.nanoseconds();
        (bounded(quota), bounded(window))
    }

    /// Takes `cost`, or says when that can be had.
    pub(super) fn take(self, owed: &mut u64, cost: u32, at: Moment) -> Result<Left, Refused> {
        let from = (*owed).max(at.now);
        if cost > self.burst() {
            return Err(Refused { retry_after: None, left: self.left(from, at) });
        }
        let after = from.saturating_add(self.price(cost));
        let limit = at.now.saturating_add(at.share.of(self.tolerance()));
        // Who owes nothing may ask for the whole burst, though the share's may be less: or it never could.
        if cost == 0 || after <= limit || *owed <= at.now {
            *owed = after;
            return Ok(self.left(after, at));
        }
        let wait = after.saturating_sub(limit).min(from.saturating_sub(at.now));
        Err(Refused { retry_after: Some(at.share.takes(wait)), left: self.left(from, at) })
    }

    /// How many a second.
    pub fn per_second(self) -> f64 {
        f64::from(self.count.get()) / self.period.as_secs_f64()
    }

    /// Whether who owes this could have nothing now.
    pub(super) fn is_spent(self, mut owed: u64, at: Moment) -> bool {
        self.take(&mut owed, 1, at).is_err()
    }

    /// Has `cost` owed, whatever is left.
    pub(super) fn charge(self, owed: &mut u64, cost: u32, at: Moment) {
        *owed = (*owed).max(at.now).saturating_add(self.price(cost));
    }

    fn left(self, owed: u64, at: Moment) -> Left {
        let limit = at.now.saturating_add(at.share.of(self.tolerance()));
        let remaining = limit.saturating_sub(owed) / self.price(1);
        Left { remaining, reset: at.share.takes(owed.saturating_sub(at.now)) }
    }

    /// The time that pays for `cost`. Rounded up: the rate is never more than was said.
    fn price(self, cost: u32) -> u64 {
        let one = self.nanoseconds().div_ceil(u128::from(self.count.get()));
        bounded(one.max(1) * u128::from(cost)).min(LONGEST)
    }

    /// The time that pays for the burst.
    fn tolerance(self) -> u64 {
        self.price(self.burst())
    }

    fn nanoseconds(self) -> u128 {
        self.period.as_nanos().max(1)
    }
}

fn bounded(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::Share;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(count: u32, burst: u32) -> Rate {
        let some = |number| NonZeroU32::new(number).unwrap();
        Rate::new(some(count), Duration::from_secs(1), some(burst))
    }

    fn whole(now: u64) -> Moment {
        Moment { now, share: Share::WHOLE }
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate() {
        let (rate, mut owed) = (rate(10, 3), 0);
        for remaining in [2, 1, 0] {
            assert_eq!(rate.take(&mut owed, 1, whole(0)).unwrap().remaining, remaining);
        }
        let refused = rate.take(&mut owed, 1, whole(0)).unwrap_err();
        assert_eq!(refused.retry_after, Some(Duration::from_millis(100)));
        let left = Left { remaining: 0, reset: Duration::from_millis(300) };
        assert_eq!(refused.left, left);
        assert!(rate.take(&mut owed, 1, whole(SECOND / 10 - 1)).is_err());
        assert!(rate.take(&mut owed, 1, whole(SECOND / 10)).is_ok());
        // However long nothing is asked, no more than the burst is saved up.
        assert_eq!(
            (0..9).filter(|_| rate.take(&mut owed, 1, whole(60 * SECOND)).is_ok()).count(),
            3
        );
    }

    #[test]
    fn a_cost_is_taken_as_a_whole_or_not_at_all() {
        let (rate, mut owed) = (rate(10, 10), 0);
        assert_eq!(rate.take(&mut owed, 7, whole(0)).unwrap().remaining, 3);
        let refused = rate.take(&mut owed, 5, whole(0)).unwrap_err();
        let expected = (Some(Duration::from_millis(200)), 3);
        assert_eq!((refused.retry_after, refused.left.remaining), expected);
        assert_eq!(rate.take(&mut owed, 3, whole(0)).unwrap().remaining, 0);
        assert!(rate.take(&mut owed, 0, whole(0)).is_ok());
    }

    #[test]
    fn what_costs_more_than_the_burst_is_refused_for_good() {
        let (rate, mut owed) = (rate(10, 10), 0);
        let refused = rate.take(&mut owed, 11, whole(0)).unwrap_err();
        assert_eq!((refused.retry_after, refused.left.remaining, owed), (None, 10, 0));
        assert_eq!(refused.to_string(), "more than the rate limit allows at once");
    }

    #[test]
    fn a_burst_that_takes_ages_to_pay_for_is_a_limit_all_the_same() {
        let some = |number| NonZeroU32::new(number).unwrap();
        let rate = Rate::new(some(1), Duration::from_hours(10_000), some(u32::MAX));
        let mut owed = 0;
        assert!(rate.take(&mut owed, u32::MAX, whole(0)).is_ok());
        assert!(rate.take(&mut owed, 1, whole(SECOND)).is_err());
    }

    #[test]
    fn a_charge_is_owed_beyond_the_burst() {
        let (rate, mut owed) = (rate(10, 10), 0);
        rate.charge(&mut owed, 20, whole(0));
        let refused = rate.take(&mut owed, 1, whole(0)).unwrap_err();
        assert_eq!(refused.retry_after, Some(Duration::from_millis(1_100)));
    }

    #[test]
    fn half_a_share_has_half_the_burst_and_a_lone_request_passes_nevertheless() {
        let half = |now| Moment { now, share: Share::millionths(500_000) };
        let (rate, mut owed) = (rate(10, 10), 0);
        assert_eq!((0..9).filter(|_| rate.take(&mut owed, 1, half(0)).is_ok()).count(), 5);
        let refused = rate.take(&mut owed, 1, half(0)).unwrap_err();
        assert_eq!(refused.retry_after, Some(Duration::from_millis(200)));
        let mut owed = 0;
        assert!(rate.take(&mut owed, 8, half(0)).is_ok());
        let refused = rate.take(&mut owed, 1, half(0)).unwrap_err();
        assert_eq!(refused.retry_after, Some(Duration::from_millis(800)), "it is paid for");
    }

    #[test]
    fn a_policy_is_told_in_whole_seconds() {
        for (count, burst, expected) in
            [(100, 100, (100, 1)), (100, 20, (100, 1)), (100, 150, (200, 2)), (3, 3, (3, 1))]
        {
            assert_eq!(rate(count, burst).policy(), expected, "{count} {burst}");
        }
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_the_burst_and_what_the_rate_gives(
            (count, burst) in (1_u32..5_000, 1_u32..50),
            steps in prop::collection::vec((0_u64..SECOND / 10, 0_u32..8), 1..120)
        ) {
            let (rate, mut owed, mut now) = (rate(count, burst), 0, 0);
            let mut passed: Vec<(u64, u128)> = Vec::new();
            for (step, cost) in steps {
                now += step;
                match rate.take(&mut owed, cost, whole(now)) {
                    Ok(_) => passed.push((now, cost.into())),
                    Err(Refused { retry_after: Some(after), .. }) => {
                        let then = now + u64::try_from(after.as_nanos()).unwrap();
                        let passes = |at, mut owed| rate.take(&mut owed, cost, whole(at)).is_ok();
                        prop_assert!(passes(then, owed) && !passes(then - 1, owed));
                    }
                    Err(Refused { retry_after: None, .. }) => prop_assert!(cost > burst),
                }
            }
            let second = u128::from(SECOND);
            for (at, (first, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (last, cost) in &passed[at..] {
                    sum += cost;
                    let given = u128::from(last - first) * u128::from(count);
                    prop_assert!(sum * second <= u128::from(burst) * second + given);
                }
            }
        }
    }
}
