//! Whether the simulator finds bugs: each planted one is hunted over disjoint ranges of seeds.

use super::{Bug, run};

/// Within how many seeds a bug must be caught.
pub const LIMIT: u64 = 2_000;
/// Over how many disjoint ranges of seeds a bug is hunted.
pub const DISJOINT: u64 = 5;

/// How many seeds it took to catch a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bite {
    /// The bug.
    pub bug: Bug,
    /// Per range, how many seeds it took; nothing when it escaped.
    pub seeds: Vec<Option<u64>>,
    /// What the first catch was told by.
    pub told: String,
}

impl Bite {
    /// Whether it was caught in every range.
    pub fn caught(&self) -> bool {
        self.seeds.iter().all(Option::is_some)
    }

    /// The median number of seeds; an escape counts as the limit.
    pub fn median(&self) -> u64 {
        let mut seeds: Vec<u64> = self.seeds.iter().map(|s| s.unwrap_or(LIMIT)).collect();
        seeds.sort_unstable();
        seeds.get(seeds.len() / 2).copied().unwrap_or(LIMIT)
    }
}

/// Hunts one bug: seeds from each of `ranges` disjoint ranges until it is caught.
///
/// # Panics
/// When a seed that catches it is not sound without it.
pub fn hunt(bug: Bug, ranges: u64, limit: u64, orders: usize) -> Bite {
    let mut bite = Bite { bug, seeds: Vec::new(), told: String::new() };
    for range in 0..ranges {
        let first = range * limit;
        let caught = (0..limit).find(|tried| {
            let seed = first + tried;
            let Some(told) = run(seed, orders, Some(bug)).violations.into_iter().next() else {
                return false;
            };
            let sound = run(seed, orders, None).violations;
            assert_eq!(sound, [""; 0], "seed {seed} is not sound without the bug");
            if bite.told.is_empty() {
                bite.told = told;
            }
            true
        });
        bite.seeds.push(caught.map(|tried| tried + 1));
    }
    bite
}

/// Hunts every bug, on two threads.
///
/// # Panics
/// When a run panics.
pub fn hunts(ranges: u64, limit: u64, orders: usize) -> Vec<Bite> {
    let (even, odd): (Vec<_>, Vec<_>) =
        Bug::ALL.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let work = |bugs: Vec<(usize, Bug)>| {
        move || -> Vec<(usize, Bite)> {
            bugs.into_iter().map(|(at, bug)| (at, hunt(bug, ranges, limit, orders))).collect()
        }
    };
    let mut bites: Vec<(usize, Bite)> = std::thread::scope(|scope| {
        let workers = [scope.spawn(work(even)), scope.spawn(work(odd))];
        let joined = workers.into_iter().map(|worker| worker.join().expect("a run does not panic"));
        joined.flatten().collect()
    });
    bites.sort_by_key(|(at, _)| *at);
    bites.into_iter().map(|(_, bite)| bite).collect()
}
