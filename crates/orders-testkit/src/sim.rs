//! Ring 1 of the simulation: the whole core on the world, under one seed.
//!
//! A seed is turned into a plan, and the plan is executed on one current-thread runtime under paused
//! time: clients, processes that crash, workers whose leases run out, a payment provider that loses,
//! delays and repeats, relays that are overtaken, and a bus that loses acknowledgements. First everything
//! may go wrong, and what is wrong at any step is told; then some of it heals, and what can end must end.
//! At last what clients were told is held against the store, and the store against the provider's ledger
//! and the bus. The same seed gives the same run, to the hash; a plan that fails is shrunk.

mod book;
mod bus;
mod client;
mod courier;
mod cuts;
mod judge;
mod keys;
mod lead;
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

use std::ops::Range;

use crate::Engine;

/// Runs seeds on this many threads and hands the runs over in the order of the seeds.
pub fn sweep(seeds: Range<u64>, orders: usize, threads: usize) -> Vec<Run> {
    spread(seeds, threads, &|seed| run(seed, orders, None))
}

/// As [`sweep`], over another store than the tables in memory.
pub fn sweep_over(
    engine: &(dyn Fn() -> Box<dyn Engine> + Sync),
    seeds: Range<u64>,
    orders: usize,
    threads: usize,
) -> Vec<Run> {
    spread(seeds, threads, &|seed| run_over(&engine, seed, orders, &Cuts::default()))
}

fn spread(seeds: Range<u64>, threads: usize, run: &(dyn Fn(u64) -> Run + Sync)) -> Vec<Run> {
    let share = |thread: usize| {
        let seeds = seeds.clone();
        move || -> Vec<Run> { seeds.skip(thread).step_by(threads.max(1)).map(run).collect() }
    };
    let mut runs: Vec<Run> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads.max(1)).map(|thread| scope.spawn(share(thread))).collect();
        let joined = workers.into_iter().map(|worker| worker.join().expect("a run does not panic"));
        joined.flatten().collect()
    });
    runs.sort_by_key(|run| run.seed);
    runs
}
