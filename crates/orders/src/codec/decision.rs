//! Decisions as the store keeps them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Refusal,
    domain::{Command, Money, OrderId, State, Version},
    ports::Decision,
};

/// A stored decision that this version cannot read.
#[derive(Debug, thiserror::Error)]
#[error("not a decision that this version can read: {text}")]
pub struct DecodeError {
    text: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "kebab-case", deny_unknown_fields)]
enum Stored {
    Accepted { version: u64 },
    IllegalTransition { state: String, command: String },
    NotesFull,
    ExternalReferenceTaken { order: Uuid },
    PaymentInProgress,
    PaymentInDoubt,
    AmountNotLeft { left: i64, currency: String },
    NoSuchPayment,
    TooManyPayments,
    NotParked,
    MovedElsewhere,
    HandedOver,
    NoSuchLine { line: u32 },
    PiecesNotLeft { line: u32, left: u32 },
}

/// Encodes a decision as JSON.
pub fn encode(decision: &Decision) -> String {
    let stored = match *decision {
        Decision::Accepted { version } => Stored::Accepted { version: version.get() },
        Decision::Refused(Refusal::IllegalTransition { state, command }) => {
            Stored::IllegalTransition {
                state: state.as_str().to_owned(),
                command: command.as_str().to_owned(),
            }
        }
        Decision::Refused(Refusal::NotesFull) => Stored::NotesFull,
        Decision::Refused(Refusal::ExternalReferenceTaken { order }) => {
            Stored::ExternalReferenceTaken { order: order.0 }
        }
        Decision::Refused(Refusal::PaymentInProgress) => Stored::PaymentInProgress,
        Decision::Refused(Refusal::PaymentInDoubt) => Stored::PaymentInDoubt,
        Decision::Refused(Refusal::AmountNotLeft { left }) => {
            Stored::AmountNotLeft { left: left.minor, currency: left.currency.code().to_owned() }
        }
        Decision::Refused(Refusal::NoSuchPayment) => Stored::NoSuchPayment,
        Decision::Refused(Refusal::TooManyPayments) => Stored::TooManyPayments,
        Decision::Refused(Refusal::NotParked) => Stored::NotParked,
        Decision::Refused(Refusal::MovedElsewhere) => Stored::MovedElsewhere,
        Decision::Refused(Refusal::HandedOver) => Stored::HandedOver,
        Decision::Refused(Refusal::NoSuchLine { line }) => Stored::NoSuchLine { line },
        Decision::Refused(Refusal::PiecesNotLeft { line, left }) => {
            Stored::PiecesNotLeft { line, left }
        }
    };
    serde_json::to_string(&stored).unwrap_or_default()
}

/// Decodes what [`encode`] made.
///
/// # Errors
/// [`DecodeError`] on anything else.
pub fn decode(text: &str) -> Result<Decision, DecodeError> {
    let bad = || DecodeError { text: text.to_owned() };
    let stored: Stored = serde_json::from_str(text).map_err(|_| bad())?;
    Ok(match stored {
        Stored::Accepted { version } => {
            Decision::Accepted { version: Version::new(version).ok_or_else(bad)? }
        }
        Stored::IllegalTransition { state, command } => {
            Decision::Refused(Refusal::IllegalTransition {
                state: State::from_name(&state).ok_or_else(bad)?,
                command: Command::from_name(&command).ok_or_else(bad)?,
            })
        }
        Stored::NotesFull => Decision::Refused(Refusal::NotesFull),
        Stored::ExternalReferenceTaken { order } => {
            Decision::Refused(Refusal::ExternalReferenceTaken { order: OrderId(order) })
        }
        Stored::PaymentInProgress => Decision::Refused(Refusal::PaymentInProgress),
        Stored::PaymentInDoubt => Decision::Refused(Refusal::PaymentInDoubt),
        Stored::AmountNotLeft { left, currency } => {
            let left = Money::new(left, currency.parse().map_err(|_| bad())?);
            Decision::Refused(Refusal::AmountNotLeft { left })
        }
        Stored::NoSuchPayment => Decision::Refused(Refusal::NoSuchPayment),
        Stored::TooManyPayments => Decision::Refused(Refusal::TooManyPayments),
        Stored::NotParked => Decision::Refused(Refusal::NotParked),
        Stored::MovedElsewhere => Decision::Refused(Refusal::MovedElsewhere),
        Stored::HandedOver => Decision::Refused(Refusal::HandedOver),
        Stored::NoSuchLine { line } => Decision::Refused(Refusal::NoSuchLine { line }),
        Stored::PiecesNotLeft { line, left } => {
            Decision::Refused(Refusal::PiecesNotLeft { line, left })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decision_survives_its_encoding() {
        let order = OrderId(Uuid::from_u128(7));
        let refusal =
            Refusal::IllegalTransition { state: State::Expired, command: Command::Cancel };
        for decision in [
            Decision::Accepted { version: Version::FIRST.next() },
            Decision::Refused(refusal),
            Decision::Refused(Refusal::NotesFull),
            Decision::Refused(Refusal::ExternalReferenceTaken { order }),
            Decision::Refused(Refusal::PaymentInProgress),
            Decision::Refused(Refusal::PaymentInDoubt),
            Decision::Refused(Refusal::AmountNotLeft {
                left: Money::new(7, "EUR".parse().unwrap()),
            }),
            Decision::Refused(Refusal::NoSuchPayment),
            Decision::Refused(Refusal::TooManyPayments),
            Decision::Refused(Refusal::NotParked),
            Decision::Refused(Refusal::MovedElsewhere),
            Decision::Refused(Refusal::HandedOver),
            Decision::Refused(Refusal::NoSuchLine { line: 7 }),
            Decision::Refused(Refusal::PiecesNotLeft { line: 7, left: 2 }),
        ] {
            assert_eq!(decode(&encode(&decision)).unwrap(), decision);
        }
    }

    #[test]
    fn the_encoding_stays_as_it_is_stored() {
        let accepted = Decision::Accepted { version: Version::FIRST };
        assert_eq!(encode(&accepted), r#"{"decision":"accepted","version":1}"#);
    }

    #[test]
    fn what_is_no_decision_is_refused() {
        for text in ["", "{}", r#"{"decision":"accepted","version":0}"#, r#"{"decision":"later"}"#]
        {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
