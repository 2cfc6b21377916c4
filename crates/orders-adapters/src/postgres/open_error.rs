//! Why a store cannot be opened: at which database, what stands in the way, and which setting or command
//! mends it.

use std::path::PathBuf;

use deadpool_postgres::PoolError;
use orders::ports::Cause;
use tokio_postgres::{Error, error::SqlState};

use super::{
    connect::{Named, place},
    session::told,
};

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Something stands in the way at a database.
    #[error("cannot use the database {place} ({key})")]
    At {
        /// Its servers, its name, and the user: nothing of a password.
        place: String,
        /// The setting that names it.
        key: &'static str,
        /// What stands in the way.
        #[source]
        why: Box<Self>,
    },
    /// The URL is none.
    #[error("{key} is no PostgreSQL URL: {why}")]
    Url {
        /// Which setting.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The password cannot be read.
    #[error("cannot read the password from {}, which postgres.password_file names", .0.display())]
    Password(PathBuf, #[source] std::io::Error),
    /// There is nobody to trust.
    #[error("cannot set up TLS; see postgres.ca_file")]
    Tls(#[source] Cause),
    /// The server cannot be reached, or refuses us.
    #[error("{why}; {hint}")]
    Unreachable {
        /// What it says, or what is said of it.
        why: String,
        /// Where to look.
        hint: &'static str,
    },
    /// The connection is lent to others while nothing is asked on it.
    #[error(
        "a pooler in transaction mode is between this process and the database, and what has to be \
         held there would be lost; set postgres.direct_url to the database itself"
    )]
    Pooled,
    /// The tables are not there.
    #[error("it has no tables of orderly; run `orderly migrate` first")]
    Empty,
    /// The tables are older than this version.
    #[error(
        "its tables are of version {there} and {needed} is needed; run `orderly migrate` first"
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
    #[error("it has {setting}, and acknowledged orders could be lost; mend that with {hint}")]
    Unsafe {
        /// The setting and its value.
        setting: String,
        /// What to do.
        hint: &'static str,
    },
    /// The database cannot hold every text.
    #[error("it has the encoding {0}, which lacks most characters; make one in UTF8 and name that")]
    Encoding(String),
    /// The tables cannot be brought to this version's shape.
    #[error("its tables cannot be brought to this version; {hint}")]
    Migrate {
        /// Where to look.
        hint: &'static str,
        /// What failed.
        #[source]
        cause: Cause,
    },
}

impl OpenError {
    /// The same, with the database that it is about.
    pub(super) fn at(self, (key, url): Named<'_>) -> Self {
        match place(url) {
            Some(place) => Self::At { place, key, why: Box::new(self) },
            None => self,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` has")]
    pub(super) fn server(error: Error) -> Self {
        Self::Unreachable { why: told(&error), hint: hint(&error) }
    }

    pub(super) fn pool(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::server(error),
            PoolError::Timeout(_) => Self::silent(),
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Self::strange(error.to_string())
            }
        }
    }

    pub(super) fn silent() -> Self {
        let hint = "see the host and the port in the URL, and postgres.connect_timeout";
        Self::Unreachable { why: "it does not answer".to_owned(), hint }
    }

    /// It answers, and not as a store does.
    pub(super) fn strange(why: String) -> Self {
        Self::Unreachable { why, hint: "is it a database of orderly?" }
    }

    /// Whether it answers, and must not be written to as it is set.
    pub(super) fn is_unreliable(&self) -> bool {
        matches!(self, Self::Unsafe { .. } | Self::Encoding(_))
    }
}

/// Where to look when a server says this, or the client says it of the server.
pub(super) fn hint(error: &Error) -> &'static str {
    match error.code().map(SqlState::code) {
        Some("28P01") => "see postgres.password_file",
        Some("28000") => "see the user in the URL, and the server's pg_hba.conf",
        Some("3D000") => "make it, or name another one in the URL",
        Some("42501") => "the user in the URL must own the database and its tables",
        Some("53300") => "raise the server's max_connections, or lower postgres.readers",
        Some("57P03") => "wait until it is ready",
        Some(_) => "see the server's log",
        // Of which kind it is shows in its own words only.
        None => match &*error.to_string() {
            "error performing TLS handshake" => {
                "see postgres.ca_file, and the host and the sslmode in the URL"
            }
            "invalid configuration" | "authentication error" => "see postgres.password_file",
            _ => "see the host and the port in the URL, and whether the server runs there",
        },
    }
}
