//! Why a change was not written: what is there of what it touches, and what that answers.
//!
//! The same checks in the same order as in the embedded store; here they look at what one statement
//! has read.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use orders::{
    codec,
    domain::{ChangeId, ExternalReference, OrderId, Version},
    ports::{Answer, Change, Decision, Expects, Operation, Receipt, Unique},
};
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    commit::new_order,
    session::{Failed, Query, transaction},
};
use crate::stored::{Read, count, version};

const FACTS: &str = "
SELECT m.id, m.create_fingerprint, m.create_key_expires_at, f.change_id,
    r.fingerprint, r.order_id, r.decision, r.expires_at, r.change_id,
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

/// What there is of what a change touches.
pub(super) struct Facts {
    /// The order that the create's key made: its id, fingerprint, expiry, and the change that made it.
    made: Option<(OrderId, Vec<u8>, Timestamp, Option<ChangeId>)>,
    /// The receipt of the key.
    receipt: Option<Remembered>,
    /// The version of the order that the change names, and whether it is the tenant's.
    order: Option<(Version, bool)>,
    /// The change that made the version that this one would make.
    next_made_by: Option<ChangeId>,
    has_number: Option<OrderId>,
    has_reference: Option<OrderId>,
    epoch: Option<i64>,
}

struct Remembered {
    fingerprint: Vec<u8>,
    order: OrderId,
    decision: String,
    expires_at: Timestamp,
    change: Option<Uuid>,
}

/// What follows from the facts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not to be written.
    Answer(Answer),
    /// It is not to be written, and that is to be remembered.
    Remember(Answer, Box<Receipt>),
    /// Nothing speaks against it any more.
    Write,
}

/// Reads the facts of changes, in their order. A row that cannot be read is its change's misfortune only.
pub(super) async fn gather(
    client: &ClientWrapper,
    begin: &str,
    prepare: bool,
    changes: &[&Change],
) -> Result<Vec<Read<Facts>>, Failed> {
    let of = |change: &Change| match change.expects {
        Expects::Version(order, expected) => (Some(order.0), Some(expected.next())),
        Expects::New => {
            let order = new_order(change).map(|write| write.order.id.0);
            (order, Some(Version::FIRST))
        }
        Expects::Task => (None, None),
    };
    let receipt = |change: &Change| change.receipt.as_ref().map(|receipt| receipt.key.clone());
    let tenants: Vec<_> = changes.iter().map(|change| change.tenant.as_str()).collect();
    let keys: Vec<_> = changes.iter().map(|change| receipt(change)).collect();
    let operations: Vec<_> =
        keys.iter().map(|key| key.as_ref().map(|key| key.operation.as_str())).collect();
    let texts: Vec<_> = keys.iter().map(|key| key.as_ref().map(|key| key.key.as_str())).collect();
    let orders: Vec<_> = changes.iter().map(|change| of(change).0).collect();
    let next: Vec<_> =
        changes.iter().map(|change| of(change).1.map(|version| count(version.get()))).collect();
    let new = |change: &&Change| new_order(change).map(|write| write.order.clone());
    let news: Vec<_> = changes.iter().map(new).collect();
    let numbers: Vec<_> =
        news.iter().map(|order| order.as_ref().map(|order| count(order.number.bits()))).collect();
    let references: Vec<_> = news
        .iter()
        .map(|order| order.as_ref().and_then(|order| order.external_reference.as_ref()))
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
    Ok(rows.iter().flatten().map(facts).collect())
}

fn facts(row: &Row) -> Read<Facts> {
    let made = match row.try_get::<_, Option<Uuid>>(0)? {
        None => None,
        Some(order) => Some((
            OrderId(order),
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get::<_, Option<Uuid>>(3)?.map(ChangeId),
        )),
    };
    let receipt = match row.try_get::<_, Option<Vec<u8>>>(4)? {
        None => None,
        Some(fingerprint) => Some(Remembered {
            fingerprint,
            order: OrderId(row.try_get(5)?),
            decision: row.try_get(6)?,
            expires_at: row.try_get(7)?,
            change: row.try_get(8)?,
        }),
    };
    let order = match row.try_get::<_, Option<i64>>(9)? {
        None => None,
        Some(at) => Some((version(at)?, row.try_get(10)?)),
    };
    Ok(Facts {
        made,
        receipt,
        order,
        next_made_by: row.try_get::<_, Option<Uuid>>(11)?.map(ChangeId),
        has_number: row.try_get::<_, Option<Uuid>>(12)?.map(OrderId),
        has_reference: row.try_get::<_, Option<Uuid>>(13)?.map(OrderId),
        epoch: row.try_get(14)?,
    })
}

impl Facts {
    /// What a change answers.
    pub(super) fn judge(&self, change: &Change) -> Read<Verdict> {
        if let Some(receipt) = &change.receipt
            && let Some(answer) = self.seen(change, receipt)?
        {
            // The key may have been given to another change since this one was committed.
            let made_before = matches!(change.expects, Expects::Version(..))
                && self.next_made_by == Some(change.id);
            return Ok(Verdict::Answer(if made_before { Answer::Committed } else { answer }));
        }
        Ok(match change.expects {
            Expects::New => self.taken(change),
            Expects::Version(_, expected) => self.moved(change, expected),
            Expects::Task => self.lost(change).map_or(Verdict::Write, Verdict::Answer),
        })
    }

    /// Whether this change, or another with its key, was decided before.
    fn seen(&self, change: &Change, receipt: &Receipt) -> Read<Option<Answer>> {
        if receipt.key.operation == Operation::Create
            && let Some((order, fingerprint, expires_at, made_by)) = &self.made
        {
            let (order, decision) = (*order, Decision::Accepted { version: Version::FIRST });
            return Ok(Some(match () {
                () if *made_by == Some(change.id) => Answer::Committed,
                () if change.at >= *expires_at => Answer::KeyExpired(order),
                () if *fingerprint != receipt.fingerprint.0 => Answer::KeyReused,
                () => Answer::Seen { order, decision },
            }));
        }
        let Some(remembered) = &self.receipt else { return Ok(None) };
        if remembered.change == Some(change.id.0) {
            return Ok(Some(Answer::Committed));
        }
        if change.at >= remembered.expires_at {
            return Ok(None);
        }
        if remembered.fingerprint != receipt.fingerprint.0 {
            return Ok(Some(Answer::KeyReused));
        }
        let decision = codec::decode(&remembered.decision)?;
        Ok(Some(Answer::Seen { order: remembered.order, decision }))
    }

    /// Whether a new order's id or unique values are another's.
    fn taken(&self, change: &Change) -> Verdict {
        if let Some((current, own)) = self.order {
            let ours = own && self.next_made_by == Some(change.id);
            let answer = if ours { Answer::Committed } else { Answer::Conflict { current } };
            return Verdict::Answer(answer);
        }
        if let Some(order) = self.has_number {
            return Verdict::Answer(Answer::Taken(Unique::Number, order));
        }
        let Some(order) = self.has_reference else { return Verdict::Write };
        let answer = Answer::Taken(Unique::ExternalReference, order);
        match &change.receipt {
            None => Verdict::Answer(answer),
            Some(receipt) => {
                let refusal = orders::Refusal::ExternalReferenceTaken { order };
                let decision = Decision::Refused(refusal);
                Verdict::Remember(answer, Box::new(Receipt { order, decision, ..receipt.clone() }))
            }
        }
    }

    /// Whether the order is not at the expected version.
    fn moved(&self, change: &Change, expected: Version) -> Verdict {
        let current = self.order.filter(|(_, own)| *own).map(|(version, _)| version);
        if current == Some(expected) {
            return self.lost(change).map_or(Verdict::Write, Verdict::Answer);
        }
        // Somebody changed it; it may have been this very change, sent before.
        if self.next_made_by == Some(change.id) {
            return Verdict::Answer(Answer::Committed);
        }
        // A lease that is lost is told first: whoever reads the order anew would be too late again.
        let conflict = Answer::Conflict { current: current.unwrap_or(Version::FIRST) };
        Verdict::Answer(self.lost(change).unwrap_or(conflict))
    }

    fn lost(&self, change: &Change) -> Option<Answer> {
        let lease = change.lease?;
        (self.epoch != Some(count(lease.epoch))).then_some(Answer::LeaseLost)
    }
}
