//! The simulation in short: the full one is `scripts/check/sim`.

use orders_testkit::sim::{self, Bug, LIMIT};

#[test]
fn a_seed_always_runs_the_same_way() {
    for seed in 0..10 {
        assert_eq!(sim::run(seed, 30, None), sim::run(seed, 30, None));
    }
}

#[test]
fn no_seed_finds_a_violation() {
    for run in sim::sweep(0..200, 30, 2) {
        let replay =
            format!("cargo run -p orders-testkit --bin sim -- --orders 30 --seed {}", run.seed);
        assert!(run.violations.is_empty(), "{:#?}\n{replay}", run.violations);
    }
}

#[test]
fn every_planted_bug_is_caught() {
    for bite in sim::hunts(1, LIMIT, 30) {
        assert!(bite.caught(), "{:?} escaped", bite.bug);
    }
}

#[test]
fn every_bug_has_a_name() {
    for bug in Bug::ALL {
        assert_eq!(Bug::from_name(&format!("{bug:?}")), Some(bug));
    }
}
