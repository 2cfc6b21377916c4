//! Between rows and the core's types.

use std::sync::Arc;

use jiff::Timestamp;
use mainstay_context::{RequestId, TraceContext};
use orders::{
    codec,
    domain::{
        ChangeId, Command, Entry, Note, Order, OrderId, OrderNumber, Position, Record, Snapshot,
        State, TenantId, Version,
    },
    ports::{Cause, Event, Fingerprint, Operation, Receipt, ReceiptKey},
};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use crate::content;

/// What could be read, or why not.
pub(super) type Read<T> = Result<T, Cause>;

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

pub(super) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn time(micros: i64) -> Read<Timestamp> {
    Ok(Timestamp::from_microsecond(micros)?)
}

fn version(number: i64) -> Read<Version> {
    let version = u64::try_from(number).ok().and_then(Version::new);
    version.ok_or_else(|| format!("a version of {number}").into())
}

pub(super) fn named<T>(what: &str, name: &str, value: Option<T>) -> Read<T> {
    value.ok_or_else(|| format!("an unknown {what}: {name}").into())
}

fn trace(text: Option<&str>) -> Read<TraceContext> {
    Ok(text.map_or(Ok(TraceContext::default()), str::parse)?)
}

pub(super) fn trace_column(trace: TraceContext) -> Option<String> {
    (!trace.is_none()).then(|| trace.to_string())
}

pub(super) fn order(row: &Row<'_>) -> Read<Order> {
    let text = |at: usize| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
    let state = text(5)?;
    let (goods, metadata) = content::decode(text(13)?, text(12)?, text(6)?)?;
    let payments = content::decode_payments(text(11)?, goods.currency)?;
    let reference: Option<String> = row.get(4)?;
    Ok(Order::restore(Snapshot {
        id: OrderId(row.get::<_, Uuid>(0)?),
        tenant: text(1)?.parse()?,
        number: OrderNumber::from_bits(u64::try_from(row.get::<_, i64>(2)?)?),
        customer_id: text(3)?.parse()?,
        external_reference: reference.map(|text| text.parse()).transpose()?,
        state: named("state", state, State::from_name(state))?,
        goods,
        metadata,
        payments,
        notes: row.get(10)?,
        version: version(row.get(7)?)?,
        created_at: time(row.get(8)?)?,
        updated_at: time(row.get(9)?)?,
    })?)
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
    let from: Option<String> = row.get(3)?;
    let to: String = row.get(4)?;
    let command: String = row.get(5)?;
    let reason: Option<String> = row.get(7)?;
    let traceparent: Option<String> = row.get(9)?;
    Ok(Entry {
        order: OrderId(row.get(0)?),
        version: version(row.get(1)?)?,
        change: ChangeId(row.get(2)?),
        from: from.map(|from| named("state", &from, State::from_name(&from))).transpose()?,
        to: named("state", &to, State::from_name(&to))?,
        command: named("command", &command, Command::from_name(&command))?,
        actor: row.get(6)?,
        reason: reason.map(|reason| reason.parse()).transpose()?,
        request_id: row.get_ref(8)?.as_str()?.parse::<RequestId>()?,
        trace: trace(traceparent.as_deref())?,
        at: time(row.get(10)?)?,
    })
}

pub(super) fn event(row: &Row<'_>) -> Read<Event> {
    let traceparent: Option<String> = row.get(6)?;
    Ok(Event {
        position: position(row.get(0)?),
        tenant: row.get_ref(1)?.as_str()?.parse::<TenantId>()?,
        order: OrderId(row.get(2)?),
        version: version(row.get(3)?)?,
        id: ChangeId(row.get(4)?),
        kind: row.get(5)?,
        trace: trace(traceparent.as_deref())?,
        at: time(row.get(7)?)?,
        data: row.get(8)?,
    })
}

pub(super) fn receipt(row: &Row<'_>) -> Read<Receipt> {
    let operation: String = row.get(1)?;
    let known = Operation::from_name(&operation);
    Ok(Receipt {
        key: ReceiptKey {
            tenant: row.get_ref(0)?.as_str()?.parse()?,
            operation: named("operation", &operation, known)?,
            key: row.get_ref(2)?.as_str()?.parse()?,
        },
        fingerprint: Fingerprint(row.get(3)?),
        order: OrderId(row.get(4)?),
        decision: codec::decode(row.get_ref(5)?.as_str()?)?,
        expires_at: time(row.get(6)?)?,
    })
}

pub(super) fn position(number: i64) -> Position {
    Position(u64::try_from(number).unwrap_or(0))
}
