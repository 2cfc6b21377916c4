//! Settings of what a light build leaves out. They are read and explained in every build, so that a
//! configuration means the same in each.

use std::{path::PathBuf, time::Duration};

use mainstay::config::duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where PostgreSQL is, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// The database, as a URL without a password: `postgres://user@host:5432/database`. Several hosts
    /// may be named, with commas between; the one that takes writes is used.
    #[schemars(example = &"postgres://orderly@db-1,db-2/orderly?sslmode=require")]
    pub url: String,
    /// The same database past any pooler, for what a pooler in transaction mode cannot carry:
    /// notifications and the relay's lock. Default: `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_url: Option<String>,
    /// The file with the password. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The authorities that a server's certificate is checked against, as PEM. Default: those of the
    /// system. Whether TLS is used is the URL's `sslmode` to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether statements are prepared once for each connection, which costs the server less. A pooler
    /// in transaction mode that does not know of them, as PgBouncer before 1.21, needs `false`.
    /// Default: `true`.
    pub prepare: bool,
    /// Connections that write. At most 16. Default: 2.
    pub writers: usize,
    /// Changes that may wait for a writer; more are refused as busy. At most 1,000,000. Default:
    /// 4,096.
    pub queue: usize,
    /// Changes that one transaction may hold. At most 4,096. Default: 256.
    pub batch: usize,
    /// Connections that read. At most 256. Default: 8.
    pub readers: usize,
    /// How long a connection may take to be made. Default 2 s.
    #[serde(with = "duration::Text")]
    pub connect_timeout: Duration,
    /// How long a change may wait for a row that another transaction holds, before it is tried alone,
    /// and then refused as busy. Default 500 ms.
    #[serde(with = "duration::Text")]
    pub lock_timeout: Duration,
    /// How long a transaction may take to be answered; after that its connection counts as lost and its
    /// outcome as unknown. Default 10 s.
    #[serde(with = "duration::Text")]
    pub answer_timeout: Duration,
    /// How often events are looked for that nobody told of. Default 1 s.
    #[serde(with = "duration::Text")]
    pub poll: Duration,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            url: String::new(),
            direct_url: None,
            password_file: None,
            ca_file: None,
            prepare: true,
            writers: 2,
            queue: 4_096,
            batch: 256,
            readers: 8,
            connect_timeout: Duration::from_secs(2),
            lock_timeout: Duration::from_millis(500),
            answer_timeout: Duration::from_secs(10),
            poll: Duration::from_secs(1),
        }
    }
}

impl Postgres {
    /// The defaults, with the database at this URL.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}
