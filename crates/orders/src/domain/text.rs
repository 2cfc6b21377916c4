//! Bounded texts. Each type holds only what its rule allows, so nothing behind it checks again.

use std::{fmt, str::FromStr, sync::Arc};

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing in it.
    #[error("must not be empty")]
    Empty,
    /// Fewer characters than the minimum.
    #[error("must have at least {0} characters")]
    TooShort(usize),
    /// More characters (Unicode scalar values) than the cap.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// A character outside the allowed set.
    #[error("may hold only {0}")]
    BadCharacter(&'static str),
}

/// Checks a text against a rule; shared by the types below and by fields that stay plain strings.
pub(super) fn check(text: &str, min: usize, max: usize, set: Set) -> Result<(), TextError> {
    if text.is_empty() && min > 0 {
        return Err(TextError::Empty);
    }
    let length = text.chars().count();
    if length > max {
        return Err(TextError::TooLong(max));
    }
    if length < min {
        return Err(TextError::TooShort(min));
    }
    let (ok, name): (fn(char) -> bool, _) = match set {
        Set::Name => (
            |c| c.is_ascii_alphanumeric() || "._-".contains(c),
            "letters, digits, '.', '_' and '-'",
        ),
        Set::Visible => (|c| c.is_ascii_graphic(), "visible ASCII characters"),
        Set::Line => (|c| !c.is_control(), "characters that are not control characters"),
        Set::Text => (
            |c| !c.is_control() || c == '\n' || c == '\t',
            "characters that are not control characters (line breaks and tabs excepted)",
        ),
    };
    if text.chars().all(ok) { Ok(()) } else { Err(TextError::BadCharacter(name)) }
}

/// Which characters a text may hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Set {
    Name,
    Visible,
    Line,
    Text,
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $min:literal..=$max:literal, $set:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                check(text, $min, $max, Set::$set)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text! {
    /// Whose orders these are. Nothing is ever read or written across tenants.
    TenantId, 1..=64, Name
}
text! {
    /// The tenant's own id of a customer.
    CustomerId, 1..=128, Line
}
text! {
    /// The tenant's own id of the order; unique per tenant.
    ExternalReference, 1..=128, Line
}
text! {
    /// What is sold, in the tenant's catalogue.
    Sku, 1..=64, Line
}
text! {
    /// The client's key that makes one request of several tries. 16 characters at least, so that
    /// keys drawn at random do not meet.
    IdempotencyKey, 16..=128, Visible
}
text! {
    /// Why somebody did what they did; shown in the history.
    Reason, 1..=500, Line
}

text! {
    /// Why a gateway declined, in its own words for programs, such as `insufficient-funds`.
    DeclineCode, 1..=64, Name
}

/// A provider's token for a payment instrument; never a card number. Shows nothing when debugged,
/// and no event or history row carries it.
#[derive(Clone, PartialEq, Eq)]
pub struct Instrument(Arc<str>);

impl Instrument {
    /// The token itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Instrument {
    type Err = InstrumentError;

    fn from_str(text: &str) -> Result<Self, InstrumentError> {
        check(text, 1, 255, Set::Visible)?;
        if is_card_number(text) { Err(InstrumentError::CardNumber) } else { Ok(Self(text.into())) }
    }
}

impl fmt::Debug for Instrument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instrument(..)")
    }
}

/// Why a text is not a payment instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstrumentError {
    /// Not the shape of a token.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It looks like a card number, which must never come here.
    #[error("must be a provider's token; this looks like a card number")]
    CardNumber,
}

/// Whether this is 12 to 19 digits, separators aside, that pass the check of card numbers (Luhn, ISO/IEC
/// 7812-1).
fn is_card_number(text: &str) -> bool {
    let digits: Option<Vec<u32>> =
        text.chars().filter(|c| *c != '-').map(|c| c.to_digit(10)).collect();
    let Some(digits) = digits.filter(|digits| (12..=19).contains(&digits.len())) else {
        return false;
    };
    let sum = digits.iter().rev().enumerate().fold(0_u32, |sum, (at, digit)| {
        let doubled = if at % 2 == 1 { digit.saturating_mul(2) } else { *digit };
        sum.saturating_add(if doubled > 9 { doubled.saturating_sub(9) } else { doubled })
    });
    sum.is_multiple_of(10)
}

/// A remark on an order, for people. May hold personal data, so it shows nothing when debugged and
/// no event or history row carries it.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteText(String);

impl NoteText {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NoteText {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        check(text, 1, 2_000, Set::Text)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for NoteText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoteText(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_16_to_128_visible_ascii_characters() {
        assert!("k".repeat(16).parse::<IdempotencyKey>().is_ok());
        assert!("k".repeat(128).parse::<IdempotencyKey>().is_ok());
        assert_eq!("k".repeat(15).parse::<IdempotencyKey>(), Err(TextError::TooShort(16)));
        assert_eq!("k".repeat(129).parse::<IdempotencyKey>(), Err(TextError::TooLong(128)));
        assert!("sixteen chars ok".parse::<IdempotencyKey>().is_err());
        assert!("sixteen-chärs-ok".parse::<IdempotencyKey>().is_err());
    }

    #[test]
    fn a_card_number_is_no_instrument_and_a_token_is() {
        for card in ["4242424242424242", "4242-4242-4242-4242", "378282246310005"] {
            assert_eq!(card.parse::<Instrument>(), Err(InstrumentError::CardNumber), "{card}");
        }
        for token in ["tok_ok", "4242424242424243", "pm_4242424242424242", "12345"] {
            assert!(token.parse::<Instrument>().is_ok(), "{token}");
        }
        assert_eq!(format!("{:?}", "tok_ok".parse::<Instrument>().unwrap()), "Instrument(..)");
    }

    #[test]
    fn a_note_may_break_lines_and_a_reason_may_not() {
        assert!("a\nb".parse::<NoteText>().is_ok());
        assert!("a\nb".parse::<Reason>().is_err());
        assert!("a\0b".parse::<NoteText>().is_err());
    }
}
