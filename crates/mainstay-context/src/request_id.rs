use std::{error::Error, fmt, str::FromStr, sync::Arc};

/// The name of one request, found in its logs, its response and the history it causes.
///
/// Always 1 to 128 visible ASCII characters, so that it is safe in a header and in a log line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The most characters an id may have.
    pub const MAX_LEN: usize = 128;

    /// The id that is these 16 bytes, usually random, as 32 lower-case hexadecimal digits.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(bytes)).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for RequestId {
    type Error = InvalidRequestId;

    fn try_from(text: &str) -> Result<Self, InvalidRequestId> {
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidRequestId)
        }
    }
}

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, InvalidRequestId> {
        text.try_into()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text cannot be a request id: it is empty, too long or not visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRequestId;

impl fmt::Display for InvalidRequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request id is 1 to 128 visible ASCII characters")
    }
}

impl Error for InvalidRequestId {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_long_blank_and_foreign_texts_are_refused() {
        for text in ["", "a b", "a\nb", "\u{7f}", "é", &"x".repeat(129)] {
            assert_eq!(RequestId::try_from(text), Err(InvalidRequestId), "{text:?}");
        }
    }

    #[test]
    fn bytes_become_hexadecimal_digits() {
        let id = RequestId::from_bytes([0xab; 16]);
        assert_eq!(id.as_str(), "ab".repeat(16));
        assert_eq!(id.as_str().parse(), Ok(id));
    }

    proptest! {
        #[test]
        fn visible_ascii_survives_unchanged(text in "[!-~]{1,128}") {
            let id: RequestId = text.parse().unwrap();
            prop_assert_eq!(id.as_str(), &text);
            prop_assert_eq!(id.to_string(), text);
        }

        #[test]
        fn no_text_is_altered(text in ".*") {
            if let Ok(id) = RequestId::try_from(text.as_str()) {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
