//! The payment provider simulator as a program: `gateway-sim serve`.

mod cli;
mod serve;
mod settings;

use std::{error::Error, io::Write as _, process::ExitCode};

use clap::Parser as _;

use crate::cli::{Cli, Command, ConfigCommand};

/// What a command ends with when it fails: its text says what to do.
type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(options) => serve::serve(&options),
        Command::Config { command: ConfigCommand::Print(options) } => settings::print(&options),
    };
    outcome.unwrap_or_else(|error| {
        complain(&*error);
        ExitCode::FAILURE
    })
}

/// Says a line on standard output. A reader that is gone is no reason to fail.
fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Says what went wrong and why, on standard error.
fn complain(error: &dyn Error) {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}\n  because: {error}");
        source = error.source();
    }
    drop(writeln!(std::io::stderr(), "{text}"));
}
