//! A settlement list: what a provider says it did, one operation a line.
//!
//! CSV with a header. The columns that are needed may stand in any order, and others beside them.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
    path::PathBuf,
};

use csv::{ReaderBuilder, StringRecord};
use jiff::Timestamp;
use orders::domain::{Money, PaymentOperation};
use uuid::Uuid;

/// The columns that are needed.
const COLUMNS: [&str; 6] = ["reference", "payment", "operation", "amount_minor", "currency", "at"];

/// Lines that cannot be read and are told; the rest are counted.
const TOLD: usize = 20;

/// What a line says that the provider did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Our id of the operation.
    pub(super) reference: Uuid,
    /// Our id of the payment.
    pub(super) payment: Uuid,
    pub(super) operation: PaymentOperation,
    pub(super) amount: Money,
    /// When it settled.
    pub(super) at: Timestamp,
    /// Where it stands in the file, from 1.
    pub(super) number: u64,
}

/// Why a list cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// The file cannot be.
    #[error("cannot read {0}")]
    File(PathBuf, #[source] io::Error),
    /// There is no such column.
    #[error(
        "the list has no column {missing}: its first line has to name {}, in any order; it names {found}",
        COLUMNS.join(",")
    )]
    Column { missing: String, found: String },
    /// Lines are not of the form.
    #[error("the list cannot be read:\n{0}")]
    Lines(Wrong),
}

/// What is wrong with lines: as much as a person reads, and how many more there are.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    told: Vec<String>,
    more: usize,
}

impl Wrong {
    fn add(&mut self, what: String) {
        if self.told.len() < TOLD {
            self.told.push(what);
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}", self.told.join("\n  "))?;
        if self.more > 0 { write!(f, "\n  and {} more lines", self.more) } else { Ok(()) }
    }
}

/// Reads the whole list, or says of every line that cannot be read why.
pub(super) fn read(from: impl Read) -> Result<Vec<Line>, Unreadable> {
    // A line ends with its \n, and a \r before that is trimmed: else the lines are counted wrongly.
    let mut reader = ReaderBuilder::new()
        .terminator(csv::Terminator::Any(b'\n'))
        .trim(csv::Trim::All)
        .flexible(true)
        .from_reader(from);
    let header = reader.headers().map_err(|error| unreadable(&error))?.clone();
    let columns = columns(&header)?;
    let (mut lines, mut wrong) = (Vec::new(), Wrong::default());
    let mut record = StringRecord::new();
    loop {
        let read = reader.read_record(&mut record);
        let number = record.position().map_or(0, csv::Position::line);
        match read {
            Ok(false) => break,
            Ok(true) => match line(&record, (columns, header.len()), number) {
                Ok(line) => lines.extend(line),
                Err(why) => wrong.add(format!("line {number}: {why}")),
            },
            // After a line that is no text others can be read, but not after a lost disk.
            Err(error) if matches!(error.kind(), csv::ErrorKind::Io(_)) => {
                return Err(unreadable(&error));
            }
            Err(error) => wrong.add(shape(&error)),
        }
    }
    if wrong.told.is_empty() { Ok(lines) } else { Err(Unreadable::Lines(wrong)) }
}

fn unreadable(error: &csv::Error) -> Unreadable {
    let mut wrong = Wrong::default();
    wrong.add(shape(error));
    Unreadable::Lines(wrong)
}

/// What is wrong with the shape of a line.
fn shape(error: &csv::Error) -> String {
    let line = error.position().map_or_else(String::new, |at| format!("line {}: ", at.line()));
    if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) {
        format!("{line}is not UTF-8")
    } else {
        error.to_string()
    }
}

/// Where each of the needed columns stands.
fn columns(header: &StringRecord) -> Result<[usize; COLUMNS.len()], Unreadable> {
    let places: BTreeMap<&str, usize> = header.iter().zip(0..).collect();
    let missing: Vec<&str> =
        COLUMNS.into_iter().filter(|name| !places.contains_key(name)).collect();
    if missing.is_empty() {
        return Ok(COLUMNS.map(|name| places.get(name).copied().unwrap_or_default()));
    }
    let found = header.iter().collect::<Vec<_>>().join(",");
    Err(Unreadable::Column { missing: missing.join(", "), found })
}

/// The line that this record is; `None` of an empty one.
fn line(
    record: &StringRecord,
    (columns, named): ([usize; COLUMNS.len()], usize),
    number: u64,
) -> Result<Option<Line>, String> {
    match record.len() {
        1 if record.get(0) == Some("") => return Ok(None),
        has if has != named => {
            return Err(format!("has {has} fields, and the first line names {named}"));
        }
        _ => {}
    }
    let [reference, payment, operation, minor, currency, at] =
        columns.map(|column| record.get(column).unwrap_or_default());
    let id = |name: &str, text: &str| {
        Uuid::try_parse(text).map_err(|_| format!("{name} {text:?} is not a UUID"))
    };
    let digits = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
    let minor: i64 = minor.parse().ok().filter(|_| digits).ok_or_else(|| {
        format!("amount_minor {minor:?} is not a whole number of minor units, such as 1999")
    })?;
    let currency = currency.parse().map_err(|error| format!("currency {currency:?} {error}"))?;
    let line = Line {
        reference: id("reference", reference)?,
        payment: id("payment", payment)?,
        operation: PaymentOperation::from_name(operation).ok_or_else(|| {
            format!("operation {operation:?} is none of authorize, capture, void and refund")
        })?,
        amount: Money::new(minor, currency),
        at: at.parse().map_err(|_| {
            format!("at {at:?} is not a time with its offset, such as 2026-03-01T12:00:00Z")
        })?,
        number,
    };
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01936f5e-7c2a-7b3e-9a41-0c8f2d6e5b10";

    fn refused(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn columns_may_stand_in_any_order_among_others() {
        let text = format!(
            "\u{feff}fee,at, currency,amount_minor,operation,payment,reference\r\n\
             9,2026-03-01T12:00:00+01:00,EUR, 1999,capture,{ID},\"{ID}\"\r\n\r\n"
        );
        let lines = read(text.as_bytes()).unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].amount, Money::new(1999, "EUR".parse().unwrap()));
        assert_eq!((lines[0].operation, lines[0].number), (PaymentOperation::Capture, 2));
        assert_eq!(lines[0].at.to_string(), "2026-03-01T11:00:00Z");
    }

    #[test]
    fn a_missing_column_is_named() {
        let why = refused("reference,payment,operation,amount\n");
        assert!(why.contains("no column amount_minor, currency, at"), "{why}");
        assert!(why.contains("it names reference,payment,operation,amount"), "{why}");
        assert!(refused("").contains("no column reference"));
    }

    #[test]
    fn every_line_that_cannot_be_read_is_told_by_its_number() {
        let good = format!("{ID},{ID},void,1,EUR,2026-03-01T12:00:00Z");
        let text = format!(
            "reference,payment,operation,amount_minor,currency,at\n{good}\n\
             x,{ID},void,1,EUR,2026-03-01T12:00:00Z\n\
             {ID},{ID},settle,1,EUR,2026-03-01T12:00:00Z\n\
             {ID},{ID},void,-1,EUR,2026-03-01T12:00:00Z\n\
             {ID},{ID},void,1.5,EUR,2026-03-01T12:00:00Z\n\
             {ID},{ID},void,1,euro,2026-03-01T12:00:00Z\n\
             {ID},{ID},void,1,EUR,yesterday\n\
             {ID},{ID}\n{good}\n"
        );
        let why = refused(&text);
        for (line, part) in [
            (3, "reference \"x\""),
            (4, "operation \"settle\""),
            (5, "amount_minor \"-1\""),
            (6, "amount_minor \"1.5\""),
            (7, "currency \"euro\""),
            (8, "at \"yesterday\""),
            (9, "has 2 fields"),
        ] {
            assert!(why.contains(&format!("line {line}: {part}")), "{part} in {why}");
        }
        assert_eq!(why.lines().count(), 8, "{why}");
    }
}
