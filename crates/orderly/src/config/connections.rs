//! Whether the servers that a configuration names can be used now, and all that stands in the way.

use mainstay::{
    config::{Errors, Loaded, Problem},
    telemetry::error_chain,
};

use super::{Config, Role};
use crate::console::Failure;

/// A setting, and what is the matter with what it names.
type Fault = (&'static str, Failure);

/// Connects to every server that this process would use, in the way it would.
///
/// # Errors
/// Everything that stands in the way at any of them.
pub(super) fn check(loaded: &Loaded<Config>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let faults = runtime.block_on(faults(&loaded.value));
    if faults.is_empty() {
        return Ok(());
    }
    let problem = |(key, fault): Fault| Problem {
        key: key.to_owned(),
        layer: loaded.origin(key),
        message: error_chain(&*fault),
    };
    Err(Errors(faults.into_iter().map(problem).collect()).into())
}

async fn faults(config: &Config) -> Vec<Fault> {
    let relays = config.kafka.is_some() && config.roles.has(Role::Relay);
    let mut faults = database(config, relays).await;
    if relays {
        faults.extend(brokers(config).await);
    }
    faults
}

/// The database, and also past a pooler where that is needed.
#[cfg(feature = "postgres")]
async fn database(config: &Config, relays: bool) -> Vec<Fault> {
    use orders_adapters::postgres::{Lead, Postgres};

    let Some(postgres) = &config.postgres else { return Vec::new() };
    let mut faults: Vec<Fault> = Vec::new();
    if let Err(error) = Postgres::probe(postgres).await {
        faults.push(("postgres.url", error.into()));
    }
    // Without a URL of its own it leads to the same, of which nothing is told twice.
    let is_needed = postgres.direct_url.is_some() || (relays && faults.is_empty());
    if is_needed && let Err(error) = Lead::probe(postgres).await {
        faults.push(("postgres.direct_url", error.into()));
    }
    faults
}

#[cfg(feature = "kafka")]
async fn brokers(config: &Config) -> Vec<Fault> {
    use orders_adapters::kafka::missing_topics;

    let Some(kafka) = &config.kafka else { return Vec::new() };
    let fault: Failure = match missing_topics(kafka).await {
        Ok(missing) if missing.is_empty() => return Vec::new(),
        Ok(missing) => {
            let missing = missing.join(", ");
            format!("it has no topic {missing}; run `orderly events topics` first").into()
        }
        Err(error) => error.into(),
    };
    vec![("kafka.brokers", fault)]
}

/// A build without it, in which the configuration cannot name it.
#[cfg(not(feature = "postgres"))]
async fn database(_: &Config, _: bool) -> Vec<Fault> {
    Vec::new()
}

/// A build without it, in which the configuration cannot name it.
#[cfg(not(feature = "kafka"))]
async fn brokers(_: &Config) -> Vec<Fault> {
    Vec::new()
}
