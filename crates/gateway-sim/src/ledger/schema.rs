//! Opening the file: the lock, the settings, the tables.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

const TABLES: &str = include_str!("schema.sql");

/// The shape of the tables that this version reads and writes.
const VERSION: i64 = 1;

/// The oldest SQLite that is safe here: older ones can corrupt a WAL when a checkpoint and a reset
/// meet (fixed in 3.51.3).
const OLDEST: i32 = 3_051_003;

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another simulator in this one, has it open.
    #[error("{0} is in use by another gateway-sim; stop that one, or name another file")]
    InUse(PathBuf),
    /// The file or its folder cannot be used.
    #[error("cannot use {0}")]
    File(PathBuf, #[source] std::io::Error),
    /// SQLite refuses.
    #[error("cannot open the ledger")]
    Sqlite(#[from] rusqlite::Error),
    /// It was written by another version.
    #[error("the ledger is of version {0} and this program reads {VERSION}: name another file")]
    Version(i64),
    /// The SQLite that was built in could lose what it wrote.
    #[error("SQLite {0} is older than 3.51.3")]
    OldSqlite(&'static str),
}

/// Held while the ledger is open, so that two never write one file.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

pub(super) fn lock(path: &Path) -> Result<Lock, OpenError> {
    let failed = |error| OpenError::File(path.to_owned(), error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push("-lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(beside);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The connection that writes. FULL syncs the log at every commit: an answer that was given must
/// survive a power loss, or a caller's lookup would find that its charge never was.
pub(super) fn writer(path: &Path) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < OLDEST {
        return Err(OpenError::OldSqlite(rusqlite::version()));
    }
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(64);
    match connection.pragma_query_value(None, "user_version", |row| row.get(0))? {
        0 => connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"
        ))?,
        VERSION => {}
        other => return Err(OpenError::Version(other)),
    }
    Ok(connection)
}

/// The connection that reads beside it.
pub(super) fn reader(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
