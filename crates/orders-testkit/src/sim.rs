//! Ring 1 of the simulation: the whole core on the world, under one seed.
//!
//! A seed is turned into a plan, and the plan is executed on one current-thread runtime under paused
//! time: clients, processes that crash, workers whose leases run out, a payment provider that loses,
//! delays and repeats. First everything may go wrong, and what is wrong at any step is told; then some
//! of it heals, and what can end must end. At last what clients were told is held against the store,
//! and the store against the provider's ledger. The same seed gives the same run, to the hash; a plan
//! that fails is shrunk. Deliberately absent: a bus, which does not exist yet.

mod book;
mod client;
mod cuts;
mod judge;
mod keys;
mod ledger;
mod live;
mod money;
mod plan;
mod process;
mod reader;
mod run;
mod shrink;
mod teeth;
mod worker;

pub use cuts::Cuts;
pub use run::{Run, run, run_over, run_without, trace};
pub use shrink::{Shrunk, Size, kind, shrink};
pub use teeth::{Bite, DISJOINT, LIMIT, hunt, hunts};

pub use crate::world::Bug;

/// Runs seeds on this many threads and hands the runs over in the order of the seeds.
pub fn sweep(seeds: std::ops::Range<u64>, orders: usize, threads: usize) -> Vec<Run> {
    let threads = threads.max(1) as u64;
    let start = seeds.start;
    let share = |thread: u64| {
        let seeds = seeds.clone();
        move || -> Vec<Run> {
            let own = seeds.skip(usize::try_from(thread).unwrap_or(0));
            own.step_by(usize::try_from(threads).unwrap_or(1))
                .map(|seed| run(seed, orders, None))
                .collect()
        }
    };
    let mut runs: Vec<Run> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(share(thread))).collect();
        let joined = workers.into_iter().map(|worker| worker.join().expect("a run does not panic"));
        joined.flatten().collect()
    });
    runs.sort_by_key(|run| run.seed - start);
    runs
}
