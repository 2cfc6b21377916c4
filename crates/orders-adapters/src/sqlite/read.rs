//! What the readers ask.

use orders::{
    domain::{Entry, Order, OrderId, PaymentState, Position, Record, TenantId, Version},
    ports::{
        Cursor, FeedPage, Filter, Operation, OrderRef, Page, ReadError, Receipt, ReceiptKey, Scope,
    },
};
use rusqlite::{Connection, ToSql, params, params_from_iter};

use super::rows::{self, ENTRY, EVENT, ORDER, RECEIPT, Read, count, micros};

pub(super) fn order(db: &Connection, tenant: &TenantId, order: OrderRef) -> Read<Option<Record>> {
    let (column, value): (_, Box<dyn ToSql>) = match order {
        OrderRef::Id(id) => ("id", Box::new(id.0)),
        OrderRef::Number(number) => ("number", Box::new(count(number.bits()))),
    };
    let sql = format!("SELECT {ORDER} FROM orders WHERE {column} = ?1 AND tenant = ?2");
    // One snapshot for the order and what is kept apart from it.
    let snapshot = db.unchecked_transaction()?;
    let mut find = snapshot.prepare_cached(&sql)?;
    let mut found = find.query(params![value, tenant.as_str()])?;
    match found.next()? {
        Some(row) => Ok(Some(rows::record(&snapshot, rows::order(row)?)?)),
        None => Ok(None),
    }
}

pub(super) fn orders(db: &Connection, ids: &[OrderId]) -> Read<Vec<Order>> {
    let snapshot = db.unchecked_transaction()?;
    let sql = format!("SELECT {ORDER} FROM orders WHERE id = ?1");
    let mut find = snapshot.prepare_cached(&sql)?;
    let mut orders = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(row) = find.query(params![id.0])?.next()? {
            orders.push(rows::order(row)?);
        }
    }
    Ok(orders)
}

pub(super) fn receipt(db: &Connection, key: &ReceiptKey) -> Read<Option<Receipt>> {
    let (tenant, text) = (key.tenant.as_str(), key.key.as_str());
    if key.operation == Operation::Create
        && let Some(receipt) = receipts(
            db,
            &format!("SELECT {CREATE_RECEIPT} WHERE tenant = ?1 AND create_key = ?2"),
            params![tenant, text],
        )?
        .pop()
    {
        return Ok(Some(receipt));
    }
    let sql =
        format!("SELECT {RECEIPT} FROM receipts WHERE tenant = ?1 AND operation = ?2 AND key = ?3");
    Ok(receipts(db, &sql, params![tenant, key.operation.as_str(), text])?.pop())
}

/// The receipt that an order row is, in the shape of [`RECEIPT`].
pub(super) const CREATE_RECEIPT: &str = "tenant, 'create', create_key, create_fingerprint, id, \
     '{\"decision\":\"accepted\",\"version\":1}', create_key_expires_at FROM orders";

pub(super) fn receipts(db: &Connection, sql: &str, names: &[&dyn ToSql]) -> Read<Vec<Receipt>> {
    let mut find = db.prepare_cached(sql)?;
    let mut found = find.query(names)?;
    let mut receipts = Vec::new();
    while let Some(row) = found.next()? {
        receipts.push(rows::receipt(row)?);
    }
    Ok(receipts)
}

pub(super) fn list(
    db: &Connection,
    tenant: &TenantId,
    filter: &Filter,
    page: Page<Cursor>,
) -> Read<Vec<Order>> {
    let mut sql = format!("SELECT {ORDER} FROM orders {} WHERE tenant = ?", index(filter));
    let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(tenant.as_str().to_owned())];
    let mut paid = "";
    let mut and = |condition: &str, value: Box<dyn ToSql>| {
        sql.push_str(condition);
        values.push(value);
    };
    if let Some(state) = filter.state {
        and(" AND state = ?", Box::new(state.as_str()));
    }
    if let Some(state) = filter.payment_state {
        and(" AND payment_state = ?", Box::new(state.as_str()));
        if state != PaymentState::None {
            // Says to the planner what the partial index needs to know.
            paid = " AND payment_state <> 'NONE'";
        }
    }
    if let Some(customer) = &filter.customer_id {
        and(" AND customer_id = ?", Box::new(customer.as_str().to_owned()));
    }
    if let Some(reference) = &filter.external_reference {
        and(" AND external_reference = ?", Box::new(reference.as_str().to_owned()));
    }
    if let Some(after) = filter.created_after {
        and(" AND created_at > ?", Box::new(micros(after)));
    }
    if let Some(cursor) = page.after {
        and(" AND (created_at, id) < (?, ", Box::new(micros(cursor.created_at)));
        and("?)", Box::new(cursor.id.0));
    }
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    and(&format!("{paid} ORDER BY created_at DESC, id DESC LIMIT ?"), Box::new(limit));
    let mut find = db.prepare_cached(&sql)?;
    let mut found = find.query(params_from_iter(values))?;
    let mut orders = Vec::new();
    while let Some(row) = found.next()? {
        orders.push(rows::order(row)?);
    }
    Ok(orders)
}

/// The index that a list walks. The planner would leave it for another as soon as a cursor or a second
/// filter is there, and then walk all orders of the tenant.
fn index(filter: &Filter) -> &'static str {
    let paid = filter.payment_state.is_some_and(|state| state != PaymentState::None);
    if filter.external_reference.is_some() {
        "INDEXED BY orders_reference"
    } else if filter.customer_id.is_some() {
        "INDEXED BY orders_customer"
    } else if paid {
        "INDEXED BY orders_payment"
    } else if filter.state.is_some() {
        "INDEXED BY orders_state"
    } else {
        "INDEXED BY orders_created"
    }
}

pub(super) fn history(
    db: &Connection,
    tenant: &TenantId,
    order: OrderId,
    page: Page<Version>,
) -> Read<Vec<Entry>> {
    let sql = format!(
        "SELECT {ENTRY} FROM history
         WHERE order_id = ?1 AND version > ?2
           AND EXISTS (SELECT 1 FROM orders WHERE id = ?1 AND tenant = ?4)
         ORDER BY version LIMIT ?3"
    );
    let after = page.after.map_or(0, |version| count(version.get()));
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let mut find = db.prepare_cached(&sql)?;
    let mut found = find.query(params![order.0, after, limit, tenant.as_str()])?;
    let mut entries = Vec::new();
    while let Some(row) = found.next()? {
        entries.push(rows::entry(row)?);
    }
    Ok(entries)
}

pub(super) fn events(
    db: &Connection,
    scope: &Scope,
    page: Page<Position>,
) -> Read<Result<FeedPage, ReadError>> {
    // One snapshot: the head must not be newer than the events, or some would be skipped.
    let snapshot = db.unchecked_transaction()?;
    let (oldest, head) = span(&snapshot)?;
    let after = page.after.unwrap_or(Position(oldest.0.saturating_sub(1)));
    if after.next() < oldest {
        return Ok(Err(ReadError::CursorTooOld { oldest }));
    }
    let (filter, tenant) = match scope {
        Scope::Tenant(tenant) => ("tenant = ?3 AND", Some(tenant.as_str())),
        Scope::All => ("?3 IS NULL AND", None),
    };
    let sql = format!(
        "SELECT {EVENT} FROM events WHERE {filter} position > ?1 ORDER BY position LIMIT ?2"
    );
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let mut find = snapshot.prepare_cached(&sql)?;
    let mut found = find.query(params![count(after.0), limit, tenant])?;
    let mut events = Vec::new();
    while let Some(row) = found.next()? {
        events.push(rows::event(row)?);
    }
    let next = match events.last() {
        Some(last) if events.len() >= page.limit => last.position,
        // Also of a cursor past the head, which can only come from another store's feed.
        _ => head,
    };
    Ok(Ok(FeedPage { events, next, head }))
}

/// How far the feed has been published, if it is.
pub(super) fn published(db: &Connection) -> Read<Option<Position>> {
    let position: Option<i64> = db.query_row("SELECT published FROM meta", [], |row| row.get(0))?;
    Ok(position.map(rows::position))
}

/// The oldest position still kept and the last one given.
pub(super) fn span(db: &Connection) -> Read<(Position, Position)> {
    let sql = "SELECT forgotten, coalesce((SELECT max(position) FROM events), 0) FROM meta";
    let (forgotten, last) =
        db.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let forgotten = rows::position(forgotten);
    Ok((forgotten.next(), forgotten.max(rows::position(last))))
}
