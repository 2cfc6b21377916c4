//! Real servers for tests: PostgreSQL with standbys, PgBouncer, Kafka.
//!
//! Each runs on a free port of 127.0.0.1, with a directory of its own. None outlives the test
//! process, even one that is killed: the kernel then ends the servers, and a small process beside
//! each directory removes it. What can remain: the directory, when that small process was killed
//! too; and whatever was made on a server that the environment named instead of a started one.
//!
//! | variable | says |
//! |---|---|
//! | `ORDERLY_TEST_POSTGRES` | the `postgres://` URL of a superuser, instead of starting the shared PostgreSQL |
//! | `ORDERLY_TEST_PGBOUNCER` | `host:port` of a PgBouncer before that one, instead of starting it |
//! | `ORDERLY_TEST_KAFKA` | bootstrap addresses, instead of starting brokers, but for TLS |
//!
//! Calls block until the server is as they say, and panic when it is not within a minute or so, with
//! the end of its log. Deliberately absent: a client; commands go through the servers' own programs.

mod certificate;
mod directory;
mod kafka;
mod pgbouncer;
mod postgres;
mod process;
mod url;

use std::sync::OnceLock;

pub use kafka::{Kafka, Tls as KafkaTls};
pub use pgbouncer::PgBouncer;
pub use postgres::{Postgres, Shutdown};

/// The PostgreSQL that all tests of this process share. The first call starts it.
pub fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(Postgres::shared)
}

/// The server that the environment names instead of a started one.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration but this")]
fn named_by(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}
