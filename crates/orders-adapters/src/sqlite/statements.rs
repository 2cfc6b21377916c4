//! What is written for a change.

use orders::{
    codec,
    domain::{ChangeId, ExternalReference, Position, Reason, State},
    ports::{Change, Cutoff, Forgotten, Receipt, Write},
};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    rows::{count, micros, trace_column},
    writer::Prepared,
};
use crate::content;

pub(super) fn insert(db: &Connection, prepared: &Prepared, write: &Write) -> rusqlite::Result<()> {
    let order = &write.order;
    let receipt = prepared.change.receipt.as_ref();
    let sql = "INSERT INTO orders (id, tenant, number, customer_id, external_reference, state,
            payment_state, currency, total_minor, version, created_at, updated_at, notes,
            create_key, create_fingerprint, create_key_expires_at, payments, progress, content)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
            ?18, ?19)";
    db.prepare_cached(sql)?.execute(params![
        order.id.0,
        order.tenant.as_str(),
        count(order.number.bits()),
        order.customer_id.as_str(),
        order.external_reference.as_ref().map(ExternalReference::as_str),
        order.state.as_str(),
        order.payment_state().as_str(),
        order.goods.currency.code(),
        order.pricing().totals.total.minor,
        count(order.version.get()),
        micros(order.created_at),
        micros(order.updated_at),
        order.notes,
        receipt.map(|receipt| receipt.key.key.as_str()),
        receipt.map(|receipt| receipt.fingerprint.0),
        receipt.map(|receipt| micros(receipt.expires_at)),
        content::encode_payments(&order.payments),
        content::encode_progress(&order.goods.lines),
        prepared.content,
    ])?;
    if let Some(personal) = &prepared.personal {
        db.prepare_cached("INSERT INTO personal (order_id, data) VALUES (?1, ?2)")?
            .execute(params![order.id.0, personal])?;
    }
    Ok(())
}

pub(super) fn update(db: &Connection, write: &Write) -> rusqlite::Result<()> {
    let order = &write.order;
    let sql = "UPDATE orders SET state = ?2, payment_state = ?3, version = ?4, updated_at = ?5,
            notes = ?6, payments = ?7, progress = ?8
        WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![
        order.id.0,
        order.state.as_str(),
        order.payment_state().as_str(),
        count(order.version.get()),
        micros(order.updated_at),
        order.notes,
        content::encode_payments(&order.payments),
        content::encode_progress(&order.goods.lines),
    ])?;
    Ok(())
}

/// Writes the history row, the event and the note.
pub(super) fn tell(
    db: &Connection,
    change: &Change,
    write: &Write,
    at: Position,
) -> rusqlite::Result<()> {
    let (entry, order) = (&write.entry, write.entry.order.0);
    let version = count(entry.version.get());
    let trace = trace_column(entry.trace);
    let sql = "INSERT INTO history (order_id, version, change_id, from_state, to_state, command,
            actor, reason, request_id, trace, at, position)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    db.prepare_cached(sql)?.execute(params![
        order,
        version,
        entry.change.0,
        entry.from.map(State::as_str),
        entry.to.as_str(),
        entry.command.as_str(),
        entry.actor,
        entry.reason.as_ref().map(Reason::as_str),
        entry.request_id.as_str(),
        trace,
        micros(entry.at),
        count(at.0),
    ])?;
    let sql = "INSERT INTO events (position, tenant, order_id, version, change_id, kind, trace,
            at, data)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    db.prepare_cached(sql)?.execute(params![
        count(at.0),
        change.tenant.as_str(),
        order,
        version,
        entry.change.0,
        write.event.kind,
        trace,
        micros(entry.at),
        write.event.data,
    ])?;
    if let Some(note) = &write.note {
        let sql = "INSERT INTO notes (order_id, version, at, author, text)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        let text = note.text.as_str();
        db.prepare_cached(sql)?.execute(params![
            order,
            version,
            micros(note.at),
            note.author,
            text
        ])?;
    }
    Ok(())
}

/// Writes a receipt, over an expired one of the same key.
pub(super) fn remember(
    db: &Connection,
    receipt: &Receipt,
    change: Option<ChangeId>,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO receipts (tenant, operation, key, fingerprint, order_id,
            change_id, decision, expires_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    db.prepare_cached(sql)?.execute(params![
        receipt.key.tenant.as_str(),
        receipt.key.operation.as_str(),
        receipt.key.key.as_str(),
        receipt.fingerprint.0,
        receipt.order.0,
        change.map(|change| change.0),
        codec::encode(&receipt.decision),
        micros(receipt.expires_at),
    ])?;
    Ok(())
}

pub(super) fn mark_published(db: &Connection, to: Position) -> rusqlite::Result<()> {
    let sql = "UPDATE meta SET published = max(coalesce(published, 0), ?1)";
    db.execute(sql, params![count(to.0)])?;
    Ok(())
}

pub(super) fn forget(db: &Connection, cutoff: Cutoff, limit: usize) -> rusqlite::Result<Forgotten> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let before = micros(cutoff.events_before);
    let sql = "SELECT coalesce(iif(?1, NULL, published), ?2) FROM meta";
    let most: i64 = db.query_row(sql, params![cutoff.unpublished, i64::MAX], |row| row.get(0))?;
    let last = last_old(db, limit, before, micros(cutoff.now))?.map(|last| last.min(most));
    let events = match last {
        None => 0,
        Some(last) => {
            db.execute("UPDATE meta SET forgotten = max(forgotten, ?1)", params![last])?;
            db.execute("DELETE FROM events WHERE position <= ?1", params![last])?
        }
    };
    let sql = "DELETE FROM receipts WHERE (tenant, operation, key) IN
        (SELECT tenant, operation, key FROM receipts WHERE expires_at <= ?1 LIMIT ?2)";
    let receipts = db.execute(sql, params![micros(cutoff.receipts_before), limit])?;
    Ok(Forgotten { events, receipts })
}

/// Where the events end that were made before this time; of the oldest `limit` only.
///
/// Times may jump either way, positions never do: only an unbroken run of old events counts. A time
/// that is still to come says nothing of when an event was made; its successor's does.
fn last_old(db: &Connection, limit: i64, before: i64, now: i64) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT max(position) FROM (SELECT position, at,
            max(iif(at <= ?3, at, 0)) OVER (ORDER BY position) AS newest
            FROM (SELECT position, at FROM events ORDER BY position LIMIT ?1))
        WHERE newest < ?2 AND at <= ?3";
    let last: Option<i64> =
        db.prepare_cached(sql)?.query_row(params![limit, before, now], |row| row.get(0))?;
    if last.is_some() {
        return Ok(last);
    }
    // The oldest may all have times to come, more of them than are looked at above.
    let sql = "SELECT min(next.position, oldest.position + ?1) - 1
        FROM (SELECT position, at FROM events WHERE at <= ?3 ORDER BY position LIMIT 1) AS next,
            (SELECT min(position) AS position FROM events) AS oldest
        WHERE next.at < ?2 AND next.position > oldest.position";
    db.prepare_cached(sql)?.query_row(params![limit, before, now], |row| row.get(0)).optional()
}
