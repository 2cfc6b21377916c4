//! Connections: where they lead, whom they trust, and pools of them.

use std::{path::PathBuf, str::FromStr as _, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod, Runtime};
use mainstay::{client::tls, config::Secret};
use orders::ports::Cause;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Config, session::told};

pub(super) use deadpool_postgres::Pool;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is none.
    #[error("{key} is no PostgreSQL URL: {why}")]
    Url {
        /// Which setting.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The password cannot be read.
    #[error("cannot read the password from {}", .0.display())]
    Password(PathBuf, #[source] std::io::Error),
    /// There is nobody to trust.
    #[error("cannot set up TLS")]
    Tls(#[source] Cause),
    /// The server cannot be reached, or refuses us.
    #[error("cannot use the database")]
    Unreachable(#[source] Cause),
    /// The tables are not there.
    #[error("the database has no tables of orderly; run `orderly migrate` first")]
    Empty,
    /// The tables are older than this version.
    #[error(
        "the tables are of version {there} and {needed} is needed; run `orderly migrate` first"
    )]
    Old {
        /// What there is.
        there: i32,
        /// What is needed.
        needed: i32,
    },
    /// There is no such step to migrate to.
    #[error("there is no step {step}; this version knows {oldest} to {newest}")]
    NoStep {
        /// What was asked for.
        step: i32,
        /// The first that this version works with.
        oldest: i32,
        /// The last there is.
        newest: i32,
    },
    /// A setting of the server makes a promise void.
    #[error("the server has {setting}, and acknowledged orders could be lost; {hint}")]
    Unsafe {
        /// The setting and its value.
        setting: String,
        /// What to do.
        hint: &'static str,
    },
    /// The database cannot hold every text.
    #[error("the database has the encoding {0}, which lacks most characters; make one in UTF8")]
    Encoding(String),
    /// The tables cannot be brought to this version's shape.
    #[error("cannot bring the tables to this version")]
    Migrate(#[source] Cause),
}

impl OpenError {
    #[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` has")]
    pub(super) fn server(error: tokio_postgres::Error) -> Self {
        Self::Unreachable(told(&error).into())
    }
}

/// Where a connection leads.
pub(super) fn target(
    config: &Config,
    key: &'static str,
    url: &str,
) -> Result<tokio_postgres::Config, OpenError> {
    let failed = |why: String| OpenError::Url { key, why };
    let mut target = tokio_postgres::Config::from_str(url).map_err(|e| failed(told(&e)))?;
    if target.get_dbname().is_none() {
        return Err(failed("it names no database".to_owned()));
    }
    if target.get_application_name().is_none() {
        target.application_name("orderly");
    }
    target.target_session_attrs(TargetSessionAttrs::ReadWrite);
    target.connect_timeout(config.connect_timeout);
    // A peer that is gone without a word is noticed in seconds and not in hours.
    target.keepalives(true).keepalives_idle(Duration::from_secs(5));
    target.keepalives_interval(Duration::from_secs(2)).keepalives_retries(3);
    target.tcp_user_timeout(config.answer_timeout);
    if let Some(file) = &config.password_file {
        let failed = |error| OpenError::Password(file.clone(), error);
        target.password(Secret::<String>::from_file(file).map_err(failed)?.expose());
    }
    Ok(target)
}

pub(super) fn direct(config: &Config) -> Result<tokio_postgres::Config, OpenError> {
    match &config.direct_url {
        Some(url) => target(config, "postgres.direct_url", url),
        None => target(config, "postgres.url", &config.url),
    }
}

pub(super) fn tls(config: &Config) -> Result<MakeRustlsConnect, OpenError> {
    let trust = tls::trusting(config.ca_file.as_ref());
    let trust = trust.map_err(|error| OpenError::Tls(error.into()))?;
    Ok(MakeRustlsConnect::new((*trust).clone()))
}

/// A pool of up to so many connections.
pub(super) fn pool(config: &Config, most: usize) -> Result<Pool, OpenError> {
    let target = target(config, "postgres.url", &config.url)?;
    // One host after the other is tried, and then it has to answer.
    let tries = u32::try_from(target.get_hosts().len()).unwrap_or(u32::MAX).saturating_add(1);
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(target, tls(config)?, manager);
    let pool = Pool::builder(manager)
        .max_size(most.max(1))
        .create_timeout(Some(config.connect_timeout.saturating_mul(tries)))
        .recycle_timeout(Some(config.connect_timeout))
        .runtime(Runtime::Tokio1)
        .build();
    pool.map_err(|error| OpenError::Unreachable(error.into()))
}
