//! What there is of what changes touch that were not written, read for all of them by one statement.

use deadpool_postgres::ClientWrapper;
use orders::{
    codec,
    domain::{ChangeId, ExternalReference, Order, OrderId, OrderNumber, TenantId, Version},
    ports::{Cause, Change, Decision, Expects, Fingerprint, ReceiptKey, TaskId},
};
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    commit::new_order,
    failed::Failed,
    session::{Query, transaction},
};
use crate::{
    checks::{Facts, Keyed},
    stored::{Read, count, version},
};

const FACTS: &str = "
SELECT m.id, m.create_fingerprint, m.create_key_expires_at, f.change_id,
    r.order_id, r.fingerprint, r.expires_at, r.change_id, r.decision,
    o.version, o.tenant = i.tenant, h.change_id, n.id, x.id, t.epoch
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::bigint[], $7::text[],
    $8::uuid[]) WITH ORDINALITY
    AS i(tenant, operation, key, order_id, next, number, reference, task, ordinal)
LEFT JOIN orders m ON i.operation = 'create' AND m.tenant = i.tenant AND m.create_key = i.key
LEFT JOIN history f ON f.order_id = m.id AND f.version = 1
LEFT JOIN receipts r ON r.tenant = i.tenant AND r.operation = i.operation AND r.key = i.key
LEFT JOIN orders o ON o.id = i.order_id
LEFT JOIN history h ON h.order_id = i.order_id AND h.version = i.next
LEFT JOIN orders n ON n.tenant = i.tenant AND n.number = i.number
LEFT JOIN orders x ON x.tenant = i.tenant AND x.external_reference = i.reference
LEFT JOIN tasks t ON t.id = i.task
ORDER BY i.ordinal";

/// What there is of what one change touches: it answers for that change only, whatever it is asked for.
pub(super) struct Found(Row);

/// Reads the facts of changes, in their order.
pub(super) async fn gather(
    client: &ClientWrapper,
    begin: &str,
    prepare: bool,
    changes: &[&Change],
) -> Result<Vec<Found>, Failed> {
    let keys: Vec<_> = changes.iter().map(|change| key(change)).collect();
    let news: Vec<_> = changes.iter().map(|change| new(change)).collect();
    let at: Vec<_> = changes.iter().map(|change| at(change)).collect();
    let tenants: Vec<_> = changes.iter().map(|change| change.tenant.as_str()).collect();
    let operations: Vec<_> = keys.iter().map(|key| key.map(|key| key.operation.as_str())).collect();
    let texts: Vec<_> = keys.iter().map(|key| key.map(|key| key.key.as_str())).collect();
    let orders: Vec<_> = at.iter().map(|at| at.map(|(order, _)| order.0)).collect();
    let next: Vec<_> = at.iter().map(|at| at.map(|(_, next)| count(next.get()))).collect();
    let numbers: Vec<_> =
        news.iter().map(|order| order.map(|order| count(order.number.bits()))).collect();
    let references: Vec<_> = news
        .iter()
        .map(|order| order.and_then(|order| order.external_reference.as_ref()))
        .map(|reference| reference.map(ExternalReference::as_str))
        .collect();
    let tasks: Vec<_> = changes.iter().map(|change| change.lease.map(|l| l.task.0)).collect();
    let query = Query {
        sql: FACTS,
        params: vec![
            (&tenants, Type::TEXT_ARRAY),
            (&operations, Type::TEXT_ARRAY),
            (&texts, Type::TEXT_ARRAY),
            (&orders, Type::UUID_ARRAY),
            (&next, Type::INT8_ARRAY),
            (&numbers, Type::INT8_ARRAY),
            (&references, Type::TEXT_ARRAY),
            (&tasks, Type::UUID_ARRAY),
        ],
        answers: true,
    };
    let rows = transaction(client, begin, prepare, &[query]).await?;
    Ok(rows.into_iter().flatten().map(Found).collect())
}

fn key(change: &Change) -> Option<&ReceiptKey> {
    change.receipt.as_ref().map(|receipt| &receipt.key)
}

fn new(change: &Change) -> Option<&Order> {
    new_order(change).map(|write| &write.order)
}

/// The order, and the version that it would be at.
fn at(change: &Change) -> Option<(OrderId, Version)> {
    match change.expects {
        Expects::New => new(change).map(|order| (order.id, Version::FIRST)),
        Expects::Version(order, expected) => Some((order, expected.next())),
        Expects::Task => None,
    }
}

impl Found {
    /// The order, the fingerprint, the expiry and the change, from this column on.
    fn keyed(&self, at: usize) -> Read<Option<Keyed>> {
        let Self(row) = self;
        let Some(order) = self.id(at)? else { return Ok(None) };
        Ok(Some(Keyed {
            order: OrderId(order),
            fingerprint: Fingerprint(row.try_get::<_, &[u8]>(at + 1)?.try_into()?),
            expires_at: row.try_get(at + 2)?,
            change: self.id(at + 3)?.map(ChangeId),
        }))
    }

    fn id(&self, at: usize) -> Read<Option<Uuid>> {
        Ok(self.0.try_get(at)?)
    }
}

impl Facts for Found {
    type Error = Cause;

    fn made(&self, _: &ReceiptKey) -> Read<Option<Keyed>> {
        self.keyed(0)
    }

    fn receipt(&self, _: &ReceiptKey) -> Read<Option<(Keyed, Read<Decision>)>> {
        let Some(keyed) = self.keyed(4)? else { return Ok(None) };
        let decision = codec::decode(self.0.try_get(8)?);
        Ok(Some((keyed, decision.map_err(Into::into))))
    }

    fn order(&self, _: &TenantId, _: OrderId) -> Read<Option<(Version, bool)>> {
        let Some(at) = self.0.try_get(9)? else { return Ok(None) };
        Ok(Some((version(at)?, self.0.try_get(10)?)))
    }

    fn made_by(&self, _: OrderId, _: Version) -> Read<Option<ChangeId>> {
        Ok(self.id(11)?.map(ChangeId))
    }

    fn number(&self, _: &TenantId, _: OrderNumber) -> Read<Option<OrderId>> {
        Ok(self.id(12)?.map(OrderId))
    }

    fn reference(&self, _: &TenantId, _: &ExternalReference) -> Read<Option<OrderId>> {
        Ok(self.id(13)?.map(OrderId))
    }

    fn epoch(&self, _: TaskId) -> Read<Option<u64>> {
        let epoch: Option<i64> = self.0.try_get(14)?;
        Ok(epoch.map(u64::try_from).transpose()?)
    }
}
