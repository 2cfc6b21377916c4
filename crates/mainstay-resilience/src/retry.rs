//! Tries again, inside the deadline and within a budget.
//!
//! The time between tries grows exponentially and is drawn with full jitter; a `Retry-After` is
//! obeyed where it is longer. Every try carries its number in its [`Context`].
//!
//! Guarantees: a try that could not finish before the deadline is not made; all retries and hedges
//! of a dependency together stay within its [`Budget`], so that an outage is not answered with
//! several times the load; a call that is neither safe nor keyed is not made again once it may
//! have been sent; the result of a try that may have been sent is never hidden by a later one
//! that surely was not.
//!
//! Not guaranteed: that a second layer of retries above or below multiplies nothing. Put one
//! where the call is made, and let it read [`Context::attempt`] elsewhere.

mod budget;
mod layer;

pub use self::budget::{Budget, BudgetConfig, Token};
pub use self::layer::{Layer, Repeat, Service};

use crate::Jitter;
use mainstay_context::Context;
use std::time::{Duration, Instant};

/// How often and how soon to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most tries, the first included. Default 3.
    pub tries: u32,
    /// The longest wait before the second try; it doubles with each try. Default 50 ms.
    pub first_delay: Duration,
    /// The longest wait before any try. Default 1 s.
    pub most_delay: Duration,
    /// The longest `Retry-After` that is waited for; a longer one ends the call. Default 5 s.
    pub most_hint: Duration,
    /// The least time in which a try can succeed: with less left, none is made. Default 10 ms.
    pub least_try: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tries: 3,
            first_delay: Duration::from_millis(50),
            most_delay: Duration::from_secs(1),
            most_hint: Duration::from_secs(5),
            least_try: Duration::from_millis(10),
        }
    }
}

/// Whether making a call twice does what making it once does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Safety {
    /// It changes nothing, or the same however often it is made.
    Safe,
    /// The callee knows it again by an idempotency key, which every try carries.
    Keyed,
    /// Each call has its own effect: once it may have been sent, it is not made again.
    Once,
}

/// What a result says about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was a success or a refusal that stays one; or trying again would do harm.
    Final,
    /// The call surely never reached the other side.
    NotSent,
    /// It was refused on this side before it was sent, as by an open breaker, and would be again.
    Refused,
    /// The call may have been carried out.
    MaybeSent {
        /// How long the callee asks to be left alone.
        retry_after: Option<Duration>,
    },
}

/// Why there is no other try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Another try would change nothing.
    Final,
    /// It may have been sent, and must not be sent twice.
    Unsafe,
    /// All tries were made.
    Tries,
    /// The request has ended, or another try would not end before it.
    Deadline,
    /// The callee asks for more time than anybody waits.
    Hint,
    /// The dependency has got all the retries it can bear.
    Budget,
}

/// The tries of one call.
#[derive(Debug)]
pub struct Tries<'p> {
    policy: &'p Policy,
    jitter: &'p Jitter,
    safety: Safety,
    made: u32,
}

impl<'p> Tries<'p> {
    /// The first try is made now. Whether it brings something to a budget is
    /// [another question](Budget::call).
    pub fn begin(policy: &'p Policy, jitter: &'p Jitter, safety: Safety) -> Self {
        Self { policy, jitter, safety, made: 1 }
    }

    /// How many tries were made, the one that is made now included.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// What to do after a try ended like this: wait, spend the token and try again, or stop.
    ///
    /// # Errors
    ///
    /// Fails with the reason when no other try is to be made.
    pub fn next(
        &mut self,
        verdict: Verdict,
        budget: &Budget,
        cx: Option<&Context>,
        now: Instant,
    ) -> Result<(Duration, Token), Stop> {
        let hint = self.may_repeat(verdict)?;
        let delay = self.delay(hint);
        if cx.is_some_and(|cx| !self.fits(delay, cx, now)) {
            return Err(Stop::Deadline);
        }
        let token = budget.take(now).ok_or(Stop::Budget)?;
        self.made += 1;
        Ok((delay, token))
    }

    /// What the result itself allows; the time that the callee asks for.
    fn may_repeat(&self, verdict: Verdict) -> Result<Duration, Stop> {
        let hint = match (verdict, self.safety) {
            (Verdict::Final | Verdict::Refused, _) => return Err(Stop::Final),
            (Verdict::MaybeSent { .. }, Safety::Once) => return Err(Stop::Unsafe),
            (Verdict::NotSent, _) => None,
            (Verdict::MaybeSent { retry_after }, Safety::Safe | Safety::Keyed) => retry_after,
        };
        let hint = hint.unwrap_or_default();
        match () {
            () if self.made >= self.policy.tries => Err(Stop::Tries),
            () if hint > self.policy.most_hint => Err(Stop::Hint),
            () => Ok(hint),
        }
    }

    fn delay(&self, hint: Duration) -> Duration {
        let doublings = (self.made - 1).min(31);
        let range = self.policy.first_delay.saturating_mul(1 << doublings);
        self.jitter.up_to(range.min(self.policy.most_delay)).max(hint)
    }

    fn fits(&self, delay: Duration, cx: &Context, now: Instant) -> bool {
        let needed = delay.saturating_add(self.policy.least_try);
        cx.ended(now).is_none() && cx.remaining(now).is_none_or(|left| left >= needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_context::Cause;

    const MS: Duration = Duration::from_millis(1);
    const MAYBE: Verdict = Verdict::MaybeSent { retry_after: None };

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn plenty() -> Budget {
        let config =
            BudgetConfig { floor_per_second: 1_000, reserve: 1_000, ..BudgetConfig::default() };
        Budget::new(&config, now())
    }

    /// The waits of a call that always ends with `verdict`, and why it stopped.
    fn waits(policy: &Policy, safety: Safety, verdict: Verdict) -> (Vec<u128>, Stop) {
        let (jitter, budget, mut waits) = (Jitter::none(), plenty(), Vec::new());
        let mut tries = Tries::begin(policy, &jitter, safety);
        loop {
            match tries.next(verdict, &budget, None, now()) {
                Ok((delay, token)) => {
                    token.spend();
                    waits.push(delay.as_millis());
                }
                Err(stop) => return (waits, stop),
            }
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_tries_are_counted() {
        let policy = Policy { tries: 8, ..Policy::default() };
        let expected = vec![50, 100, 200, 400, 800, 1_000, 1_000];
        assert_eq!(waits(&policy, Safety::Safe, MAYBE), (expected, Stop::Tries));
        let most = Policy { tries: 100, ..Policy::default() };
        assert_eq!(waits(&most, Safety::Keyed, MAYBE).0.len(), 99);
    }

    #[test]
    fn a_final_result_and_what_must_not_be_sent_twice_are_not_tried_again() {
        let policy = Policy::default();
        for safety in [Safety::Safe, Safety::Keyed, Safety::Once] {
            assert_eq!(waits(&policy, safety, Verdict::Final), (vec![], Stop::Final));
            assert_eq!(waits(&policy, safety, Verdict::Refused), (vec![], Stop::Final));
            assert_eq!(waits(&policy, safety, Verdict::NotSent).0, [50, 100]);
        }
        assert_eq!(waits(&policy, Safety::Once, MAYBE), (vec![], Stop::Unsafe));
    }

    #[test]
    fn a_retry_after_is_obeyed_or_ends_the_call() {
        let after = |time| Verdict::MaybeSent { retry_after: Some(time) };
        let waits = |time| waits(&Policy::default(), Safety::Safe, after(time));
        assert_eq!(waits(MS).0, [50, 100]);
        assert_eq!(waits(5_000 * MS).0, [5_000, 5_000]);
        assert_eq!(waits(5_001 * MS), (vec![], Stop::Hint));
    }

    #[test]
    fn a_try_that_cannot_finish_is_not_made_and_costs_nothing() {
        let (policy, jitter, budget, now) = (Policy::default(), Jitter::none(), plenty(), now());
        let left = budget.left(now);
        let next = |time: Duration| {
            let cx = Context::new("test".parse().unwrap()).with_deadline(now + time);
            let mut tries = Tries::begin(&policy, &jitter, Safety::Safe);
            tries.next(MAYBE, &budget, Some(&cx), now).map(|(delay, _token)| delay)
        };
        assert_eq!(next(60 * MS), Ok(50 * MS));
        assert_eq!(next(59 * MS), Err(Stop::Deadline));
        assert_eq!(next(Duration::ZERO), Err(Stop::Deadline));
        assert_eq!(budget.left(now), left);
    }

    #[test]
    fn a_cancelled_call_is_not_tried_again() {
        let (policy, jitter, budget) = (Policy::default(), Jitter::none(), plenty());
        let cx = Context::new("test".parse().unwrap());
        cx.cancel(Cause::CallerGone);
        let mut tries = Tries::begin(&policy, &jitter, Safety::Safe);
        let next = tries.next(MAYBE, &budget, Some(&cx), now());
        assert_eq!(next.map(|_| ()), Err(Stop::Deadline));
    }

    #[test]
    fn a_spent_budget_ends_the_call() {
        let config = BudgetConfig { floor_per_second: 0, ..BudgetConfig::default() };
        let (policy, jitter, budget) =
            (Policy::default(), Jitter::none(), Budget::new(&config, now()));
        let mut tries = Tries::begin(&policy, &jitter, Safety::Safe);
        assert_eq!(tries.next(MAYBE, &budget, None, now()).map(|_| ()), Err(Stop::Budget));
        assert_eq!(tries.made(), 1);
    }
}
