//! `orderly config`.

use std::process::ExitCode;

use mainstay::telemetry;

use super::{Config, connections, layers, load_to_serve, load_to_start, warnings};
use crate::{
    app,
    cli::{Check, Explain, Serve},
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
pub(crate) fn check(options: &Check) -> Result<ExitCode, Failure> {
    let loaded = if options.while_running {
        load_to_serve(&options.config)?
    } else {
        load_to_start(&options.config)?
    };
    if options.connect {
        // What the service would only warn of is logged, as it would be there.
        let _telemetry = telemetry::init(app::NAME, &loaded.value.log)?;
        connections::check(&loaded)?;
    }
    for warning in warnings(&loaded.value) {
        say(&format!("warning: {warning}"));
    }
    say("the configuration is usable");
    Ok(ExitCode::SUCCESS)
}
