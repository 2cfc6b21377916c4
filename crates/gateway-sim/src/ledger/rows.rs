//! Between rows and operations.

use jiff::Timestamp;
use rusqlite::{Row, types::Type};

use crate::{
    operation::{Decline, Kind, Money, Operation, Status},
    rules::Sums,
};

/// The columns that [`operation`] reads, in its order.
pub(super) const OPERATION: &str = "operations.seq, operations.reference, operations.payment, \
     operations.kind, operations.status, operations.amount_minor, operations.currency, \
     operations.decline_code, operations.gateway_id, operations.key, operations.created_at, \
     operations.authorized, operations.captured, operations.voided, operations.refunded, \
     operations.totals_in";

/// How many those are.
pub(super) const OPERATION_COLUMNS: usize = 16;

pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// An operation with its place in the ledger.
pub(super) fn operation(row: &Row<'_>) -> rusqlite::Result<(i64, Operation)> {
    let (kind, status): (String, String) = (row.get(3)?, row.get(4)?);
    let decline: Option<String> = row.get(7)?;
    let sums = Sums {
        currency: parsed(row, 15)?,
        authorized: row.get(11)?,
        captured: row.get(12)?,
        voided: row.get(13)?,
        refunded: row.get(14)?,
    };
    let declined = |code: String| named_decline(&code).ok_or_else(|| unreadable(7, code.into()));
    let operation = Operation {
        reference: parsed(row, 1)?,
        payment: parsed(row, 2)?,
        kind: Kind::ALL
            .into_iter()
            .find(|one| one.as_str() == kind)
            .ok_or_else(|| unreadable(3, kind.into()))?,
        status: if status == Status::Succeeded.as_str() {
            Status::Succeeded
        } else {
            Status::Declined
        },
        amount: Money::new(row.get(5)?, parsed(row, 6)?),
        decline_code: decline.map(declined).transpose()?,
        gateway_id: row.get(8)?,
        idempotency_key: row.get(9)?,
        created_at: time(row, 10)?,
        totals: sums.totals(),
    };
    Ok((row.get(0)?, operation))
}

fn named_decline(code: &str) -> Option<Decline> {
    Decline::ALL.into_iter().find(|one| one.as_str() == code)
}

pub(super) fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Timestamp> {
    let micros = row.get(at)?;
    Timestamp::from_microsecond(micros).map_err(|error| unreadable(at, error.into()))
}

/// A column that is text with a form.
pub(super) fn parsed<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(at)?;
    text.parse().map_err(|error: T::Err| unreadable(at, error.into()))
}

fn unreadable(at: usize, why: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, why)
}
