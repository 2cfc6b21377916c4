use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How many times are remembered.
const KEPT: usize = 256;
/// With fewer, nothing is said of a quantile.
const LEAST: usize = 20;

/// How long the last calls took. Clones share it.
///
/// The quantile is exact over the last 256 calls; older ones are forgotten.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Arc<Mutex<VecDeque<Duration>>>);

impl Latencies {
    /// A call took this long.
    pub fn record(&self, time: Duration) {
        let mut times = self.times();
        if times.len() == KEPT {
            times.pop_front();
        }
        times.push_back(time);
    }

    /// The time in which `percent` of a hundred calls were answered; `None` when fewer than 20 are
    /// known.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut times: Vec<_> = self.times().iter().copied().collect();
        if times.len() < LEAST {
            return None;
        }
        let rank = (times.len() * percent.min(100)).div_ceil(100).max(1) - 1;
        Some(*times.select_nth_unstable(rank).1)
    }

    fn times(&self) -> MutexGuard<'_, VecDeque<Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(percent: usize, times: impl IntoIterator<Item = u64>) -> Option<u128> {
        let latencies = Latencies::default();
        times.into_iter().for_each(|ms| latencies.record(Duration::from_millis(ms)));
        latencies.clone().percentile(percent).map(|time| time.as_millis())
    }

    #[test]
    fn a_percentile_is_the_time_of_that_many_calls() {
        let expected = [(0, 1), (1, 1), (50, 50), (95, 95), (99, 99), (100, 100), (200, 100)];
        for (percent, time) in expected {
            assert_eq!(millis(percent, (1..=100).rev()), Some(time), "{percent}");
        }
    }

    #[test]
    fn little_is_known_of_few_calls_and_nothing_of_old_ones() {
        assert_eq!(millis(50, 1..=19), None);
        assert_eq!(millis(50, 1..=20), Some(10));
        assert_eq!(millis(100, std::iter::repeat_n(9_000, 1_000).chain([5; 256])), Some(5));
    }
}
