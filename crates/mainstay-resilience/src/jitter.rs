use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Where chance comes from when a time is drawn, so that callers who failed together do not come
/// back together. Clones share the source.
#[derive(Clone)]
pub struct Jitter(Arc<dyn Fn() -> u32 + Send + Sync>);

impl Jitter {
    /// Draws from `source`, whose numbers should be spread evenly; `u32::MAX` draws the longest
    /// time.
    pub fn new(source: impl Fn() -> u32 + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// Draws from the randomness of the system.
    pub fn system() -> Self {
        // Without it, draws need only differ between processes; the standard hasher sees to that.
        Self::new(|| getrandom::u32().unwrap_or_else(|_| high(RandomState::new().hash_one(()))))
    }

    /// Draws the same times for the same seed, for simulations.
    pub fn seeded(seed: u64) -> Self {
        // SplitMix64 (Steele, Lea, Flood 2014): a counter and a mixer, so that threads share it.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let counter = AtomicU64::new(seed);
        Self::new(move || {
            let z = counter.fetch_add(STEP, Relaxed).wrapping_add(STEP);
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            high(z ^ (z >> 31))
        })
    }

    /// Always the longest time, for tests that count exact delays.
    pub fn none() -> Self {
        Self::new(|| u32::MAX)
    }

    /// A time from zero to `most`.
    pub fn up_to(&self, most: Duration) -> Duration {
        let nanos = most.as_nanos() * u128::from((self.0)()) / u128::from(u32::MAX);
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).unwrap_or(0))
    }
}

fn high(number: u64) -> u32 {
    u32::try_from(number >> 32).unwrap_or(u32::MAX)
}

impl Default for Jitter {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jitter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_times_drawn_fill_the_range() {
        let (jitter, most) = (Jitter::seeded(1), Duration::from_secs(10));
        let drawn: Vec<_> = (0..1_000).map(|_| jitter.up_to(most)).collect();
        let mean = drawn.iter().sum::<Duration>() / 1_000;
        assert!(drawn.iter().all(|time| *time <= most));
        assert!((Duration::from_secs(4)..Duration::from_secs(6)).contains(&mean), "{mean:?}");
        assert!(drawn.iter().min() < Some(&Duration::from_millis(200)));
        assert!(drawn.iter().max() > Some(&Duration::from_millis(9_800)));
    }

    #[test]
    fn a_seed_repeats_and_the_system_does_not() {
        let draw = |jitter: &Jitter| [(); 8].map(|()| jitter.up_to(Duration::from_hours(1)));
        assert_eq!(draw(&Jitter::seeded(7)), draw(&Jitter::seeded(7)));
        assert_ne!(draw(&Jitter::seeded(7)), draw(&Jitter::seeded(8)));
        assert_ne!(draw(&Jitter::system()), draw(&Jitter::system()));
    }

    proptest! {
        #[test]
        fn no_time_is_too_long_to_draw_from(seconds: u64, nanos in 0_u32..1_000_000_000, draw: u32) {
            let most = Duration::new(seconds, nanos);
            prop_assert!(Jitter::new(move || draw).up_to(most) <= most);
            prop_assert_eq!(Jitter::none().up_to(most), most);
        }
    }
}
