//! Runs the simulation: `sim --seeds 5000 --orders 100`, `sim --seed N`, `sim --shrink N`,
//! `sim --bugs`.

#![expect(clippy::print_stdout, reason = "a command-line tool reports to its terminal")]

use std::{process::ExitCode, time::Duration};

use orders_testkit::sim::{self, Bug, Cuts, DISJOINT, LIMIT, Run, Shrunk};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Seeds that are run twice and must hash equal.
const TWICE: u64 = 50;

struct Options {
    seeds: u64,
    first: u64,
    orders: usize,
    seed: Option<u64>,
    shrink: Option<u64>,
    cuts: Cuts,
    bugs: bool,
    bug: Option<Bug>,
    json: Option<String>,
    threads: usize,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(wrong) => {
            println!(
                "{wrong}\nusage: sim [--seeds N] [--first N] [--orders N] [--threads N] \
                      [--seed N [--without LIST] [--bug NAME]] [--shrink N [--bug NAME]] [--bugs] \
                      [--json FILE]"
            );
            return ExitCode::from(2);
        }
    };
    let (ok, report) = match (options.seed, options.shrink) {
        (Some(seed), _) => one(&options, seed),
        (None, Some(seed)) => (!shrink(&options, seed), json!({ "seed": seed })),
        (None, None) if options.bugs => bugs(&options),
        (None, None) => many(&options),
    };
    if let Some(file) = &options.json
        && let Err(error) = std::fs::write(file, format!("{report:#}\n"))
    {
        println!("{file}: {error}");
        return ExitCode::from(2);
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seeds: 5_000,
        first: 0,
        orders: 100,
        seed: None,
        shrink: None,
        cuts: Cuts::default(),
        bugs: false,
        bug: None,
        json: None,
        threads: std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--bugs" {
            options.bugs = true;
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{arg} needs a number"));
        let size = || value.parse::<usize>().map_err(|_| format!("{arg} needs a number"));
        match arg.as_str() {
            "--seeds" => options.seeds = number()?,
            "--first" => options.first = number()?,
            "--orders" => options.orders = size()?,
            "--threads" => options.threads = size()?,
            "--seed" => options.seed = Some(number()?),
            "--shrink" => options.shrink = Some(number()?),
            "--without" => options.cuts = value.parse()?,
            "--bug" => {
                options.bug = Some(Bug::from_name(&value).ok_or(format!("no bug is {value}"))?);
            }
            "--json" => options.json = Some(value),
            _ => return Err(format!("{arg} is no option")),
        }
    }
    Ok(options)
}

fn replay(options: &Options, seed: u64, cuts: &Cuts) -> String {
    let cuts = Some(cuts).filter(|cuts| **cuts != Cuts::default());
    let without = cuts.map(|cuts| format!(" --without {cuts}"));
    let bug = options.bug.map(|bug| format!(" --bug {bug:?}"));
    format!(
        "cargo run --release -p orders-testkit --bin sim -- --orders {} --seed {seed}{}{}",
        options.orders,
        without.unwrap_or_default(),
        bug.unwrap_or_default()
    )
}

fn one(options: &Options, seed: u64) -> (bool, Value) {
    let mut run = sim::trace(seed, options.orders, options.bug, &options.cuts);
    for line in std::mem::take(&mut run.log) {
        println!("{line}");
    }
    println!("{run:#?}");
    let same = sim::run_without(seed, options.orders, options.bug, &options.cuts) == run;
    println!("run again: {}", if same { "the same" } else { "NOT THE SAME" });
    (same && run.violations.is_empty(), json!({ "seed": seed, "violations": run.violations }))
}

/// Shrinks a seed and shows what is left; false when it does not fail.
fn shrink(options: &Options, seed: u64) -> bool {
    let Some(shrunk) = sim::shrink(seed, options.orders, options.bug) else {
        println!("seed {seed} does not fail");
        return false;
    };
    let Shrunk { cuts, sizes: [before, after], plan, run, runs } = shrunk;
    println!("seed {seed}, shrunk in {runs} runs\n  from {before:?}\n  to   {after:?}");
    for line in plan {
        println!("  {line}");
    }
    println!("  fails by: {}", run.violations.join("\n            "));
    println!("  replay: {}", replay(options, seed, &cuts));
    true
}

fn many(options: &Options) -> (bool, Value) {
    let seeds = options.first..options.first + options.seeds;
    let started = Instant::now();
    let runs = sim::sweep(seeds, options.orders, options.threads);
    let took = started.elapsed();
    let failed: Vec<&Run> = runs.iter().filter(|run| !run.violations.is_empty()).collect();
    for run in failed.iter().take(5) {
        println!("seed {}: {}", run.seed, run.violations.join("\n  "));
        println!("  replay: {}", replay(options, run.seed, &Cuts::default()));
    }
    if let Some(run) = failed.first() {
        shrink(options, run.seed);
    }
    let twice = runs.iter().take(usize::try_from(TWICE).unwrap_or(0));
    let differing: Vec<u64> = twice
        .filter(|run| sim::run(run.seed, options.orders, None) != **run)
        .map(|run| run.seed)
        .collect();
    let hash = runs
        .iter()
        .fold(0_u64, |hash, run| (hash ^ run.hash).wrapping_mul(0x100_0000_01b3).rotate_left(23));
    let sum = |part: fn(&Run) -> u64| runs.iter().map(part).sum::<u64>();
    let report = json!({
        "seeds": runs.len(),
        "first_seed": options.first,
        "orders_per_seed": options.orders,
        "orders": sum(|run| run.orders),
        "requests": sum(|run| run.requests),
        "changes": sum(|run| run.changes),
        "crashes": sum(|run| run.crashes),
        "provider_effects": sum(|run| run.effects),
        "parked": sum(|run| run.parked),
        "published": sum(|run| run.published),
        "published_again": sum(|run| run.repeats),
        "violations": failed.len(),
        "run_twice": TWICE.min(options.seeds),
        "hashes_differing": differing.len(),
        "hash": format!("{hash:016x}"),
        "seconds": seconds(took),
        "threads": options.threads,
    });
    println!("{report:#}");
    (failed.is_empty() && differing.is_empty(), report)
}

fn bugs(options: &Options) -> (bool, Value) {
    let started = Instant::now();
    let bites = sim::hunts(DISJOINT, LIMIT, options.orders);
    println!("{:<28} {:>7}  {:<26} first told by", "bug", "median", "seeds to catch");
    for bite in &bites {
        let seeds = bite.seeds.iter().map(|s| s.map_or("–".to_owned(), |s| s.to_string()));
        let seeds = seeds.collect::<Vec<_>>().join(" ");
        let told: String = bite.told.chars().take(110).collect();
        let name = format!("{:?}", bite.bug);
        println!("{name:<28} {:>7}  {seeds:<26} {told}", bite.median());
    }
    let escaped = bites.iter().filter(|bite| !bite.caught()).count();
    println!("{} bugs, {escaped} escaped, {} s", bites.len(), seconds(started.elapsed()));
    let table: Vec<Value> = bites
        .iter()
        .map(|bite| {
            json!({
                "bug": format!("{:?}", bite.bug),
                "median_seeds": bite.median(),
                "seeds": bite.seeds,
                "told_by": bite.told,
            })
        })
        .collect();
    (escaped == 0, json!({ "limit": LIMIT, "ranges": DISJOINT, "bugs": table }))
}

fn seconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 100.0).round() / 100.0
}
