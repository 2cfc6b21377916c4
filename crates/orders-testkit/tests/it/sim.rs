//! The simulation in short: the full one is `scripts/check/sim`.

use orders_testkit::sim::{self, Bug, Cuts, LIMIT};

#[test]
fn a_seed_always_runs_the_same_way() {
    for seed in 0..10 {
        assert_eq!(sim::run(seed, 30, None), sim::run(seed, 30, None));
    }
}

#[test]
fn no_seed_finds_a_violation() {
    for run in sim::sweep(0..120, 30, 2) {
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
fn a_run_that_fails_is_shrunk_and_replayed() {
    let bug = Some(Bug::NewKeyOnRetry);
    let seed = (0..LIMIT).find(|seed| !sim::run(*seed, 30, bug).violations.is_empty()).unwrap();
    let shrunk = sim::shrink(seed, 30, bug).unwrap();
    let [before, after] = shrunk.sizes;
    assert!(after.steps * 4 < before.steps, "{before:?} to {after:?}");
    let first = sim::run(seed, 30, bug).violations.remove(0);
    let same = shrunk.run.violations.iter().any(|told| sim::kind(told) == sim::kind(&first));
    assert!(same, "{first}: {:?}", shrunk.run.violations);
    let cuts: Cuts = shrunk.cuts.to_string().parse().unwrap();
    assert_eq!(sim::run_without(seed, 30, bug, &cuts), shrunk.run, "the command replays it");
    assert_eq!(sim::run_without(seed, 30, None, &cuts).violations, [""; 0], "it is the bug's");
}

#[test]
fn money_moves_in_every_way() {
    let runs = sim::sweep(0..40, 30, 2);
    let (effects, parked) =
        runs.iter().fold((0, 0), |sum, run| (sum.0 + run.effects, sum.1 + run.parked));
    assert!(effects > 100 && parked > 0, "{effects} effects, {parked} parked");
}

#[test]
fn every_bug_has_a_name() {
    for bug in Bug::ALL {
        assert_eq!(Bug::from_name(&format!("{bug:?}")), Some(bug));
    }
}
