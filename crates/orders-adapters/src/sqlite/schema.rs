//! Opening the file: the lock, the settings, the tables, the guard.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{self, Path, PathBuf},
    time::Duration,
};

use orders::domain::state::TRANSITIONS;
use rusqlite::{Connection, OpenFlags};

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Why a store cannot be opened. Paths are whole, so that it is seen which file was meant.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open for writing.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// It has a second name, under which another process could have it open without our knowing.
    #[error("{0} is a hard link: the file has another name too; remove that one, or copy the file")]
    Linked(PathBuf),
    /// There is no such file.
    #[error("there is no store {0}")]
    Missing(PathBuf),
    /// There is no folder for it, nor one to make that in: a slip in the path rather than a new store.
    #[error(
        "cannot make {0}: the folder above it is not there either; make it if the path is right"
    )]
    NoFolder(PathBuf),
    /// Another store took it over.
    #[error(
        "{store} was taken over by {to}: serve from there, with postgres.url; to go back to what this \
         file holds, without what came since, remove {mark}"
    )]
    Moved {
        /// The file.
        store: PathBuf,
        /// What took it over.
        to: String,
        /// What says so.
        mark: PathBuf,
    },
    /// It is a folder.
    #[error("{} is a folder; name a file in it, such as {}", .0.display(), .0.join("orderly.db").display())]
    Folder(PathBuf),
    /// The file holds something else.
    #[error("{0} is not a store: it does not begin as an SQLite file does")]
    Foreign(PathBuf),
    /// The file or its folder cannot be used.
    #[error("cannot use {0}")]
    File(PathBuf, #[source] io::Error),
    /// SQLite refuses. It tells its reason twice, and one is shown.
    #[error("cannot open the store {0}: {1}")]
    Sqlite(PathBuf, rusqlite::Error),
    /// The tables cannot be brought to this version's shape.
    #[error("cannot bring the tables of {0} to this version")]
    Migrate(PathBuf, #[source] refinery::Error),
    /// A thread of the store cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl OpenError {
    /// What SQLite says of the store at `path`.
    pub(super) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        move |error| Self::Sqlite(whole(path), error)
    }

    /// What the system says of the file or folder at `path`.
    fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::File(whole(path), error)
    }
}

/// The path from the root on, as far as that is known.
fn whole(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
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
    place(path)?;
    let failed = OpenError::file(path);
    if let Some(folder) = folder(path).filter(|folder| !folder.exists()) {
        fs::create_dir(folder).map_err(OpenError::file(folder))?;
    }
    // Names and addresses are in it: nobody but its owner may read a new store. SQLite gives the log
    // the same rights.
    let store = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    if store.and_then(|file| file.metadata()).map_err(&failed)?.nlink() > 1 {
        return Err(OpenError::Linked(whole(path)));
    }
    let beside = beside(&path.canonicalize().map_err(&failed)?, "-lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&beside);
    take(file.map_err(OpenError::file(&beside))?, path)
}

fn take(file: File, path: &Path) -> Result<Lock, OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(whole(path))),
        Err(TryLockError::Error(error)) => Err(OpenError::file(path)(error)),
    }
}

/// Whether there is a store at `path`.
pub(super) fn find(path: &Path) -> Result<(), OpenError> {
    place(path)?;
    if path.exists() { Ok(()) } else { Err(OpenError::Missing(whole(path))) }
}

/// Says beside the store that `to` took it over.
pub(super) fn mark_moved(path: &Path, to: &str) -> Result<(), OpenError> {
    let mark = moved_mark(path);
    let said = File::create(&mark).and_then(|mut file| {
        io::Write::write_all(&mut file, to.as_bytes())?;
        file.sync_all()
    });
    said.map_err(OpenError::file(&mark))?;
    sync_folder(&mark)
}

/// Refuses a store that another one took over.
pub(super) fn not_moved(path: &Path) -> Result<(), OpenError> {
    let mark = moved_mark(path);
    match fs::read_to_string(&mark) {
        Ok(to) => Err(OpenError::Moved { store: whole(path), to, mark }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::file(&mark)(error)),
    }
}

fn moved_mark(path: &Path) -> PathBuf {
    beside(&path.canonicalize().unwrap_or_else(|_| whole(path)), "-moved")
}

/// Whether a store is at `path`, or could be made there. Makes nothing.
pub(super) fn place(path: &Path) -> Result<(), OpenError> {
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(OpenError::Folder(whole(path))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match folder(path) {
            Some(folder)
                if !folder.exists() && self::folder(folder).is_some_and(|f| !f.exists()) =>
            {
                Err(OpenError::NoFolder(whole(folder)))
            }
            Some(_) | None => Ok(()),
        },
        Err(error) => Err(OpenError::file(path)(error)),
    }
}

/// Whether the store at `path` could be opened for writing now, as far as that shows without doing
/// it. Makes and changes nothing.
pub(super) fn probe(path: &Path) -> Result<(), OpenError> {
    place(path)?;
    not_moved(path)?;
    if !path.exists() {
        return Ok(());
    }
    let failed = OpenError::file(path);
    let mut store = OpenOptions::new().read(true).append(true).open(path).map_err(&failed)?;
    if store.metadata().map_err(&failed)?.nlink() > 1 {
        return Err(OpenError::Linked(whole(path)));
    }
    let mut head = Vec::new();
    store.by_ref().take(SQLITE.len() as u64).read_to_end(&mut head).map_err(&failed)?;
    if !head.is_empty() && head != SQLITE {
        return Err(OpenError::Foreign(whole(path)));
    }
    let beside = beside(&path.canonicalize().map_err(&failed)?, "-lock");
    match OpenOptions::new().write(true).open(&beside) {
        Ok(file) => take(file, path).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::file(&beside)(error)),
    }
}

/// How every SQLite file begins.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// The folder that a path names, other than the working directory.
fn folder(path: &Path) -> Option<&Path> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty())
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
        return Err(OpenError::sqlite(path)(rusqlite::Error::InvalidPath(text.into())));
    }
    let mut connection = Connection::open(path).map_err(OpenError::sqlite(path))?;
    set_up(&connection, durable).map_err(OpenError::sqlite(path))?;
    let migrated = embedded::migrations::runner().run(&mut connection);
    migrated.map_err(|error| OpenError::Migrate(whole(path), error))?;
    set_guard(&connection).map_err(OpenError::sqlite(path))?;
    sync_folder(path)?;
    Ok(connection)
}

fn set_up(connection: &Connection, durable: bool) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    set_durability(connection, durable)?;
    // Checkpoints belong to a thread of their own.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -64 * 1024)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// FULL syncs the log at every commit; without it a power loss could take acknowledged orders.
pub(super) fn set_durability(connection: &Connection, durable: bool) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })
}

/// A new file's name is durable only once its folder is synced.
fn sync_folder(path: &Path) -> Result<(), OpenError> {
    let folder = folder(path).unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(OpenError::file(folder))
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

#[cfg(test)]
mod tests {
    use refinery::Target;

    use super::*;

    #[test]
    fn a_feed_that_was_published_before_still_is() {
        for (before, after) in [(0, None), (5, Some(5))] {
            let mut db = Connection::open_in_memory().unwrap();
            let first = embedded::migrations::runner().set_target(Target::Version(3));
            first.run(&mut db).unwrap();
            db.execute("UPDATE meta SET published = ?1", [before]).unwrap();
            embedded::migrations::runner().run(&mut db).unwrap();
            let sql = "SELECT published FROM meta";
            let published: Option<i64> = db.query_row(sql, [], |row| row.get(0)).unwrap();
            assert_eq!(published, after);
        }
    }
}
