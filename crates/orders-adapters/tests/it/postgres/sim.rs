//! Ring 2 of the simulation on PostgreSQL. A crash drops the store as it is, and opens the same database
//! again.

#[path = "../../../examples/sim/postgres.rs"]
mod engine;

use orders_testkit::sim::{Cuts, run_over};

use crate::sim::hold;

/// How many seeds; `cargo run --release -p orders-adapters --features postgres --example sim -- --store
/// postgres` runs more.
const SEEDS: u64 = 30;

#[test]
fn no_seed_finds_a_violation_on_postgres() {
    hold(&engine::fresh, SEEDS, "--features postgres --example sim -- --store postgres");
}

#[test]
fn a_seed_always_runs_the_same_way_on_postgres() {
    for seed in 0..2 {
        let run = || run_over(&engine::fresh, seed, 6, &Cuts::default());
        assert_eq!(run(), run());
    }
}
