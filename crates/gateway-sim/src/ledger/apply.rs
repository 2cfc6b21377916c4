//! One operation under one key, all or nothing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::{
    Answer, Ledger, LedgerError, Marks, outbox,
    rows::{self, OPERATION, micros},
};
use crate::{
    operation::{Command, Currency, Decline, Id, Money, Operation, Status},
    random,
    rules::Sums,
};

impl Ledger {
    /// Decides `command` under `key`, or answers as it was decided before.
    ///
    /// # Errors
    /// Fails when the file does; it is then unknown whether the operation was written.
    pub fn apply(
        &self,
        command: &Command,
        key: &str,
        marks: Marks,
        now: Timestamp,
    ) -> Result<Answer, LedgerError> {
        // Microseconds are kept; a finer time would differ between an answer and its replay.
        let now = Timestamp::from_microsecond(micros(now)).unwrap_or(now);
        self.write(|db| {
            let hash = hash(command);
            if let Some(known) = known(db, key, &hash, now)? {
                if marks.forget_key && known != Answer::KeyReused {
                    let sql = "UPDATE keys SET expires_at = ?2 WHERE key = ?1";
                    db.prepare_cached(sql)?.execute(params![key, micros(now)])?;
                }
                return Ok(known);
            }
            if is_in_use(db, command.reference, key, now)? {
                return Ok(Answer::ReferenceInUse);
            }
            let operation = decide(db, command, key, marks.refusal, now)?;
            let seq = insert(db, &operation)?;
            let kept = if marks.forget_key { Duration::ZERO } else { self.window };
            remember(db, &operation, &hash, seq, kept)?;
            if let Some(delivery) = marks.delivery {
                outbox::insert(db, &operation, seq, delivery)?;
            }
            Ok(Answer::Decided(operation))
        })
    }

    /// Makes every key new, as if the windows of all had passed.
    ///
    /// # Errors
    /// Fails when the file does.
    pub fn forget_keys(&self) -> Result<(), LedgerError> {
        self.write(|db| db.execute("DELETE FROM keys", []).map(drop))
    }

    /// The operation of this reference; the latest, if it was sent again after its key's window.
    ///
    /// # Errors
    /// Fails when the file does.
    pub fn find(&self, reference: Id) -> Result<Option<Operation>, LedgerError> {
        self.read(|db| {
            let sql = format!(
                "SELECT {OPERATION} FROM operations WHERE reference = ?1 ORDER BY seq DESC LIMIT 1"
            );
            let mut statement = db.prepare_cached(&sql)?;
            let found = statement.query_row([reference.to_string()], rows::operation).optional()?;
            Ok(found.map(|(_, operation)| operation))
        })
    }
}

/// What makes two requests the same: what they say, not how they are spaced.
fn hash(command: &Command) -> [u8; 32] {
    let Command { kind, reference, payment, amount, instrument } = command;
    let amount = amount.map(|amount| amount.to_string()).unwrap_or_default();
    let instrument = instrument.as_deref().unwrap_or_default();
    let text = format!("1\n{}\n{reference}\n{payment}\n{amount}\n{instrument}", kind.as_str());
    Sha256::digest(text).into()
}

/// The answer that the key stands for, if it is remembered.
fn known(
    db: &Connection,
    key: &str,
    hash: &[u8; 32],
    now: Timestamp,
) -> rusqlite::Result<Option<Answer>> {
    let sql = "SELECT hash, operation FROM keys WHERE key = ?1 AND expires_at > ?2";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?));
    let found = db.prepare_cached(sql)?.query_row(params![key, micros(now)], row).optional()?;
    match found {
        None => Ok(None),
        Some((known, _)) if known != hash => Ok(Some(Answer::KeyReused)),
        Some((_, seq)) => {
            let sql = format!("SELECT {OPERATION} FROM operations WHERE seq = ?1");
            let (_, operation) = db.prepare_cached(&sql)?.query_row([seq], rows::operation)?;
            Ok(Some(Answer::Replayed(operation)))
        }
    }
}

/// Whether another key is remembered for this reference.
fn is_in_use(db: &Connection, reference: Id, key: &str, now: Timestamp) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM keys WHERE reference = ?1 AND key <> ?2 AND expires_at > ?3";
    db.prepare_cached(sql)?.exists(params![reference.to_string(), key, micros(now)])
}

fn decide(
    db: &Connection,
    command: &Command,
    key: &str,
    refusal: Option<Decline>,
    now: Timestamp,
) -> rusqlite::Result<Operation> {
    let asked = command.amount.map(|amount| amount.currency);
    let mut sums = sums(db, command.payment)?;
    // The currency of a payment is that of its first authorization.
    if let Some(currency) = asked.filter(|_| sums.authorized == 0) {
        sums.currency = currency;
    }
    let allowed = refusal.map_or_else(|| sums.allow(command), Err);
    let after = allowed.map_or(sums, |moved| sums.after(command.kind, moved));
    save(db, command.payment, after)?;
    let amount = match (allowed, command.amount) {
        (_, Some(asked)) => asked,
        (Ok(moved), None) => Money::new(moved, sums.currency),
        (Err(_), None) => Money::new(0, sums.currency),
    };
    Ok(Operation {
        reference: command.reference,
        payment: command.payment,
        kind: command.kind,
        status: if allowed.is_ok() { Status::Succeeded } else { Status::Declined },
        amount,
        decline_code: allowed.err(),
        gateway_id: random::id("sim_"),
        idempotency_key: key.to_owned(),
        created_at: now,
        totals: after.totals(),
    })
}

fn sums(db: &Connection, payment: Id) -> rusqlite::Result<Sums> {
    let sql = "SELECT currency, authorized, captured, voided, refunded FROM payments WHERE id = ?1";
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Sums {
            currency: rows::parsed(row, 0)?,
            authorized: row.get(1)?,
            captured: row.get(2)?,
            voided: row.get(3)?,
            refunded: row.get(4)?,
        })
    };
    let found = db.prepare_cached(sql)?.query_row([payment.to_string()], row).optional()?;
    Ok(found.unwrap_or(Sums::none(Currency::NONE)))
}

fn save(db: &Connection, payment: Id, sums: Sums) -> rusqlite::Result<()> {
    let sql = "INSERT INTO payments (id, currency, authorized, captured, voided, refunded)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (id) DO UPDATE SET currency = excluded.currency,
            authorized = excluded.authorized, captured = excluded.captured,
            voided = excluded.voided, refunded = excluded.refunded";
    db.prepare_cached(sql)?.execute(params![
        payment.to_string(),
        sums.currency.code(),
        sums.authorized,
        sums.captured,
        sums.voided,
        sums.refunded,
    ])?;
    Ok(())
}

/// Writes the operation; returns its place.
fn insert(db: &Connection, operation: &Operation) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO operations (reference, payment, kind, status, amount_minor, currency,
            decline_code, gateway_id, key, created_at, authorized, captured, voided, refunded,
            totals_in)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    let totals = operation.totals;
    db.prepare_cached(sql)?.insert(params![
        operation.reference.to_string(),
        operation.payment.to_string(),
        operation.kind.as_str(),
        operation.status.as_str(),
        operation.amount.minor,
        operation.amount.currency.code(),
        operation.decline_code.map(Decline::as_str),
        operation.gateway_id,
        operation.idempotency_key,
        micros(operation.created_at),
        totals.authorized.minor,
        totals.captured.minor,
        totals.voided.minor,
        totals.refunded.minor,
        totals.authorized.currency.code(),
    ])
}

/// Writes the key, over a forgotten one.
fn remember(
    db: &Connection,
    operation: &Operation,
    hash: &[u8; 32],
    seq: i64,
    kept: Duration,
) -> rusqlite::Result<()> {
    let first = operation.created_at;
    let kept = SignedDuration::try_from(kept).unwrap_or(SignedDuration::MAX);
    let expires = first.checked_add(kept).unwrap_or(Timestamp::MAX);
    let sql = "INSERT OR REPLACE INTO keys (key, hash, reference, operation, first_at, expires_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    db.prepare_cached(sql)?.execute(params![
        operation.idempotency_key,
        hash,
        operation.reference.to_string(),
        seq,
        micros(first),
        micros(expires),
    ])?;
    Ok(())
}
