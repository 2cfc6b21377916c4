use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What one retry costs. Tokens are counted in millionths, so that no rounding adds up.
const ONE: u64 = 1_000_000;

/// How many calls may be made on top of those that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetConfig {
    /// The part of the calls that may be made again. Default 0.2.
    pub ratio: f64,
    /// The retries a second that are allowed however few calls there are. Default 1.
    pub floor_per_second: u32,
    /// The most retries that can be saved up; good times of any length allow no more at once.
    /// Default 20.
    pub reserve: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { ratio: 0.2, floor_per_second: 1, reserve: 20 }
    }
}

/// The retries and hedges that one dependency can bear, shared by all who call it. Clones are the
/// same budget.
///
/// In any time `t` in which `n` calls were made, at most `ratio · n + floor · t + reserve` more
/// are.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    /// What a call brings, in millionths of a retry.
    part: u64,
    floor_per_second: u64,
    most: u64,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    tokens: u64,
    filled: Instant,
}

impl Budget {
    /// A budget with the floor of its first second in it.
    pub fn new(config: &BudgetConfig, now: Instant) -> Self {
        let most = u64::from(config.reserve.max(1)) * ONE;
        let floor_per_second = u64::from(config.floor_per_second) * ONE;
        let bucket = Bucket { tokens: floor_per_second.min(most), filled: now };
        let part = millionths(config.ratio);
        Self(Arc::new(Shared { part, floor_per_second, most, bucket: Mutex::new(bucket) }))
    }

    /// A call is made that is no retry and no hedge.
    pub fn call(&self) {
        self.give(self.0.part);
    }

    /// The leave to make one more call; `None` when the budget is spent.
    pub fn take(&self, now: Instant) -> Option<Token> {
        let mut bucket = self.bucket();
        self.0.fill(&mut bucket, now);
        bucket.tokens = bucket.tokens.checked_sub(ONE)?;
        Some(Token { budget: self.clone(), spent: false })
    }

    /// How many more calls may be made at `now`.
    pub fn left(&self, now: Instant) -> u64 {
        let mut bucket = self.bucket();
        self.0.fill(&mut bucket, now);
        bucket.tokens / ONE
    }

    fn give(&self, tokens: u64) {
        let mut bucket = self.bucket();
        bucket.tokens = bucket.tokens.saturating_add(tokens).min(self.0.most);
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.0.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn fill(&self, bucket: &mut Bucket, now: Instant) {
        let since = now.saturating_duration_since(bucket.filled);
        let grown = u128::from(self.floor_per_second) * since.as_micros() / 1_000_000;
        // Time too short to bring anything is kept until it does.
        if grown > 0 {
            let tokens = bucket.tokens.saturating_add(u64::try_from(grown).unwrap_or(u64::MAX));
            *bucket = Bucket { tokens: tokens.min(self.most), filled: now };
        }
    }
}

/// A ratio in millionths; what is no ratio is none.
fn millionths(ratio: f64) -> u64 {
    // By way of a duration, whose conversion from a float is checked.
    let exact = Duration::try_from_secs_f64(ratio).unwrap_or_default();
    u64::try_from(exact.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("tokens", &self.bucket().tokens).finish_non_exhaustive()
    }
}

/// The leave to make one more call. It goes back to the budget unless it is spent.
#[derive(Debug)]
#[must_use = "it goes back to the budget unless it is spent"]
pub struct Token {
    budget: Budget,
    spent: bool,
}

impl Token {
    /// The call is made now.
    pub fn spend(mut self) {
        self.spent = true;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.spent {
            self.budget.give(ONE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn spend_all(budget: &Budget, now: Instant) -> usize {
        std::iter::from_fn(|| budget.take(now).map(Token::spend)).count()
    }

    fn no_floor() -> BudgetConfig {
        BudgetConfig { floor_per_second: 0, ..BudgetConfig::default() }
    }

    #[test]
    fn a_fifth_of_the_calls_may_be_made_again() {
        let (budget, now) = (Budget::new(&no_floor(), now()), now());
        for _ in 0..20 {
            (0..5).for_each(|_| budget.call());
            assert_eq!(spend_all(&budget, now), 1);
        }
    }

    #[test]
    fn with_few_calls_there_is_the_floor() {
        let (budget, now) = (Budget::new(&BudgetConfig::default(), now()), now());
        assert_eq!(spend_all(&budget, now), 1);
        assert_eq!(spend_all(&budget, now + 999 * MS), 0);
        assert_eq!(spend_all(&budget, now + 1_000 * MS), 1);
    }

    #[test]
    fn looking_often_does_not_lose_the_floor() {
        let (budget, start) = (Budget::new(&BudgetConfig::default(), now()), now());
        let spent = (0..10_000).filter_map(|n| budget.take(start + n * MS)).map(Token::spend);
        assert_eq!(spent.count(), 10);
    }

    #[test]
    fn good_times_of_any_length_save_up_no_more_than_the_reserve() {
        let (budget, now) = (Budget::new(&BudgetConfig::default(), now()), now());
        (0..100_000).for_each(|_| budget.call());
        assert_eq!(spend_all(&budget, now + Duration::from_hours(24)), 20);
    }

    #[test]
    fn a_token_that_is_not_spent_goes_back() {
        let (budget, now) = (Budget::new(&BudgetConfig::default(), now()), now());
        for _ in 0..100 {
            let token = budget.take(now).unwrap();
            assert!(budget.clone().take(now).is_none());
            drop(token);
        }
        assert_eq!(budget.left(now), 1);
    }

    #[test]
    fn what_is_no_ratio_allows_nothing() {
        for ratio in [-1.0, f64::NAN, f64::INFINITY] {
            let budget = Budget::new(&BudgetConfig { ratio, ..no_floor() }, now());
            (0..1_000).for_each(|_| budget.call());
            assert_eq!(budget.left(now()), 0, "{ratio}");
        }
    }

    proptest! {
        #[test]
        fn it_is_never_overdrawn(steps in prop::collection::vec((0_u32..50, 0_u32..20, 0_usize..10), 1..200)) {
            let start = now();
            let budget = Budget::new(&BudgetConfig::default(), start);
            let (mut at, mut calls, mut again) = (start, 0_u32, 0_u32);
            for (step, more, tries) in steps {
                at += step * MS;
                (0..more).for_each(|_| budget.call());
                calls += more;
                let taken = (0..tries).filter_map(|_| budget.take(at)).map(Token::spend).count();
                again += u32::try_from(taken).unwrap();
                let bound = 0.2 * f64::from(calls) + (at - start).as_secs_f64() + 1.0;
                prop_assert!(f64::from(again) <= bound + 1e-6, "{} of {}", again, bound);
            }
        }
    }
}
