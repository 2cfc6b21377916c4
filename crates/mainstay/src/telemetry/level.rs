//! The level of the log, and changing it while the process runs.

use super::Error;
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::LevelFilter,
    reload::{self, Handle},
};

/// The level of the log. Clones change the same one.
#[derive(Clone, Debug)]
pub struct LogLevel(Handle<EnvFilter, Registry>);

impl LogLevel {
    /// The level now, as [`Config::level`](super::Config::level) writes it; empty when telemetry
    /// has ended.
    pub fn get(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Logs at this level from now on.
    ///
    /// # Errors
    ///
    /// Fails when the level is malformed, and changes nothing then.
    pub fn set(&self, level: &str) -> Result<(), Error> {
        let malformed = |error| Error::Level(level.to_owned(), Some(Box::new(error)));
        self.0.reload(parse(level)?).map_err(malformed)
    }
}

pub(super) type Reloadable = reload::Layer<EnvFilter, Registry>;

pub(super) fn reloadable(level: &str) -> Result<(Reloadable, LogLevel), Error> {
    let (filter, handle) = reload::Layer::new(parse(level)?);
    Ok((filter, LogLevel(handle)))
}

/// Reads a level. A bare word must be a level: the library would take `inof` for a target, and
/// log nothing.
pub(super) fn parse(level: &str) -> Result<EnvFilter, Error> {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let well_formed = |part: &str| part.contains(['=', '[']) || is_level(part);
    if !level.split(',').all(|part| well_formed(part.trim())) {
        return Err(Error::Level(level.to_owned(), None));
    }
    let parsed = EnvFilter::builder().parse(level);
    parsed.map_err(|error| Error::Level(level.to_owned(), Some(Box::new(error))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::{Layer, layer::SubscriberExt, registry};

    #[test]
    fn a_level_is_changed_while_the_log_is_written() {
        let (filter, levels) = reloadable("warn").unwrap();
        let log = registry().with(tracing_subscriber::fmt::layer().with_filter(filter));
        tracing::subscriber::with_default(log, || {
            assert!(!tracing::enabled!(tracing::Level::INFO));
            levels.set("info,quiet=off").unwrap();
            assert!(tracing::enabled!(tracing::Level::INFO));
            assert!(!tracing::enabled!(target: "quiet", tracing::Level::ERROR));
            assert_eq!(levels.get(), "quiet=off,info");
            assert!(levels.set("inof").is_err());
            assert_eq!(levels.get(), "quiet=off,info", "nothing changed");
        });
    }
}
