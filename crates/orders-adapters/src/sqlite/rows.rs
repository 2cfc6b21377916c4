//! Between rows and the core's types.

use std::sync::Arc;

use jiff::Timestamp;
use orders::{
    domain::{Entry, Note, Order, OrderId, Record},
    ports::{Event, Receipt, Task},
};
use rusqlite::{Connection, Row, params};

pub(super) use crate::stored::{Read, count, position, trace_column};
use crate::{
    content,
    stored::{EntryRow, EventRow, OrderRow, ReceiptRow, TaskRow, version},
};

/// The columns that [`order`] reads, in its order.
pub(super) const ORDER: &str = "id, tenant, number, customer_id, external_reference, state, \
     currency, version, created_at, updated_at, notes, payments, progress, content";

/// The columns that [`entry`] reads.
pub(super) const ENTRY: &str = "order_id, version, change_id, from_state, to_state, command, actor, \
     reason, request_id, trace, at";

/// The columns that [`event`] reads.
pub(super) const EVENT: &str =
    "position, tenant, order_id, version, change_id, kind, trace, at, data";

/// The columns that [`receipt`] reads.
pub(super) const RECEIPT: &str =
    "tenant, operation, key, fingerprint, order_id, decision, expires_at";

pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

pub(super) fn time(micros: i64) -> Read<Timestamp> {
    Ok(Timestamp::from_microsecond(micros)?)
}

pub(super) fn order(row: &Row<'_>) -> Read<Order> {
    let text = |at: usize| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
    let read = OrderRow {
        id: row.get(0)?,
        tenant: text(1)?,
        number: row.get(2)?,
        customer_id: text(3)?,
        external_reference: row.get_ref(4)?.as_str_or_null()?,
        state: text(5)?,
        currency: text(6)?,
        version: row.get(7)?,
        created_at: time(row.get(8)?)?,
        updated_at: time(row.get(9)?)?,
        notes: row.get(10)?,
        payments: text(11)?,
        progress: text(12)?,
        content: text(13)?,
    };
    read.read()
}

/// An order with what is kept apart from it.
pub(super) fn record(connection: &Connection, order: Order) -> Read<Record> {
    let id = order.id.0;
    let mut find = connection.prepare_cached("SELECT data FROM personal WHERE order_id = ?1")?;
    let mut rows = find.query(params![id])?;
    let personal = match rows.next()? {
        Some(row) => Some(content::decode_personal(row.get_ref(0)?.as_str()?)?),
        None => None,
    };
    let notes = if order.notes == 0 { Vec::new() } else { notes(connection, order.id)? };
    Ok(Record { order, personal, notes })
}

fn notes(connection: &Connection, order: OrderId) -> Read<Vec<Note>> {
    let mut find = connection.prepare_cached(
        "SELECT version, at, author, text FROM notes WHERE order_id = ?1 ORDER BY version",
    )?;
    let mut rows = find.query(params![order.0])?;
    let mut notes = Vec::new();
    while let Some(row) = rows.next()? {
        notes.push(Note {
            version: version(row.get(0)?)?,
            at: time(row.get(1)?)?,
            author: row.get::<_, Arc<str>>(2)?,
            text: row.get_ref(3)?.as_str()?.parse()?,
        });
    }
    Ok(notes)
}

pub(super) fn entry(row: &Row<'_>) -> Read<Entry> {
    let text = |at: usize| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
    let read = EntryRow {
        order: row.get(0)?,
        version: row.get(1)?,
        change: row.get(2)?,
        from: row.get_ref(3)?.as_str_or_null()?,
        to: text(4)?,
        command: text(5)?,
        actor: text(6)?,
        reason: row.get_ref(7)?.as_str_or_null()?,
        request_id: text(8)?,
        trace: row.get_ref(9)?.as_str_or_null()?,
        at: time(row.get(10)?)?,
    };
    read.read()
}

pub(super) fn event(row: &Row<'_>) -> Read<Event> {
    let text = |at: usize| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
    let read = EventRow {
        position: row.get(0)?,
        tenant: text(1)?,
        order: row.get(2)?,
        version: row.get(3)?,
        change: row.get(4)?,
        kind: text(5)?,
        trace: row.get_ref(6)?.as_str_or_null()?,
        at: time(row.get(7)?)?,
        data: text(8)?,
    };
    read.read()
}

pub(super) fn receipt(row: &Row<'_>) -> Read<Receipt> {
    let text = |at: usize| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
    let read = ReceiptRow {
        tenant: text(0)?,
        operation: text(1)?,
        key: text(2)?,
        fingerprint: row.get_ref(3)?.as_blob()?,
        order: row.get(4)?,
        decision: text(5)?,
        expires_at: time(row.get(6)?)?,
    };
    read.read()
}

pub(super) fn task(row: &Row<'_>) -> Read<Task> {
    let text = |at: usize| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
    let sent: Option<i64> = row.get(6)?;
    let read = TaskRow {
        id: row.get(0)?,
        tenant: text(1)?,
        order: row.get(2)?,
        kind: text(3)?,
        due: time(row.get(4)?)?,
        tries: row.get(5)?,
        sent: sent.map(time).transpose()?,
    };
    read.read()
}
