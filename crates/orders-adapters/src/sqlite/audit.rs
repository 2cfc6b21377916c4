//! A store as it stands at one instant.

use std::{
    fmt,
    path::Path,
    sync::{Mutex, PoisonError},
};

use orders::{
    domain::{OrderId, Position, Record},
    ports::{
        AuditSource, Census, Derived, Dossier, Event, Page, ReadError, Receipt, Task, TaskId, Told,
    },
};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{
    read::{CREATE_RECEIPT, span},
    rows::{self, ENTRY, EVENT, ORDER, RECEIPT, Read, count},
    schema::{self, OpenError},
    tasks,
};

/// One read transaction over a whole store. While it is held the write-ahead log cannot be emptied,
/// so hold it no longer than needed.
pub struct Snapshot(Mutex<Connection>);

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Snapshot {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        schema::find(path)?;
        let connection = schema::reader(path).and_then(|connection| {
            connection.execute_batch("BEGIN")?;
            // A read makes the snapshot; BEGIN alone does not.
            connection.query_row("SELECT forgotten FROM meta", [], |row| row.get::<_, i64>(0))?;
            Ok(connection)
        });
        Ok(Self(Mutex::new(connection.map_err(OpenError::sqlite(path))?)))
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Read<T>) -> Result<T, ReadError> {
        let db = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read(&db).map_err(|cause| ReadError::Unavailable(Some(cause)))
    }
}

impl AuditSource for Snapshot {
    async fn census(&self) -> Result<Census, ReadError> {
        self.read(count_all)
    }

    async fn dossiers(&self, at: Page<OrderId>) -> Result<Vec<Dossier>, ReadError> {
        self.read(|db| page(db, at))
    }
}

fn count_all(db: &Connection) -> Read<Census> {
    let rows = |sql: &str| db.query_row(sql, [], |row| row.get::<_, u64>(0));
    let orders = rows("SELECT count(*) FROM orders")?;
    let (oldest, head) = span(db)?;
    Ok(Census {
        orders,
        history: rows("SELECT count(*) FROM history")?,
        events: rows("SELECT count(*) FROM events")?,
        receipts: rows(
            "SELECT (SELECT count(create_key) FROM orders) + (SELECT count(*) FROM receipts)",
        )?,
        notes: rows("SELECT count(*) FROM notes")?,
        personal: rows("SELECT count(*) FROM personal")?,
        tasks: rows("SELECT count(*) FROM tasks")?,
        oldest,
        head,
    })
}

fn page(db: &Connection, page: Page<OrderId>) -> Read<Vec<Dossier>> {
    let sql = format!(
        "SELECT {ORDER}, total_minor, payment_state FROM orders WHERE id > ?1 ORDER BY id LIMIT ?2"
    );
    let after = page.after.map_or(Uuid::nil(), |id| id.0);
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let mut find = db.prepare_cached(&sql)?;
    let mut found = find.query(params![after, limit])?;
    let mut dossiers = Vec::new();
    while let Some(row) = found.next()? {
        let id = OrderId(row.get(0)?);
        let record = rows::order(row).and_then(|order| rows::record(db, order));
        let mut unreadable = Vec::new();
        let tasks = tasks_of(db, id, record.as_ref().ok(), &mut unreadable);
        dossiers.push(Dossier {
            id,
            tasks,
            record: record.map_err(|error| error.to_string()),
            derived: Derived { total_minor: row.get(14)?, payment_state: row.get(15)? },
            history: told(db, id, &mut unreadable)?,
            receipts: receipts_of(db, id, &mut unreadable)?,
            unreadable,
        });
    }
    Ok(dossiers)
}

/// The history of an order, each row with its event. A row that cannot be read is a finding, not the
/// end of the audit.
fn told(db: &Connection, order: OrderId, unreadable: &mut Vec<String>) -> Read<Vec<Told>> {
    let sql = format!("SELECT {ENTRY}, position FROM history WHERE order_id = ?1 ORDER BY version");
    let mut find = db.prepare_cached(&sql)?;
    let mut found = find.query(params![order.0])?;
    let mut told = Vec::new();
    while let Some(row) = found.next()? {
        let position = rows::position(row.get(11)?);
        let event = event_at(db, position).unwrap_or_else(|error| {
            unreadable.push(format!("the event at {position} cannot be read: {error}"));
            None
        });
        match rows::entry(row) {
            Ok(entry) => told.push(Told { entry, position: Some(position), event }),
            Err(error) => unreadable.push(format!("a history row cannot be read: {error}")),
        }
    }
    Ok(told)
}

/// The tasks that an order can have. Of one that cannot be read only its own is looked for.
fn tasks_of(
    db: &Connection,
    id: OrderId,
    record: Option<&Record>,
    unreadable: &mut Vec<String>,
) -> Vec<Task> {
    let mut ids = vec![TaskId::from(id)];
    for payment in record.iter().flat_map(|record| &record.order.payments) {
        ids.push(payment.id.into());
        ids.extend(payment.attempts.iter().map(|attempt| TaskId::from(attempt.id)));
    }
    let mut all = Vec::new();
    for id in ids {
        match tasks::find(db, id) {
            Ok(task) => all.extend(task),
            Err(error) => unreadable.push(format!("a task cannot be read: {error}")),
        }
    }
    all
}

fn event_at(db: &Connection, position: Position) -> Read<Option<Event>> {
    let sql = format!("SELECT {EVENT} FROM events WHERE position = ?1");
    let mut find = db.prepare_cached(&sql)?;
    let mut found = find.query(params![count(position.0)])?;
    found.next()?.map(rows::event).transpose()
}

fn receipts_of(
    db: &Connection,
    order: OrderId,
    unreadable: &mut Vec<String>,
) -> Read<Vec<Receipt>> {
    let own = format!("SELECT {CREATE_RECEIPT} WHERE id = ?1 AND create_key IS NOT NULL");
    let others = format!("SELECT {RECEIPT} FROM receipts WHERE order_id = ?1");
    let mut all = Vec::new();
    for sql in [own, others] {
        let mut find = db.prepare_cached(&sql)?;
        let mut found = find.query(params![order.0])?;
        while let Some(row) = found.next()? {
            match rows::receipt(row) {
                Ok(receipt) => all.push(receipt),
                Err(error) => unreadable.push(format!("a receipt cannot be read: {error}")),
            }
        }
    }
    Ok(all)
}
