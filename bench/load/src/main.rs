//! Drives a running order service over HTTP and checks every answer.
//!
//! The exit status is 0 when every answer was right, 1 when one was wrong or missing, 2 when the
//! run could not be made. Linux only: it reads `/proc` and paces itself with a timerfd.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a command-line tool that prints what it measured and turns counts into rates"
)]

mod args;
mod arrivals;
mod baskets;
mod caller;
mod check;
mod client;
mod costs;
mod machine;
mod plan;
mod process;
mod record;
mod report;
mod rng;
mod run;
mod strace;
mod tally;
mod tenants;
mod values;

use clap::Parser as _;
use std::{error::Error, process::ExitCode};
use tokio::runtime::{Builder, Runtime};

/// Anything that keeps a run from being made.
type Trouble = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match measure(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(trouble) => {
            eprintln!("orders-load: {trouble}");
            ExitCode::from(2)
        }
    }
}

/// Says whether every answer was right.
fn measure(args: &args::Args) -> Result<bool, Trouble> {
    let record = runtime(args.common().threads)?.block_on(run::run(args))?;
    print!("{}", report::table(&record));
    if let Some(path) = &args.common().json {
        std::fs::write(path, serde_json::to_string_pretty(&record)? + "\n")
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(record.clean())
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    if threads == 1 {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}
