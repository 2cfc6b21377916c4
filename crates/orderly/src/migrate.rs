//! `orderly migrate`: the tables of the shared store.

use std::process::ExitCode;

use mainstay::telemetry;
use orders_adapters::settings;

use crate::{
    app,
    cli::Migrate,
    config,
    console::{Failure, say},
};

/// Brings the tables to this version and says what was done.
pub(crate) fn run(options: &Migrate) -> Result<ExitCode, Failure> {
    let config = config::load(&options.config)?.value;
    let Some(postgres) = &config.postgres else {
        return Err("postgres.url is not set: the embedded store makes its tables by itself".into());
    };
    // It may wait for others for minutes, and says so there.
    let _telemetry = telemetry::init(app::NAME, &config.log)?;
    let steps = migrate(postgres, options.to)?;
    for step in &steps {
        say(step);
    }
    say(if steps.is_empty() { "there was nothing to do" } else { "the tables are ready" });
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "postgres")]
fn migrate(config: &settings::Postgres, to: Option<i32>) -> Result<Vec<String>, Failure> {
    use orders_adapters::postgres;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let migrated = match to {
        Some(step) => runtime.block_on(postgres::migrate_to(config, step)),
        None => runtime.block_on(postgres::migrate(config)),
    };
    Ok(migrated?.steps)
}

#[cfg(not(feature = "postgres"))]
fn migrate(_: &settings::Postgres, _: Option<i32>) -> Result<Vec<String>, Failure> {
    Err(config::LEFT_OUT.into())
}
