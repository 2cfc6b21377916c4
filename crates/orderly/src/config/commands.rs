//! `orderly config`.

use std::process::ExitCode;

use super::{Config, layers, load_to_serve, warnings};
use crate::{
    cli::{Explain, Serve},
    console::{Failure, say},
};

/// `orderly config print`: also what breaks a rule is shown, so that it can be seen why.
pub(crate) fn print(options: &Serve) -> Result<ExitCode, Failure> {
    say(layers(options, |_, _| {})?.print().trim_end());
    Ok(ExitCode::SUCCESS)
}

/// `orderly config print --defaults`.
pub(crate) fn print_defaults() -> ExitCode {
    say(mainstay::config::reference::<Config>().trim_end());
    ExitCode::SUCCESS
}

/// `orderly config explain`.
pub(crate) fn explain(options: &Explain) -> Result<ExitCode, Failure> {
    let loaded = layers(&options.config, |_, _| {})?;
    say(loaded.explain(&options.key)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// `orderly config check`.
pub(crate) fn check(options: &Serve) -> Result<ExitCode, Failure> {
    let loaded = load_to_serve(options)?;
    for warning in warnings(&loaded.value) {
        say(&format!("warning: {warning}"));
    }
    say("the configuration is usable");
    Ok(ExitCode::SUCCESS)
}
