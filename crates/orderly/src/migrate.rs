//! `orderly migrate`: the tables of the shared store.

use std::process::ExitCode;

use orders_adapters::settings;

use crate::{
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
    let steps = migrate(postgres)?;
    for step in &steps {
        say(step);
    }
    say(if steps.is_empty() { "the tables are of this version" } else { "the tables are ready" });
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "postgres")]
fn migrate(config: &settings::Postgres) -> Result<Vec<String>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(orders_adapters::postgres::migrate(config))?.steps)
}

#[cfg(not(feature = "postgres"))]
fn migrate(_: &settings::Postgres) -> Result<Vec<String>, Failure> {
    Err(config::LEFT_OUT.into())
}
