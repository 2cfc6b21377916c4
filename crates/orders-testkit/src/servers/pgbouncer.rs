//! PgBouncer: a pool of few connections in front of PostgreSQL, handed out for one transaction each.

use std::path::{Path, PathBuf};

use super::{
    Postgres,
    directory::Directory,
    named_by,
    process::{self, Place, Process},
    url::Url,
};
use crate::port;

/// A PgBouncer in `pool_mode=transaction`. Dropping it stops it.
///
/// Debian 12 has version 1.18, which knows nothing of prepared statements (1.21 does): what one
/// transaction prepares may be gone in the next.
#[derive(Debug)]
pub struct PgBouncer {
    address: String,
    /// None for one that the environment named.
    own: Option<Own>,
}

/// One that this process started.
#[derive(Debug)]
struct Own {
    // Before the directory, so that the server ends before its files do.
    process: Place,
    directory: Directory,
    port: u16,
}

impl PgBouncer {
    /// Starts one before a PostgreSQL, with at most `pool_size` connections to it for each database
    /// and role.
    pub fn before(postgres: &Postgres, pool_size: usize) -> Self {
        if let Some(address) = named_by("ORDERLY_TEST_PGBOUNCER") {
            return Self { address, own: None };
        }
        let directory = Directory::new("pgbouncer");
        let port = port::free();
        directory.file("pgbouncer.ini", settings(postgres, port, pool_size).as_bytes());
        // Both are trusted on their word; a server that asks for a password gets it from here.
        let (admin, password) = postgres.admin_credentials();
        let users = format!("\"orderly\" \"orderly\"\n\"{admin}\" \"{password}\"\n");
        directory.file("users", users.as_bytes());
        let own = Own { process: Place::default(), directory, port };
        let bouncer = Self { address: format!("127.0.0.1:{port}"), own: Some(own) };
        bouncer.start();
        bouncer
    }

    /// The URL of the same database through this.
    pub fn url(&self, database: &str) -> String {
        Url { address: self.address.clone(), ..Url::parse(database) }.to_string()
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.own().directory.path()
    }

    /// Stops it at once, its connections with it; nothing happens when it is stopped already.
    pub fn stop(&self) {
        self.own().process.empty("TERM");
    }

    /// Starts it on its port again, and returns once it takes connections.
    pub fn start(&self) {
        let Own { process, directory, port } = self.own();
        let mut server = process::command(&program(), "TERM", directory.path());
        server.arg("pgbouncer.ini");
        process.fill(|| Process::start("PgBouncer", server, &directory.path().join("log")));
        process.until(|| port::answers(*port));
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("a started PgBouncer; the environment named this one")
    }
}

fn settings(postgres: &Postgres, port: u16, pool_size: usize) -> String {
    let (host, server_port) = postgres.host_and_port();
    format!(
        "[databases]
* = host={host} port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = users
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 1000
ignore_startup_parameters = extra_float_digits
server_idle_timeout = 2
"
    )
}

/// Debian puts it where a user's PATH does not look.
fn program() -> PathBuf {
    let debian = PathBuf::from("/usr/sbin/pgbouncer");
    if debian.exists() { debian } else { "pgbouncer".into() }
}
