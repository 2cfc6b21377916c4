//! Holds mainstay, and published crates beside it, to the failures that were measured on such crates.
//!
//! `conformance [--json FILE]` prints a table for each part. Every row runs in real time, in a thread
//! of its own, and for a minute at most: one that hangs is a result. A row that a crate has nothing
//! for is `n/a`. The exit status is 0 when mainstay passes every row, 1 when it does not, 2 when the
//! record could not be written.
//!
//! The rows are those of the tests of `mainstay-resilience`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod address;
mod published;
mod report;
mod run;

#[path = "../../../crates/mainstay-resilience/tests/it/conformance"]
mod suite {
    pub(crate) mod admission;
    pub(crate) mod breaker;
    pub(crate) mod hedge;
    pub(crate) mod layer;
    pub(crate) mod limit;
    pub(crate) mod ours;
    pub(crate) mod pool;
    pub(crate) mod race;
    pub(crate) mod retry;
    pub(crate) mod row;
}

use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let json = match (arguments.next(), arguments.next(), arguments.next()) {
        (None, None, None) => None,
        (Some(flag), Some(path), None) if flag == "--json" => Some(PathBuf::from(path)),
        (_, _, _) => {
            eprintln!("conformance [--json FILE]");
            return ExitCode::from(2);
        }
    };
    let ours: Vec<_> = published::ours().into_iter().flat_map(run::subject).collect();
    let passes = ours.iter().all(|one| one.outcome.passes());
    let others = published::others().into_iter().flat_map(run::subject);
    let all: Vec<_> = ours.into_iter().chain(others).collect();
    print!("{}", report::table(&all));
    if let Some(path) = json
        && let Err(error) = std::fs::write(&path, format!("{:#}\n", report::record(&all)))
    {
        eprintln!("conformance: {}: {error}", path.display());
        return ExitCode::from(2);
    }
    if passes { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
