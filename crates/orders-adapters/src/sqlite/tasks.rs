//! Tasks: planned, handed out, fenced and finished.

use jiff::Timestamp;
use orders::ports::{Cause, Change, Lease, Leased, Task, TaskId, Then};
use rusqlite::{Connection, ErrorCode, params};
use uuid::Uuid;

use super::rows::{Read, micros, task};

const COLUMNS: &str = "id, tenant, order_id, kind, due, tries, sent, epoch";

/// Writes what becomes of a change's task, and its new ones.
pub(super) fn write(db: &Connection, change: &Change) -> rusqlite::Result<()> {
    if let Some(Lease { task, then, .. }) = change.lease {
        match then {
            Then::Finish => {
                db.prepare_cached("DELETE FROM tasks WHERE id = ?1")?.execute([task.0])?;
            }
            Then::Keep { due, progress } => {
                let sql = "UPDATE tasks SET due = coalesce(?2, due), tries = ?3, sent = ?4
                           WHERE id = ?1";
                let (due, sent) = (due.map(micros), progress.sent.map(micros));
                db.prepare_cached(sql)?.execute(params![task.0, due, progress.tries, sent])?;
            }
        }
    }
    for task in &change.plans {
        plan(db, task)?;
    }
    Ok(())
}

fn plan(db: &Connection, task: &Task) -> rusqlite::Result<()> {
    let sql = "INSERT INTO tasks (id, tenant, order_id, kind, due, tries, sent, epoch)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)
               ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant,
                   order_id = excluded.order_id, kind = excluded.kind, due = excluded.due,
                   tries = excluded.tries, sent = excluded.sent, epoch = epoch + 1";
    db.prepare_cached(sql)?.execute(params![
        task.id.0,
        task.tenant.as_str(),
        task.order.0,
        task.kind.as_str(),
        micros(task.due),
        task.progress.tries,
        task.progress.sent.map(micros),
    ])?;
    Ok(())
}

/// What was handed out, and what could not be: its id, and why it cannot be read.
pub(super) struct Taken {
    pub(super) leased: Vec<Leased>,
    pub(super) unreadable: Vec<(String, Cause)>,
}

/// Hands out tasks that are due at `now`, the longest due first, until `until`. One that cannot be
/// read is left aside until the next start, so that it stands in nobody's way.
pub(super) fn lease(
    db: &Connection,
    now: Timestamp,
    until: Timestamp,
    limit: usize,
) -> rusqlite::Result<Taken> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = format!(
        "UPDATE tasks SET epoch = epoch + 1, due = ?2
         WHERE id IN (SELECT id FROM tasks WHERE due <= ?1 ORDER BY due, id LIMIT ?3)
         RETURNING {COLUMNS}"
    );
    let mut found = Taken { leased: Vec::new(), unreadable: Vec::new() };
    let mut aside = Vec::new();
    let mut taken = db.prepare_cached(&sql)?;
    let mut rows = taken.query(params![micros(now), micros(until), limit])?;
    while let Some(row) = rows.next()? {
        match task(row) {
            Ok(task) => found.leased.push(Leased { task, epoch: row.get(7)? }),
            Err(why) => {
                let id: Vec<u8> = row.get(0)?;
                found.unreadable.push((shown(&id), why));
                aside.push(id);
            }
        }
    }
    for id in aside {
        let sql = "UPDATE tasks SET due = ?2 WHERE id = ?1";
        db.prepare_cached(sql)?.execute(params![id, micros(Timestamp::MAX)])?;
    }
    Ok(found)
}

/// An id for a log line, also one that is none.
fn shown(id: &[u8]) -> String {
    Uuid::from_slice(id).map_or_else(|_| format!("{id:?}"), |id| id.to_string())
}

/// Makes due what was in the hands of a process that is gone: nobody else can have this store open.
/// What only waited is looked at a little early, which harms nothing. Attempts that no clock of now
/// would reach, since it was set back, are among them.
pub(super) fn release(db: &Connection) -> rusqlite::Result<()> {
    match db.execute("UPDATE tasks SET due = 0 WHERE epoch > 0 OR kind = 'attempt'", []) {
        Ok(_) => Ok(()),
        // A store opens on a full disk, too; the leases then run out by themselves.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The task of this id.
pub(super) fn find(db: &Connection, id: TaskId) -> Read<Option<Task>> {
    let sql = format!("SELECT {COLUMNS} FROM tasks WHERE id = ?1");
    let mut find = db.prepare_cached(&sql)?;
    let mut rows = find.query([id.0])?;
    rows.next()?.map(task).transpose()
}

/// Every task.
pub(super) fn all(db: &Connection) -> Read<Vec<Task>> {
    let sql = format!("SELECT {COLUMNS} FROM tasks ORDER BY id");
    let mut find = db.prepare_cached(&sql)?;
    let mut rows = find.query([])?;
    let mut tasks = Vec::new();
    while let Some(row) = rows.next()? {
        tasks.push(task(row)?);
    }
    Ok(tasks)
}
