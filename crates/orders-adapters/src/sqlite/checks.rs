//! What is checked before a change is written; all of it inside the writer's transaction.

use orders::{
    codec,
    domain::{ChangeId, OrderId, Version},
    ports::{Answer, Change, Decision, Expects, Operation, Receipt, Unique},
};
use rusqlite::{
    Connection, Error::FromSqlConversionFailure, OptionalExtension as _, params, types::Type,
};
use uuid::Uuid;

use super::{
    rows::{count, micros},
    statements, tasks,
};

/// The answer to a change that is not to be written, if that is so.
pub(super) fn decided(db: &Connection, change: &Change) -> rusqlite::Result<Option<Answer>> {
    if let Some(receipt) = &change.receipt
        && let Some(answer) = seen(db, change, receipt)?
    {
        // The key may have been given to another change since this one was committed.
        return Ok(Some(if made_before(db, change)? { Answer::Committed } else { answer }));
    }
    match change.expects {
        Expects::New => taken(db, change),
        Expects::Version(order, expected) => moved(db, change, order, expected),
        Expects::Task => tasks::lost(db, change),
    }
}

/// Whether this very change of an order is in its history.
fn made_before(db: &Connection, change: &Change) -> rusqlite::Result<bool> {
    match change.expects {
        // A create's key is never given away, and a task's change has none.
        Expects::New | Expects::Task => Ok(false),
        Expects::Version(order, expected) => {
            Ok(change_at(db, order, expected.next())? == Some(change.id))
        }
    }
}

/// Whether this change, or another with its key, was decided before.
fn seen(db: &Connection, change: &Change, receipt: &Receipt) -> rusqlite::Result<Option<Answer>> {
    let key = &receipt.key;
    if key.operation == Operation::Create {
        let sql = "SELECT o.id, o.create_fingerprint, o.create_key_expires_at, h.change_id
                   FROM orders o LEFT JOIN history h ON h.order_id = o.id AND h.version = 1
                   WHERE o.tenant = ?1 AND o.create_key = ?2";
        let found = db
            .prepare_cached(sql)?
            .query_row(params![key.tenant.as_str(), key.key.as_str()], |row| {
                let id = OrderId(row.get(0)?);
                Ok((
                    id,
                    row.get::<_, [u8; 32]>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, Option<Uuid>>(3)?,
                ))
            })
            .optional()?;
        if let Some((order, fingerprint, expires_at, made_by)) = found {
            let decision = Decision::Accepted { version: Version::FIRST };
            return Ok(Some(match () {
                () if made_by == Some(change.id.0) => Answer::Committed,
                () if micros(change.at) >= expires_at => Answer::KeyExpired(order),
                () if fingerprint != receipt.fingerprint.0 => Answer::KeyReused,
                () => Answer::Seen { order, decision },
            }));
        }
    }
    let sql = "SELECT fingerprint, order_id, decision, expires_at, change_id FROM receipts
               WHERE tenant = ?1 AND operation = ?2 AND key = ?3";
    let names = params![key.tenant.as_str(), key.operation.as_str(), key.key.as_str()];
    let mut find = db.prepare_cached(sql)?;
    let mut rows = find.query(names)?;
    let Some(row) = rows.next()? else { return Ok(None) };
    if row.get::<_, Option<Uuid>>(4)? == Some(change.id.0) {
        return Ok(Some(Answer::Committed));
    }
    if micros(change.at) >= row.get::<_, i64>(3)? {
        return Ok(None);
    }
    if row.get::<_, [u8; 32]>(0)? != receipt.fingerprint.0 {
        return Ok(Some(Answer::KeyReused));
    }
    let decision = codec::decode(row.get_ref(2)?.as_str()?)
        .map_err(|error| FromSqlConversionFailure(2, Type::Text, Box::new(error)))?;
    Ok(Some(Answer::Seen { order: OrderId(row.get(1)?), decision }))
}

/// Whether a new order's id or unique values are another's.
fn taken(db: &Connection, change: &Change) -> rusqlite::Result<Option<Answer>> {
    let Some(write) = &change.write else { return Ok(None) };
    let order = &write.order;
    let tenant = change.tenant.as_str();
    if let Some(current) = version(db, order.id, None)? {
        let ours = version(db, order.id, Some(tenant))?.is_some()
            && change_at(db, order.id, Version::FIRST)? == Some(change.id);
        return Ok(Some(if ours { Answer::Committed } else { Answer::Conflict { current } }));
    }
    let number = count(order.number.bits());
    let by_number = "SELECT id FROM orders WHERE tenant = ?1 AND number = ?2";
    if let Some(id) = find(db, by_number, params![tenant, number])? {
        return Ok(Some(Answer::Taken(Unique::Number, id)));
    }
    let Some(reference) = &order.external_reference else { return Ok(None) };
    let by_reference = "SELECT id FROM orders WHERE tenant = ?1 AND external_reference = ?2";
    let Some(id) = find(db, by_reference, params![tenant, reference.as_str()])? else {
        return Ok(None);
    };
    if let Some(receipt) = &change.receipt {
        let refusal = orders::Refusal::ExternalReferenceTaken { order: id };
        let decision = Decision::Refused(refusal);
        statements::remember(db, &Receipt { order: id, decision, ..receipt.clone() }, None)?;
    }
    Ok(Some(Answer::Taken(Unique::ExternalReference, id)))
}

/// Whether the order is not at the expected version.
fn moved(
    db: &Connection,
    change: &Change,
    order: OrderId,
    expected: Version,
) -> rusqlite::Result<Option<Answer>> {
    let current = version(db, order, Some(change.tenant.as_str()))?;
    if current == Some(expected) {
        return tasks::lost(db, change);
    }
    // Somebody changed it; it may have been this very change, sent before.
    if change_at(db, order, expected.next())? == Some(change.id) {
        return Ok(Some(Answer::Committed));
    }
    // A lease that is lost is told first: whoever reads the order anew would be too late again.
    let conflict = Answer::Conflict { current: current.unwrap_or(Version::FIRST) };
    Ok(Some(tasks::lost(db, change)?.unwrap_or(conflict)))
}

fn version(
    db: &Connection,
    order: OrderId,
    tenant: Option<&str>,
) -> rusqlite::Result<Option<Version>> {
    let sql = "SELECT version FROM orders WHERE id = ?1 AND tenant = coalesce(?2, tenant)";
    let mut find = db.prepare_cached(sql)?;
    let version: Option<u64> =
        find.query_row(params![order.0, tenant], |row| row.get(0)).optional()?;
    Ok(version.and_then(Version::new))
}

fn change_at(
    db: &Connection,
    order: OrderId,
    version: Version,
) -> rusqlite::Result<Option<ChangeId>> {
    let sql = "SELECT change_id FROM history WHERE order_id = ?1 AND version = ?2";
    let mut find = db.prepare_cached(sql)?;
    let names = params![order.0, count(version.get())];
    find.query_row(names, |row| row.get(0).map(ChangeId)).optional()
}

fn find(
    db: &Connection,
    sql: &str,
    names: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Option<OrderId>> {
    let mut find = db.prepare_cached(sql)?;
    find.query_row(names, |row| row.get(0).map(OrderId)).optional()
}
