//! The one write, as SQL: a batch of changes in one transaction, each checked and answered by
//! itself. Synchronous, so that a simulator can call it inline.

use std::fmt;

use jiff::Timestamp;
use orders::{
    domain::Position,
    ports::{Answer, Change, CommitError, Cutoff, Expects, Forgotten, NotWritten},
};
use rusqlite::{Connection, ErrorCode, hooks::Wal};

use super::{
    Config, OpenError,
    checkpoint::{self, Log},
    rows::position,
    schema::{self, Lock},
    statements, tasks,
};
use crate::{
    checks::{self, Verdict},
    content,
};

/// What a change answers.
pub type Outcome = Result<Answer, CommitError>;

/// The disk failed under a write: what was promised can no longer be kept, so the store stops.
#[derive(Debug, thiserror::Error)]
#[error("the store's disk failed")]
pub struct Broken(#[from] pub(super) rusqlite::Error);

/// A change with its JSON columns made, so that the writer thread does not spend time on it.
pub struct Prepared {
    pub(super) change: Change,
    pub(super) content: String,
    pub(super) personal: Option<String>,
}

/// Shows the change's id only: the rest holds personal data.
impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.change.id).finish()
    }
}

impl Prepared {
    /// Makes the columns.
    pub fn new(change: Change) -> Self {
        let new = match (&change.write, change.expects) {
            (Some(write), Expects::New) => Some(write),
            _ => None,
        };
        let content = new.map(|write| content::encode(&write.order.goods, &write.order.metadata));
        let personal = new.and_then(|write| write.personal.as_ref()).map(content::encode_personal);
        Self { content: content.unwrap_or_default(), personal, change }
    }
}

/// The only connection that writes, and the lock that makes it so.
///
/// Synchronous: [`Sqlite`](super::Sqlite) runs it on a thread of its own; simulators and benchmarks
/// call it inline.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    head: Position,
    log: Log,
    /// Past this the log is emptied between two batches.
    log_limit: u64,
    // Last, so that it is let go after the connection is closed.
    _lock: Lock,
}

impl Writer {
    /// Opens the store for writing, creating it if it is not there.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way; a store that another process writes is refused.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        let lock = schema::lock(&config.path)?;
        let mut connection = schema::writer(&config.path, config.durable)?;
        let failed = OpenError::sqlite(&config.path);
        let log = count_log(&mut connection).map_err(&failed)?;
        tasks::release(&connection).map_err(&failed)?;
        let head = connection.query_row(
            "SELECT max(coalesce((SELECT max(position) FROM events), 0), forgotten) FROM meta",
            [],
            |row| row.get(0),
        );
        let head = head.map_err(failed)?;
        let log_limit = config.wal_limit;
        Ok(Self { connection, head: position(head), log, log_limit, _lock: lock })
    }

    pub(super) fn page_secret(&self) -> rusqlite::Result<[u8; 32]> {
        self.connection.query_row("SELECT page_secret FROM meta", [], |row| row.get(0))
    }

    /// The last position given.
    pub fn head(&self) -> Position {
        self.head
    }

    pub(super) fn log(&self) -> Log {
        self.log.clone()
    }

    /// Empties the log once it is past its limit. Between two batches nobody adds to it, so unless a
    /// reader still needs it, the next commit starts it over.
    fn bound_log(&mut self) -> Result<(), Broken> {
        if self.log.bytes() >= self.log_limit && checkpoint::passive(&self.connection)? {
            self.log.is(0);
        }
        Ok(())
    }

    /// Commits a batch in one transaction and answers each change, in the batch's order.
    ///
    /// A change that SQLite refuses does not take the others with it: the batch is then done one
    /// change at a time.
    ///
    /// # Errors
    /// [`Broken`] when a write or a sync failed; nothing of the batch may be acknowledged.
    pub fn apply(&mut self, batch: &[Prepared]) -> Result<Vec<Outcome>, Broken> {
        self.bound_log()?;
        match self.transaction(|writer| batch.iter().map(|p| writer.one(p)).collect()) {
            Ok(answers) => {
                let answers: Vec<Answer> = answers;
                Ok(answers.into_iter().map(Ok).collect())
            }
            Err(Failed { error, severity }) => match severity {
                Severity::Full => Ok(batch.iter().map(|_| not_written(NotWritten::Full)).collect()),
                Severity::Busy => Ok(batch.iter().map(|_| not_written(NotWritten::Busy)).collect()),
                Severity::Unknown => {
                    Ok(batch.iter().map(|_| Err(CommitError::OutcomeUnknown)).collect())
                }
                Severity::Broken => Err(Broken(error)),
                Severity::Change if batch.len() == 1 => {
                    Ok(vec![Err(CommitError::Unavailable(Some(Box::new(error))))])
                }
                Severity::Change => {
                    let mut outcomes = Vec::with_capacity(batch.len());
                    for change in batch.chunks(1) {
                        outcomes.extend(self.apply(change)?);
                    }
                    Ok(outcomes)
                }
            },
        }
    }

    /// Hands out tasks that are due.
    pub(super) fn lease(
        &mut self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Result<tasks::Taken, CommitError>, Broken> {
        self.alone(|db| tasks::lease(db, now, until, limit))
    }

    /// Notes how far the feed has been published.
    pub(super) fn mark_published(
        &mut self,
        to: Position,
    ) -> Result<Result<(), CommitError>, Broken> {
        self.alone(|db| statements::mark_published(db, to))
    }

    /// Forgets what is past its time, the oldest events first, without leaving a hole.
    pub(super) fn forget(
        &mut self,
        cutoff: Cutoff,
        limit: usize,
    ) -> Result<Result<Forgotten, CommitError>, Broken> {
        self.alone(|db| statements::forget(db, cutoff, limit))
    }

    /// A transaction that no change shares.
    fn alone<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Result<T, CommitError>, Broken> {
        match self.transaction(|writer| work(&writer.connection)) {
            Ok(done) => Ok(Ok(done)),
            Err(Failed { error, severity }) => match severity {
                Severity::Full => Ok(not_written(NotWritten::Full)),
                Severity::Busy => Ok(not_written(NotWritten::Busy)),
                Severity::Unknown => Ok(Err(CommitError::OutcomeUnknown)),
                Severity::Broken => Err(Broken(error)),
                Severity::Change => Ok(Err(CommitError::Unavailable(Some(Box::new(error))))),
            },
        }
    }

    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, Failed> {
        let head = self.head;
        let done = self.run("BEGIN IMMEDIATE").and_then(|()| work(self)).map_err(Failed::before);
        let done = done.and_then(|done| {
            self.run("COMMIT").map_err(Failed::committing)?;
            Ok(done)
        });
        if done.is_err() {
            self.head = head;
            if !self.connection.is_autocommit() {
                self.run("ROLLBACK").map_err(Failed::before)?;
            }
        }
        done
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(|_| ())
    }

    /// One change inside the transaction: every check first, so that a refused change has written
    /// nothing that would have to be undone.
    fn one(&mut self, prepared: &Prepared) -> rusqlite::Result<Answer> {
        let change = &prepared.change;
        match checks::judge(&self.connection, change)? {
            Verdict::Write => {}
            Verdict::Answer(answer) => return Ok(answer),
            Verdict::Remember(answer, receipt) => {
                statements::remember(&self.connection, &receipt, None)?;
                return Ok(answer);
            }
        }
        let position = change.write.as_ref().map(|_| self.head.next());
        if let (Some(write), Some(position)) = (&change.write, position) {
            let db = &self.connection;
            match change.expects {
                Expects::New => statements::insert(db, prepared, write)?,
                Expects::Version(..) | Expects::Task => statements::update(db, write)?,
            }
            statements::tell(db, change, write, position)?;
            self.head = position;
        }
        tasks::write(&self.connection, change)?;
        if let Some(receipt) = &change.receipt
            && !keeps_its_own(change)
        {
            statements::remember(&self.connection, receipt, Some(change.id))?;
        }
        Ok(Answer::Committed)
    }
}

/// Lets every commit say how many pages the log holds.
fn count_log(connection: &mut Connection) -> rusqlite::Result<Log> {
    let page: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let log = Log::default();
    let counted = log.clone();
    connection.wal_hook(Some(move |_: &mut Wal, pages| {
        counted.is(u64::try_from(pages).unwrap_or(0).saturating_mul(page));
        Ok(())
    }))?;
    Ok(log)
}

/// Whether the order row itself is the receipt: an accepted create's is.
fn keeps_its_own(change: &Change) -> bool {
    change.expects == Expects::New && change.write.is_some()
}

fn not_written<T>(why: NotWritten) -> Result<T, CommitError> {
    Err(CommitError::NotWritten(why))
}

/// A transaction that failed, and what that means.
struct Failed {
    error: rusqlite::Error,
    severity: Severity,
}

impl Failed {
    /// It failed before its end was written: nothing of it counts.
    fn before(error: rusqlite::Error) -> Self {
        let severity = severity(&error);
        Self { error, severity }
    }

    /// It failed in COMMIT. A full disk leaves its last frame unwritten, and a lock is refused
    /// before any is. Everything else may fail when all of them are in the log, where a start after
    /// a kill would find them.
    fn committing(error: rusqlite::Error) -> Self {
        let severity = match severity(&error) {
            Severity::Full if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                Severity::Full
            }
            Severity::Busy => Severity::Busy,
            Severity::Broken => Severity::Broken,
            Severity::Full | Severity::Change | Severity::Unknown => Severity::Unknown,
        };
        Self { error, severity }
    }
}

/// What an error of SQLite means for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// No room on the disk; rolled back, and the next write may find room.
    Full,
    /// Another program holds the file locked; the next write may get it.
    Busy,
    /// It may have been written or not.
    Unknown,
    /// A write or a sync failed: nothing more may be acknowledged.
    Broken,
    /// This change cannot be written.
    Change,
}

pub(super) fn severity(error: &rusqlite::Error) -> Severity {
    let Some(code) = error.sqlite_error() else { return Severity::Change };
    // Growing the shared-memory file is the one write that SQLite reports as an I/O error when the
    // disk is full.
    if code.code == ErrorCode::DiskFull || code.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    {
        return Severity::Full;
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; all else is the change's")]
    match code.code {
        ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            Severity::Broken
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Severity::Busy,
        _ => Severity::Change,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn a_failed_commit_is_only_called_unwritten_when_its_last_frame_surely_is() {
        for (code, before, committing) in [
            (ffi::SQLITE_FULL, Severity::Full, Severity::Full),
            (ffi::SQLITE_BUSY, Severity::Busy, Severity::Busy),
            (ffi::SQLITE_IOERR_FSYNC, Severity::Broken, Severity::Broken),
            (ffi::SQLITE_IOERR_SHMSIZE, Severity::Full, Severity::Unknown),
            (ffi::SQLITE_NOMEM, Severity::Change, Severity::Unknown),
            (ffi::SQLITE_CONSTRAINT, Severity::Change, Severity::Unknown),
        ] {
            assert_eq!(Failed::before(failure(code)).severity, before, "{code}");
            assert_eq!(Failed::committing(failure(code)).severity, committing, "{code}");
        }
    }
}
