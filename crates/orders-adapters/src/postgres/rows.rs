//! From PostgreSQL's rows to the core's types.

use orders::{
    domain::{Entry, Note, Order, Record},
    ports::{Event, Leased, Receipt, Task},
};
use tokio_postgres::Row;

use crate::{
    content,
    stored::{EntryRow, EventRow, OrderRow, Read, ReceiptRow, TaskRow, version},
};

/// The columns that [`order`] reads, in its order.
pub(super) const ORDER: &str = "o.id, o.tenant, o.number, o.customer_id, o.external_reference, \
     o.state, o.currency, o.version, o.created_at, o.updated_at, o.notes, o.payments, o.progress, \
     o.content";

/// The columns that [`entry`] reads.
pub(super) const ENTRY: &str = "order_id, version, change_id, from_state, to_state, command, actor, \
     reason, request_id, trace, at";

/// The columns that [`event`] reads.
pub(super) const EVENT: &str =
    "position, tenant, order_id, version, change_id, kind, trace, at, data";

/// The columns that [`receipt`] reads.
pub(super) const RECEIPT: &str =
    "tenant, operation, key, fingerprint, order_id, decision, expires_at";

/// The receipt that an order row is, in the shape of [`RECEIPT`].
pub(super) const CREATE_RECEIPT: &str = "tenant, 'create', create_key, create_fingerprint, id, \
     '{\"decision\":\"accepted\",\"version\":1}', create_key_expires_at";

/// The columns that [`task`] reads.
pub(super) const TASK: &str = "id, tenant, order_id, kind, due, tries, sent, epoch";

pub(super) fn order(row: &Row) -> Read<Order> {
    let read = OrderRow {
        id: row.try_get(0)?,
        tenant: row.try_get(1)?,
        number: row.try_get(2)?,
        customer_id: row.try_get(3)?,
        external_reference: row.try_get(4)?,
        state: row.try_get(5)?,
        currency: row.try_get(6)?,
        version: row.try_get(7)?,
        created_at: row.try_get(8)?,
        updated_at: row.try_get(9)?,
        notes: u32::try_from(row.try_get::<_, i32>(10)?)?,
        payments: row.try_get(11)?,
        progress: row.try_get(12)?,
        content: row.try_get(13)?,
    };
    read.read()
}

/// An order and the personal data beside it, which comes after its columns.
pub(super) fn record(row: &Row, notes: Vec<Note>) -> Read<Record> {
    let personal: Option<&str> = row.try_get(14)?;
    let personal = personal.map(content::decode_personal).transpose()?;
    Ok(Record { order: order(row)?, personal, notes })
}

/// A note: its version, time, author and text.
pub(super) fn note(row: &Row) -> Read<Note> {
    Ok(Note {
        version: version(row.try_get(0)?)?,
        at: row.try_get(1)?,
        author: row.try_get::<_, &str>(2)?.into(),
        text: row.try_get::<_, &str>(3)?.parse()?,
    })
}

pub(super) fn entry(row: &Row) -> Read<Entry> {
    let read = EntryRow {
        order: row.try_get(0)?,
        version: row.try_get(1)?,
        change: row.try_get(2)?,
        from: row.try_get(3)?,
        to: row.try_get(4)?,
        command: row.try_get(5)?,
        actor: row.try_get(6)?,
        reason: row.try_get(7)?,
        request_id: row.try_get(8)?,
        trace: row.try_get(9)?,
        at: row.try_get(10)?,
    };
    read.read()
}

pub(super) fn event(row: &Row) -> Read<Event> {
    let read = EventRow {
        position: row.try_get(0)?,
        tenant: row.try_get(1)?,
        order: row.try_get(2)?,
        version: row.try_get(3)?,
        change: row.try_get(4)?,
        kind: row.try_get(5)?,
        trace: row.try_get(6)?,
        at: row.try_get(7)?,
        data: row.try_get(8)?,
    };
    read.read()
}

pub(super) fn receipt(row: &Row) -> Read<Receipt> {
    let read = ReceiptRow {
        tenant: row.try_get(0)?,
        operation: row.try_get(1)?,
        key: row.try_get(2)?,
        fingerprint: row.try_get(3)?,
        order: row.try_get(4)?,
        decision: row.try_get(5)?,
        expires_at: row.try_get(6)?,
    };
    read.read()
}

pub(super) fn task(row: &Row) -> Read<Task> {
    let read = TaskRow {
        id: row.try_get(0)?,
        tenant: row.try_get(1)?,
        order: row.try_get(2)?,
        kind: row.try_get(3)?,
        due: row.try_get(4)?,
        tries: u32::try_from(row.try_get::<_, i64>(5)?)?,
        sent: row.try_get(6)?,
    };
    read.read()
}

pub(super) fn leased(row: &Row) -> Read<Leased> {
    Ok(Leased { task: task(row)?, epoch: u64::try_from(row.try_get::<_, i64>(7)?)? })
}
