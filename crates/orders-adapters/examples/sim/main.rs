//! Ring 2 of the simulation: `--seeds N --first N --orders N [--json FILE]`, on a real store: SQLite, or
//! with `--store postgres`, in a build with that feature, PostgreSQL.

#![expect(clippy::print_stdout, reason = "a command-line tool reports to its terminal")]

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::{env, process::ExitCode};

use orders_testkit::{
    Engine,
    sim::{Cuts, Run, run_over, sweep_over},
};
use tokio::time::Instant;

/// Seeds that are run twice and must hash equal.
const TWICE: u64 = 10;

fn main() -> ExitCode {
    match simulate() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            println!(
                "{wrong}\nusage: sim [--store sqlite|postgres] [--seeds N] [--first N] [--orders N] [--json FILE]"
            );
            ExitCode::from(2)
        }
    }
}

fn simulate() -> Result<bool, String> {
    let (mut seeds, mut first, mut orders, mut json) = (500_u64, 0_u64, 50_usize, None);
    let mut fresh: fn() -> Box<dyn Engine> = sqlite::fresh;
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
        let wrong = |_| format!("{arg} needs a number");
        match arg.as_str() {
            "--store" => fresh = engine(&value)?,
            "--seeds" => seeds = value.parse().map_err(wrong)?,
            "--first" => first = value.parse().map_err(wrong)?,
            "--orders" => orders = value.parse().map_err(wrong)?,
            "--json" => json = Some(value),
            _ => return Err(format!("{arg} is no option")),
        }
    }
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    let runs = sweep_over(&fresh, first..first + seeds, orders, threads);
    let again = |one: &Run| run_over(&fresh, one.seed, orders, &Cuts::default());
    let failed: Vec<&Run> = runs.iter().filter(|run| !run.violations.is_empty()).collect();
    for run in failed.iter().take(5) {
        println!("seed {}: {}", run.seed, run.violations.join("\n  "));
    }
    let twice = usize::try_from(TWICE).unwrap_or(0);
    let differing = runs.iter().take(twice).filter(|one| again(one) != **one).count();
    let sum = |part: fn(&Run) -> u64| runs.iter().map(part).sum::<u64>();
    let report = serde_json::json!({
        "seeds": runs.len(),
        "first_seed": first,
        "orders_per_seed": orders,
        "orders": sum(|run| run.orders),
        "changes": sum(|run| run.changes),
        "crashes": sum(|run| run.crashes),
        "provider_effects": sum(|run| run.effects),
        "violations": failed.len(),
        "hashes_differing": differing,
        "seconds": started.elapsed().as_secs(),
    });
    println!("{report:#}");
    if let Some(file) = json {
        std::fs::write(&file, format!("{report:#}\n")).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(failed.is_empty() && differing == 0)
}

/// What keeps the orders under this name.
fn engine(name: &str) -> Result<fn() -> Box<dyn Engine>, String> {
    match name {
        "sqlite" => Ok(sqlite::fresh),
        #[cfg(feature = "postgres")]
        "postgres" => Ok(postgres::fresh),
        _ => Err(format!("there is no store {name} in this build")),
    }
}
