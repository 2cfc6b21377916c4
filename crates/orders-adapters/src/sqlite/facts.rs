//! What the store knows of what a change touches: each fact is one look into the writer's transaction.

use orders::{
    codec,
    domain::{ChangeId, ExternalReference, OrderId, OrderNumber, TenantId, Version},
    ports::{Decision, Fingerprint, ReceiptKey, TaskId},
};
use rusqlite::{
    Connection, Error::FromSqlConversionFailure, OptionalExtension as _, Result, Row, ToSql,
    params, types::Type,
};
use uuid::Uuid;

use super::rows::{count, time};
use crate::checks::{Facts, Keyed};

impl Facts for Connection {
    type Error = rusqlite::Error;

    fn made(&self, key: &ReceiptKey) -> Result<Option<Keyed>> {
        let sql = "SELECT o.id, o.create_fingerprint, o.create_key_expires_at, h.change_id
                   FROM orders o LEFT JOIN history h ON h.order_id = o.id AND h.version = 1
                   WHERE o.tenant = ?1 AND o.create_key = ?2";
        find(self, sql, params![key.tenant.as_str(), key.key.as_str()], keyed)
    }

    fn receipt(&self, key: &ReceiptKey) -> Result<Option<(Keyed, Result<Decision>)>> {
        let sql = "SELECT order_id, fingerprint, expires_at, change_id, decision FROM receipts
                   WHERE tenant = ?1 AND operation = ?2 AND key = ?3";
        let names = params![key.tenant.as_str(), key.operation.as_str(), key.key.as_str()];
        find(self, sql, names, |row| {
            let decision = codec::decode(row.get_ref(4)?.as_str()?);
            let damaged = |error| FromSqlConversionFailure(4, Type::Text, Box::new(error));
            Ok((keyed(row)?, decision.map_err(damaged)))
        })
    }

    fn order(&self, tenant: &TenantId, order: OrderId) -> Result<Option<(Version, bool)>> {
        let sql = "SELECT version, tenant = ?2 FROM orders WHERE id = ?1";
        let found = find(self, sql, params![order.0, tenant.as_str()], |row| {
            Ok((Version::new(row.get(0)?), row.get(1)?))
        })?;
        Ok(found.and_then(|(version, is_own)| Some((version?, is_own))))
    }

    fn made_by(&self, order: OrderId, version: Version) -> Result<Option<ChangeId>> {
        let sql = "SELECT change_id FROM history WHERE order_id = ?1 AND version = ?2";
        let names = params![order.0, count(version.get())];
        find(self, sql, names, |row| row.get(0).map(ChangeId))
    }

    fn number(&self, tenant: &TenantId, number: OrderNumber) -> Result<Option<OrderId>> {
        let sql = "SELECT id FROM orders WHERE tenant = ?1 AND number = ?2";
        let names = params![tenant.as_str(), count(number.bits())];
        find(self, sql, names, |row| row.get(0).map(OrderId))
    }

    fn reference(
        &self,
        tenant: &TenantId,
        reference: &ExternalReference,
    ) -> Result<Option<OrderId>> {
        let sql = "SELECT id FROM orders WHERE tenant = ?1 AND external_reference = ?2";
        let names = params![tenant.as_str(), reference.as_str()];
        find(self, sql, names, |row| row.get(0).map(OrderId))
    }

    fn epoch(&self, task: TaskId) -> Result<Option<u64>> {
        find(self, "SELECT epoch FROM tasks WHERE id = ?1", params![task.0], |row| row.get(0))
    }
}

/// The order, the fingerprint, the expiry and the change.
fn keyed(row: &Row<'_>) -> Result<Keyed> {
    let damaged = |cause| FromSqlConversionFailure(2, Type::Integer, cause);
    Ok(Keyed {
        order: OrderId(row.get(0)?),
        fingerprint: Fingerprint(row.get(1)?),
        expires_at: time(row.get(2)?).map_err(damaged)?,
        change: row.get::<_, Option<Uuid>>(3)?.map(ChangeId),
    })
}

fn find<T>(
    db: &Connection,
    sql: &str,
    names: &[&dyn ToSql],
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    db.prepare_cached(sql)?.query_row(names, read).optional()
}
