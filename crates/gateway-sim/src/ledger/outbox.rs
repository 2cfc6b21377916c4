//! Events on their way: each stands in the ledger with its operation until it was delivered.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;

use super::{Ledger, LedgerError, rows::micros};
use crate::{operation::Operation, random};

/// How an event is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How often, where one would do.
    pub copies: u32,
    /// How long after its operation.
    pub delay: Duration,
    /// Whether it waits for a later event to be delivered before it, within `delay`.
    pub held: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { copies: 1, delay: Duration::ZERO, held: false }
    }
}

/// An event that is to be delivered now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) id: String,
    pub(crate) body: String,
    /// How many tries have failed since the last that did not.
    pub(crate) tries: u32,
}

pub(super) fn insert(
    db: &Connection,
    operation: &Operation,
    seq: i64,
    delivery: Delivery,
) -> rusqlite::Result<()> {
    let id = random::id("evt_");
    let body = json!({
        "id": id,
        "type": format!("operation.{}", operation.status.as_str()),
        "created_at": operation.created_at.to_string(),
        "operation": operation,
    });
    let sql = "INSERT INTO outbox (id, operation, body, copies, held, due_at, tries, deliveries)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0)";
    db.prepare_cached(sql)?.execute(params![
        id,
        seq,
        body.to_string(),
        delivery.copies,
        delivery.held,
        micros(later(operation.created_at, delivery.delay)),
    ])?;
    Ok(())
}

fn later(at: Timestamp, time: Duration) -> Timestamp {
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    at.checked_add(time).unwrap_or(Timestamp::MAX)
}

impl Ledger {
    /// The event to deliver next, if one is due.
    pub(crate) fn due(&self, now: Timestamp) -> Result<Option<Due>, LedgerError> {
        self.read(|db| {
            let sql = "SELECT id, body, tries FROM outbox
                WHERE copies > 0 AND (due_at <= ?1 OR (held = 1 AND EXISTS (SELECT 1
                    FROM outbox later WHERE later.seq > outbox.seq AND later.deliveries > 0)))
                ORDER BY due_at, seq LIMIT 1";
            let row = |row: &rusqlite::Row<'_>| {
                Ok(Due { id: row.get(0)?, body: row.get(1)?, tries: row.get(2)? })
            };
            db.prepare_cached(sql)?.query_row([micros(now)], row).optional()
        })
    }

    /// One delivery was taken.
    pub(crate) fn delivered(&self, id: &str) -> Result<(), LedgerError> {
        let sql = "UPDATE outbox SET copies = copies - 1, deliveries = deliveries + 1, tries = 0
            WHERE id = ?1";
        self.writer().prepare_cached(sql)?.execute([id])?;
        Ok(())
    }

    /// One delivery was not taken, and is to be made again after `pause`.
    pub(crate) fn not_delivered(
        &self,
        id: &str,
        now: Timestamp,
        pause: Duration,
    ) -> Result<(), LedgerError> {
        let sql = "UPDATE outbox SET tries = tries + 1, held = 0, due_at = ?2 WHERE id = ?1";
        self.writer().prepare_cached(sql)?.execute(params![id, micros(later(now, pause))])?;
        Ok(())
    }
}
