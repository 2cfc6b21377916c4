//! The time by which everything is paid: as fast as the share of this process.

use std::time::Duration;

const MILLION: u64 = 1_000_000;

/// The longest time that is told to whoever has to wait while the share is not the whole: it may be
/// another one soon.
const SOON: Duration = Duration::from_secs(5);

/// The part of a limit that one of several processes may let pass. All of them together are at most the
/// whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u32);

impl Share {
    /// All of it: there is no other process.
    pub const WHOLE: Self = Self(1_000_000);

    /// So many millionths of it, at most the whole.
    pub fn millionths(count: u32) -> Self {
        Self(count).min(Self::WHOLE)
    }

    /// How many millionths it is.
    pub const fn as_millionths(self) -> u32 {
        self.0
    }

    /// This part of a time.
    pub(super) fn of(self, time: u64) -> u64 {
        let part = u128::from(time) * u128::from(self.0) / u128::from(MILLION);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// How long this share takes for what the whole would do in `time`.
    pub(super) fn takes(self, time: u64) -> Duration {
        if self == Self::WHOLE {
            return Duration::from_nanos(time);
        }
        let time = u128::from(time) * u128::from(MILLION);
        let time = time.div_ceil(u128::from(self.0.max(1)));
        Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX)).min(SOON)
    }
}

/// The time of a limiter, in nanoseconds that the whole limit would have taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: u64,
    pub(super) share: Share,
}

/// How fast that time goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When the share was set, by the clock.
    set: u64,
    /// What the time was then.
    then: u64,
    share: Share,
}

impl Default for Pace {
    fn default() -> Self {
        Self { set: 0, then: 0, share: Share::WHOLE }
    }
}

impl Pace {
    pub(super) const fn share(&self) -> Share {
        self.share
    }

    pub(super) fn at(&self, since: u64) -> Moment {
        let passed = self.share.of(since.saturating_sub(self.set));
        Moment { now: self.then.saturating_add(passed), share: self.share }
    }

    pub(super) fn set(&mut self, share: Share, since: u64) {
        // Two threads may tell in another order than they looked at the clock.
        let since = since.max(self.set);
        *self = Self { set: since, then: self.at(since).now, share };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_as_fast_as_the_share_and_never_back() {
        let mut pace = Pace::default();
        assert_eq!(pace.at(1_000).now, 1_000);
        pace.set(Share::millionths(250_000), 1_000);
        assert_eq!((pace.at(1_000).now, pace.at(2_000).now), (1_000, 1_250));
        pace.set(Share::millionths(0), 2_000);
        assert_eq!(pace.at(9_000).now, 1_250);
        pace.set(Share::WHOLE, 1_500);
        assert_eq!((pace.at(1_000).now, pace.at(3_000).now), (1_250, 2_250));
    }

    #[test]
    fn a_wait_is_as_long_as_the_share_makes_it_up_to_when_that_may_change() {
        let second = 1_000_000_000;
        assert_eq!(Share::WHOLE.takes(60 * second), Duration::from_mins(1));
        assert_eq!(Share::millionths(500_000).takes(second), Duration::from_secs(2));
        assert_eq!(Share::millionths(0).takes(second), SOON);
        assert_eq!(Share::millionths(2_000_000), Share::WHOLE);
    }
}
