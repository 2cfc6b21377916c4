//! PostgreSQL: one that tests share, private ones, and standbys.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    certificate::Authority,
    directory::Directory,
    named_by,
    process::{self, Place, Process},
    url::Url,
};
use crate::port;

/// Small, durable (`fsync` stays on), and with room for many pools.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
shared_buffers = 32MB
max_connections = 200
log_line_prefix = '%m [%p] %q%u@%d '
";

/// The role that tests' databases belong to: no superuser, and row security binds it. Made at the
/// first database, by whichever test process is the first on this server.
const ROLE: &str = "
DO $$ BEGIN
  CREATE ROLE orderly LOGIN PASSWORD 'orderly' NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$";

/// Who may connect to a server with TLS: the superuser as ever, others over TLS with a password.
const TLS_ONLY: &str = "
host all postgres 127.0.0.1/32 trust
hostssl all all 127.0.0.1/32 scram-sha-256
hostnossl all all 127.0.0.1/32 reject
";

/// A PostgreSQL server. Dropping it stops it and removes its directory.
#[derive(Debug)]
pub struct Postgres {
    admin: Url,
    /// None for one that the environment named.
    own: Option<Own>,
}

/// How to stop a PostgreSQL, in its own words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shutdown {
    /// Open transactions are rolled back, connections closed, and all is written down.
    Fast,
    /// As after a crash: nothing more is written, and the next start recovers from the log.
    Immediate,
}

/// A server that this process started.
#[derive(Debug)]
struct Own {
    // Before the directory, so that the server ends before its files do.
    process: Place,
    directory: Directory,
    port: u16,
}

impl Postgres {
    pub(super) fn shared() -> Self {
        match named_by("ORDERLY_TEST_POSTGRES") {
            Some(url) => Self { admin: Url::parse(&url), own: None },
            None => Self::private(&[]),
        }
    }

    /// Starts one for the caller alone, with these settings beside those of all tests.
    pub fn private(settings: &[(&str, &str)]) -> Self {
        Self::on(prepared(settings))
    }

    /// Starts one for the caller alone that takes only its superuser without TLS and a password.
    ///
    /// Its certificate is for 127.0.0.1. In its directory are the authority that signed it,
    /// `ca.pem`, and the password of the role that databases belong to, `password`.
    pub fn with_tls() -> Self {
        let directory = prepared(&[("ssl", "on")]);
        let authority = Authority::new("an authority of tests");
        let shown = authority.certificate("127.0.0.1");
        for (name, contents) in [
            ("data/pg_hba.conf", TLS_ONLY),
            ("data/server.crt", &*shown.certificate),
            ("data/server.key", &shown.key),
            ("ca.pem", &authority.pem()),
            ("password", "orderly\n"),
        ] {
            directory.file(name, contents.as_bytes());
        }
        Self::on(directory)
    }

    /// Starts a standby that follows `primary` by streaming.
    ///
    /// To make the primary wait for it: `primary.set("synchronous_standby_names", "*")`, and restart it.
    pub fn standby(primary: &Self) -> Self {
        let directory = Directory::new("postgres-standby");
        process::output(
            process::command(&program("pg_basebackup"), "TERM", directory.path())
                .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
                .args(["--pgdata=data", "--dbname"])
                .arg(primary.admin_url()),
        );
        Self::on(directory)
    }

    fn on(directory: Directory) -> Self {
        let port = port::free();
        let admin = Url::parse(&format!("postgres://postgres@127.0.0.1:{port}/postgres"));
        let own = Own { process: Place::default(), directory, port };
        let postgres = Self { admin, own: Some(own) };
        postgres.start();
        postgres
    }

    /// Makes an empty database and returns its URL, for a role that owns it, that is no superuser
    /// and that row security binds.
    pub fn database(&self) -> String {
        // From `template0`, since nothing can be connected to that one and stand in the way.
        self.database_from("template0")
    }

    /// Makes a database with all that is in another one, given by its URL, to which nobody may be
    /// connected meanwhile. Quicker than to make the same tables again.
    pub fn copy(&self, template: &str) -> String {
        self.database_from(&Url::parse(template).database)
    }

    fn database_from(&self, template: &str) -> String {
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("/proc, so Linux");
        let name = format!("t_{}", id.trim().replace('-', ""));
        let create = format!("CREATE DATABASE {name} OWNER orderly TEMPLATE {template}");
        self.psql(&[ROLE, &create]);
        let credentials = "orderly:orderly".to_owned();
        Url { credentials, database: name, ..self.admin.clone() }.to_string()
    }

    /// The URL of the superuser, on the database `postgres` of a started server.
    pub fn admin_url(&self) -> String {
        self.admin.to_string()
    }

    /// Runs a statement as superuser and returns what it gives, one row a line, fields parted by `|`.
    pub fn sql(&self, statement: &str) -> String {
        self.psql(&[statement])
    }

    /// Sets a parameter of a running server, whose processes learn of it by and by. One that needs a
    /// restart holds from the next.
    pub fn set(&self, name: &str, value: &str) {
        let value = value.replace('\'', "''");
        self.psql(&[&format!("ALTER SYSTEM SET {name} = '{value}'"), "SELECT pg_reload_conf()"]);
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        assert_eq!(self.sql("SELECT pg_promote(true, 60)"), "t", "promoted within a minute");
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.own().port
    }

    /// Where its files are: `data` (with `pg_hba.conf`), `log`, the Unix socket.
    pub fn directory(&self) -> &Path {
        self.own().directory.path()
    }

    /// Writes a file into its directory that only the server can read, a key or a certificate.
    pub fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        self.own().directory.file(name, contents)
    }

    /// Stops it; nothing happens when it is stopped already.
    pub fn stop(&self, how: Shutdown) {
        self.own().process.empty(match how {
            Shutdown::Fast => "INT",
            Shutdown::Immediate => "QUIT",
        });
    }

    /// Starts it on its port again, and returns once it takes connections.
    pub fn start(&self) {
        let Own { process, directory, port } = self.own();
        let port = port.to_string();
        // It quits at once when the tests are gone, since its files go too.
        let mut server = process::command(&program("postgres"), "QUIT", directory.path());
        server.args(["-D", "data", "-p", &port, "-k"]).arg(directory.path());
        process.fill(|| Process::start("PostgreSQL", server, &directory.path().join("log")));
        process.until(|| {
            Command::new(program("pg_isready"))
                .args(["--quiet", "--host=127.0.0.1", "--port", &port])
                .status()
                .is_ok_and(|status| status.success())
        });
    }

    /// Stops it and starts it again.
    pub fn restart(&self, how: Shutdown) {
        self.stop(how);
        self.start();
    }

    pub(super) fn host_and_port(&self) -> (&str, &str) {
        self.admin.address.split_once(':').unwrap_or((&self.admin.address, "5432"))
    }

    pub(super) fn admin_credentials(&self) -> (&str, &str) {
        self.admin.credentials.split_once(':').unwrap_or((&self.admin.credentials, ""))
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("a private server; the environment named this one")
    }

    fn psql(&self, statements: &[&str]) -> String {
        let mut psql = Command::new(program("psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d"]).arg(self.admin_url());
        for statement in statements {
            psql.arg("-c").arg(statement);
        }
        process::output(&mut psql)
    }
}

/// The files of a server with these settings beside those of all tests.
fn prepared(settings: &[(&str, &str)]) -> Directory {
    let directory = Directory::new("postgres");
    process::output(
        process::command(&program("initdb"), "TERM", directory.path())
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync", "--pgdata=data"]),
    );
    let file = directory.path().join("data/postgresql.conf");
    let mut text = fs::read_to_string(&file).expect("what initdb wrote");
    text.push_str(SETTINGS);
    text.extend(
        settings.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))),
    );
    fs::write(&file, text).expect("the settings");
    directory
}

/// A program of the newest PostgreSQL in Debian's place, or else in PATH.
fn program(name: &str) -> PathBuf {
    let version = |path: &PathBuf| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.join("bin/postgres").exists())
        .max_by_key(version)
        .map_or_else(|| name.into(), |path| path.join("bin").join(name))
}
