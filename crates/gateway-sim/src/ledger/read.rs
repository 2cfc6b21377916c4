//! Reading the ledger: payments with their operations, and sums made anew from those.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::{
    Ledger, LedgerError,
    rows::{self, OPERATION, OPERATION_COLUMNS},
};
use crate::{
    operation::{Currency, Id, Kind, Operation, Status, Totals},
    rules::Sums,
};

/// The most payments of one page.
const LARGEST_PAGE: u32 = 1_000;

/// Which payments to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// This one.
    Of(Id),
    /// In the order of their first operation: after a place, so many.
    After(i64, u32),
    /// The latest first, so many.
    Latest(u32),
}

/// Payments, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The payments.
    pub payments: Vec<Payment>,
    /// What to ask for after this page; absent at the end.
    pub next: Option<i64>,
}

/// One payment as its operations make it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Payment {
    /// Its place.
    pub seq: i64,
    /// The caller's id of it.
    pub payment: Id,
    /// How many operations of each kind took effect.
    pub successful: Counts,
    /// The sums of those, added up anew and not as they were kept.
    pub totals: Totals,
    /// Every decision, in order.
    pub operations: Vec<Recorded>,
}

/// How many operations of each kind took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Amounts held.
    pub authorization: u64,
    /// Amounts taken.
    pub capture: u64,
    /// Amounts let go.
    pub void: u64,
    /// Amounts given back.
    pub refund: u64,
}

/// One decision, and what became of its event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Its place.
    pub seq: i64,
    /// The decision.
    #[serde(flatten)]
    pub operation: Operation,
    /// Its event; absent where webhooks are off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// How often it was taken.
    pub deliveries: u64,
    /// How often it is still to be delivered.
    pub left: u64,
}

/// The whole ledger in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Payments that anything was asked of.
    pub payments: u64,
    /// Decisions.
    pub operations: u64,
    /// Those that took effect, by kind.
    pub successful: Counts,
    /// References that took effect more than once: each is an effect that was doubled.
    pub references_doubled: u64,
    /// Payments with more than one authorization or capture that took effect.
    pub payments_with_several: SeveralOf,
    /// Events that are not delivered yet.
    pub webhooks_left: u64,
}

/// Payments with more than one effect of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SeveralOf {
    /// Authorized more than once.
    pub authorization: u64,
    /// Captured more than once, which may be what was wanted.
    pub capture: u64,
}

impl Counts {
    fn add(&mut self, kind: Kind, count: u64) {
        match kind {
            Kind::Authorization => self.authorization += count,
            Kind::Capture => self.capture += count,
            Kind::Void => self.void += count,
            Kind::Refund => self.refund += count,
        }
    }
}

impl Ledger {
    /// Payments with everything that was asked of them, out of one state of the ledger.
    ///
    /// # Errors
    /// Fails when the file does.
    pub fn payments(&self, query: Query) -> Result<Page, LedgerError> {
        self.read(|db| {
            let (found, limit) = match query {
                Query::Of(payment) => (one(db, payment)?, u32::MAX),
                Query::After(after, limit) => {
                    let limit = limit.clamp(1, LARGEST_PAGE);
                    let sql = "SELECT seq, id FROM payments WHERE seq > ?1 ORDER BY seq LIMIT ?2";
                    (list(db, sql, params![after, limit])?, limit)
                }
                Query::Latest(limit) => {
                    let sql = "SELECT seq, id FROM payments ORDER BY seq DESC LIMIT ?1";
                    (list(db, sql, params![limit])?, u32::MAX)
                }
            };
            let full = u32::try_from(found.len()).is_ok_and(|count| count == limit);
            let next = found.last().map(|(seq, _)| *seq).filter(|_| full);
            let payments = found.into_iter().map(|(seq, id)| payment(db, seq, id));
            Ok(Page { payments: payments.collect::<rusqlite::Result<_>>()?, next })
        })
    }

    /// One payment, if anything was asked of it.
    ///
    /// # Errors
    /// Fails when the file does.
    pub fn payment(&self, payment: Id) -> Result<Option<Payment>, LedgerError> {
        Ok(self.payments(Query::Of(payment))?.payments.pop())
    }

    /// Every payment, page by page: what was written in between may be seen or not.
    ///
    /// # Errors
    /// Fails when the file does.
    pub fn all(&self) -> Result<Vec<Payment>, LedgerError> {
        let (mut all, mut after) = (Vec::new(), Some(0));
        while let Some(place) = after {
            let page = self.payments(Query::After(place, LARGEST_PAGE))?;
            all.extend(page.payments);
            after = page.next;
        }
        Ok(all)
    }

    /// The whole in numbers.
    ///
    /// # Errors
    /// Fails when the file does.
    pub fn summary(&self) -> Result<Summary, LedgerError> {
        self.read(|db| {
            let count = |sql: &str| db.prepare_cached(sql)?.query_row([], |row| row.get(0));
            let several = |kind: Kind| {
                let kind = kind.as_str();
                count(&format!(
                    "SELECT count(*) FROM (SELECT 1 FROM operations
                     WHERE kind = '{kind}' AND status = 'succeeded'
                     GROUP BY payment HAVING count(*) > 1)"
                ))
            };
            let mut successful = Counts::default();
            for kind in Kind::ALL {
                let kind_name = kind.as_str();
                let sql = format!(
                    "SELECT count(*) FROM operations
                     WHERE kind = '{kind_name}' AND status = 'succeeded'"
                );
                successful.add(kind, count(&sql)?);
            }
            Ok(Summary {
                payments: count("SELECT count(*) FROM payments")?,
                operations: count("SELECT count(*) FROM operations")?,
                successful,
                references_doubled: count(
                    "SELECT count(*) FROM (SELECT 1 FROM operations WHERE status = 'succeeded'
                     GROUP BY reference HAVING count(*) > 1)",
                )?,
                payments_with_several: SeveralOf {
                    authorization: several(Kind::Authorization)?,
                    capture: several(Kind::Capture)?,
                },
                webhooks_left: count("SELECT count(*) FROM outbox WHERE copies > 0")?,
            })
        })
    }
}

fn one(db: &Connection, payment: Id) -> rusqlite::Result<Vec<(i64, Id)>> {
    list(db, "SELECT seq, id FROM payments WHERE id = ?1", params![payment.to_string()])
}

fn list(
    db: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<(i64, Id)>> {
    let mut statement = db.prepare_cached(sql)?;
    statement.query_map(parameters, |row| Ok((row.get(0)?, rows::parsed(row, 1)?)))?.collect()
}

fn payment(db: &Connection, seq: i64, id: Id) -> rusqlite::Result<Payment> {
    let sql = format!(
        "SELECT {OPERATION}, outbox.id, outbox.deliveries, outbox.copies FROM operations
         LEFT JOIN outbox ON outbox.operation = operations.seq
         WHERE operations.payment = ?1 ORDER BY operations.seq"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let operations: Vec<Recorded> =
        statement.query_map([id.to_string()], recorded)?.collect::<rusqlite::Result<_>>()?;
    let (successful, sums) = add_up(&operations);
    Ok(Payment { seq, payment: id, successful, totals: sums.totals(), operations })
}

fn recorded(row: &rusqlite::Row<'_>) -> rusqlite::Result<Recorded> {
    let (seq, operation) = rows::operation(row)?;
    let id: Option<String> = row.get(OPERATION_COLUMNS)?;
    let webhook = match id {
        None => None,
        Some(id) => Some(Webhook {
            id,
            deliveries: row.get(OPERATION_COLUMNS + 1)?,
            left: row.get(OPERATION_COLUMNS + 2)?,
        }),
    };
    Ok(Recorded { seq, operation, webhook })
}

/// What the operations that took effect come to.
fn add_up(operations: &[Recorded]) -> (Counts, Sums) {
    let took_effect = |one: &&Recorded| one.operation.status == Status::Succeeded;
    let mut effects = operations.iter().filter(took_effect).peekable();
    let first = effects.peek().or(operations.last().as_ref()).map(|one| one.operation.totals);
    let currency = first.map_or(Currency::NONE, |totals| totals.authorized.currency);
    let start = (Counts::default(), Sums::none(currency));
    effects.fold(start, |(mut counts, sums), one| {
        counts.add(one.operation.kind, 1);
        (counts, sums.after(one.operation.kind, one.operation.amount.minor))
    })
}
