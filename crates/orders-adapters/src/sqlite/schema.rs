//! Opening the file: the lock, the settings, the tables, the guard.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use orders::domain::state::TRANSITIONS;
use rusqlite::{Connection, OpenFlags};

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open for writing.
    #[error("{0} is in use by another process; stop that one, or name another file")]
    InUse(PathBuf),
    /// It has a second name, under which another process could have it open without our knowing.
    #[error("{0} is a hard link: the file has another name too; remove that one, or copy the file")]
    Linked(PathBuf),
    /// The file or its folder cannot be used.
    #[error("cannot use {0}")]
    File(PathBuf, #[source] std::io::Error),
    /// SQLite refuses.
    #[error("cannot open the store")]
    Sqlite(#[from] rusqlite::Error),
    /// The tables cannot be brought to this version's shape.
    #[error("cannot bring the store's tables to this version")]
    Migrate(#[from] refinery::Error),
    /// A thread of the store cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// Held while the store is open for writing, so that two processes never write one file.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

/// The oldest SQLite that is safe here: older ones can corrupt a WAL when a checkpoint and a reset
/// meet (fixed in 3.51.3).
const OLDEST: i32 = 3_051_003;

/// Makes the file if it is not there, and takes the lock beside it: by the file's own name, whatever
/// links lead to it.
pub(super) fn lock(path: &Path) -> Result<Lock, OpenError> {
    let failed = |error| OpenError::File(path.to_owned(), error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    // Names and addresses are in it: nobody but its owner may read a new store. SQLite gives the log
    // the same rights.
    let store = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    if store.and_then(|file| file.metadata()).map_err(failed)?.nlink() > 1 {
        return Err(OpenError::Linked(path.to_owned()));
    }
    let beside = beside(&path.canonicalize().map_err(failed)?, "-lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(beside);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The file beside the store with this ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The connection that writes.
pub(super) fn writer(path: &Path, durable: bool) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < OLDEST {
        let text = format!("SQLite {} is older than 3.51.3", rusqlite::version());
        return Err(rusqlite::Error::InvalidPath(text.into()).into());
    }
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    set_durability(&connection, durable)?;
    // Checkpoints belong to a thread of their own.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -64 * 1024)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    embedded::migrations::runner().run(&mut connection)?;
    set_guard(&connection)?;
    sync_folder(path)?;
    Ok(connection)
}

/// FULL syncs the log at every commit; without it a power loss could take acknowledged orders.
pub(super) fn set_durability(connection: &Connection, durable: bool) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })
}

/// A new file's name is durable only once its folder is synced.
fn sync_folder(path: &Path) -> Result<(), OpenError> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| OpenError::File(folder.to_owned(), error))
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.pragma_update(None, "cache_size", -16 * 1024)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Sets a trigger that refuses what the table of transitions does not hold, whoever writes the
/// file. One that is there already is left alone: a store must open on a full disk.
fn set_guard(connection: &Connection) -> rusqlite::Result<()> {
    let moves: Vec<String> = TRANSITIONS
        .iter()
        .filter_map(|t| t.from.map(|from| format!("'{from}>{}'", t.to)))
        .collect();
    let guard = format!(
        "CREATE TRIGGER orders_guard BEFORE UPDATE ON orders
         WHEN new.version <> old.version + 1
              OR old.state || '>' || new.state NOT IN ({})
         BEGIN SELECT RAISE(ABORT, 'not a legal change of an order'); END",
        moves.join(",")
    );
    let there = "SELECT 1 FROM sqlite_schema WHERE name = 'orders_guard' AND sql = ?1";
    if connection.prepare(there)?.exists([&guard])? {
        return Ok(());
    }
    connection
        .execute_batch(&format!("BEGIN; DROP TRIGGER IF EXISTS orders_guard; {guard}; COMMIT;"))
}
