//! Logs to stderr, as JSON for machines or as text for people.
//!
//! Not here yet: traces sent to a collector.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::{self, IsTerminal};
use tracing_subscriber::{EnvFilter, filter::ParseError, util::TryInitError};
use tracing_subscriber::{layer::SubscriberExt, registry, util::SubscriberInitExt};

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line, with the event's fields at its top level.
    Json,
    /// Text for people.
    Human,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How logs look. Default: text on a terminal, JSON elsewhere.
    pub format: Format,
    /// The least level, by target if wanted, such as `info,orders=debug`. Default `info`.
    pub level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { format: Format::Auto, level: "info".to_owned() }
    }
}

/// Keeps telemetry working; drop it last, when nothing more is to be told.
#[derive(Debug)]
#[must_use = "telemetry ends when the guard is dropped"]
pub struct Guard(());

/// Why telemetry did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is not one; see [`Config::level`].
    #[error("the log level {0:?} is malformed")]
    Level(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something in this process logs already.
    #[error("logging was started before")]
    Started(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Whether logging could be started with this configuration.
///
/// # Errors
///
/// Fails when the level is malformed.
pub fn check(config: &Config) -> Result<(), Error> {
    filter(config).map(drop)
}

fn filter(config: &Config) -> Result<EnvFilter, Error> {
    let level = |error: ParseError| Error::Level(config.level.clone(), Box::new(error));
    EnvFilter::builder().parse(&config.level).map_err(level)
}

/// Starts logging for the whole process.
///
/// # Errors
///
/// Fails when the level is malformed, and when it was started before.
pub fn init(config: &Config) -> Result<Guard, Error> {
    let filter = filter(config)?;
    let json = match config.format {
        Format::Auto => !io::stderr().is_terminal(),
        Format::Json => true,
        Format::Human => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let logs = registry().with(filter);
    let started = if json {
        logs.with(lines.json().flatten_event(true)).try_init()
    } else {
        logs.with(lines.with_ansi(io::stderr().is_terminal())).try_init()
    };
    started.map_err(|error: TryInitError| Error::Started(Box::new(error)))?;
    Ok(Guard(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(level: &str) -> Result<(), Error> {
        check(&Config { level: level.to_owned(), ..Config::default() })
    }

    #[test]
    fn a_malformed_level_is_an_error_and_a_good_one_is_not() {
        for good in ["info", "warn,orders=debug", "off", "orders[request]=trace"] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for malformed in ["orders=loud", "info=debug=warn", "info,=debug"] {
            let level = match checked(malformed) {
                Err(Error::Level(level, _)) => Some(level),
                Ok(()) | Err(Error::Started(_)) => None,
            };
            assert_eq!(level.as_deref(), Some(malformed));
        }
    }
}
