//! Ring 2 of the simulation: the same clients, processes, workers, provider and judge as in ring 1, on
//! the real SQLite store, called inline. A crash drops the connection and opens the file again.

#[path = "../../examples/sim/sqlite.rs"]
mod engine;

use orders_testkit::{
    Engine,
    sim::{Cuts, run_over, sweep_over},
};

/// How many seeds; `cargo run --release -p orders-adapters --example sim` runs more.
const SEEDS: u64 = 100;

/// Runs seeds of a few orders on this store; an example of these words runs one of them again.
pub(crate) fn hold(fresh: &(dyn Fn() -> Box<dyn Engine> + Sync), seeds: u64, example: &str) {
    let mut effects = 0;
    for run in sweep_over(fresh, 0..seeds, 6, 2) {
        let replay = format!(
            "cargo run -p orders-adapters {example} --orders 6 --first {} --seeds 1",
            run.seed
        );
        assert!(run.violations.is_empty(), "{:#?}\n{replay}", run.violations);
        effects += run.effects;
    }
    assert!(effects > seeds, "{effects} effects");
}

#[test]
fn no_seed_finds_a_violation_on_sqlite() {
    hold(&engine::fresh, SEEDS, "--example sim --");
}

#[test]
fn a_seed_always_runs_the_same_way_on_sqlite() {
    for seed in 0..5 {
        let run = || run_over(&engine::fresh, seed, 20, &Cuts::default());
        assert_eq!(run(), run());
    }
}
