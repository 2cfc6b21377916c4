//! Seeded randomness. Not for secrets.

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and good from any seed.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator for one purpose or one request, independent of the others of the same seed.
    pub(crate) fn derived(seed: u64, purpose: u64) -> Self {
        let mut outer = Self(seed);
        Self(outer.next() ^ Self(purpose).next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound`; `bound` is not zero. The bias is below `bound` / 2⁶⁴.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn percent(&mut self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }

    /// Exponentially distributed with mean 1: the gaps of a Poisson process.
    pub(crate) fn exponential(&mut self) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - unit).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn exponential_gaps_have_mean_one() {
        let mut rng = Rng::derived(7, 0);
        let sum: f64 = (0..100_000).map(|_| rng.exponential()).sum();
        assert!((sum / 100_000.0 - 1.0).abs() < 0.02, "{sum}");
    }

    #[test]
    fn a_share_is_hit_about_as_often_as_asked() {
        let hits = (0..100_000).filter(|&i| Rng::derived(1, i).percent(20)).count();
        assert!((19_000..21_000).contains(&hits), "{hits}");
    }
}
