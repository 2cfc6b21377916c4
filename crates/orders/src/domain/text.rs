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
    fn a_note_may_break_lines_and_a_reason_may_not() {
        assert!("a\nb".parse::<NoteText>().is_ok());
        assert!("a\nb".parse::<Reason>().is_err());
        assert!("a\0b".parse::<NoteText>().is_err());
    }
}
