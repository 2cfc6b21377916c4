//! Order numbers: what people read to each other over the phone.

use std::{fmt, str::FromStr};

/// Eight characters of Crockford's base 32 and a check character; unique per tenant, not
/// sequential, so that it tells nobody how many orders there are.
///
/// Reading forgives what people confuse: case, `O` for `0`, `I` and `L` for `1`, and hyphens.
/// Source: Douglas Crockford, "Base 32" (check symbol modulo 37).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderNumber(u64);

/// The text is not an order number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderNumberError {
    /// Wrong length or a character outside the alphabet.
    #[error("an order number has 8 letters or digits and a check character")]
    Malformed,
    /// The check character says that some character was misread.
    #[error("the check character does not fit: one character is wrong")]
    Misread,
}

const DIGITS: &[u8; 37] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ*~$=U";
const LENGTH: usize = 8;
/// 40 bits: eight characters of five.
const MASK: u64 = (1 << 40) - 1;

impl OrderNumber {
    /// The number of these random bits; the low 40 count.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & MASK)
    }

    /// The 40 bits of the number.
    pub const fn bits(self) -> u64 {
        self.0
    }

    fn text(self) -> String {
        let digit = |value: u64| {
            usize::try_from(value).ok().and_then(|v| DIGITS.get(v)).copied().map_or('?', char::from)
        };
        (0..LENGTH)
            .rev()
            .map(|place| digit(self.0.checked_shr(shift(place)).unwrap_or(0) & 31))
            .chain([digit(self.0.rem_euclid(37))])
            .collect()
    }
}

fn shift(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(0).saturating_mul(5)
}

fn value(c: char) -> Option<u64> {
    let c = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        c => c,
    };
    DIGITS.iter().position(|d| char::from(*d) == c).and_then(|at| u64::try_from(at).ok())
}

impl FromStr for OrderNumber {
    type Err = OrderNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let values: Option<Vec<u64>> = text.chars().filter(|c| *c != '-').map(value).collect();
        let values = values.ok_or(OrderNumberError::Malformed)?;
        let (check, digits) = values.split_last().ok_or(OrderNumberError::Malformed)?;
        if digits.len() != LENGTH || digits.iter().any(|digit| *digit > 31) {
            return Err(OrderNumberError::Malformed);
        }
        let bits = digits.iter().fold(0_u64, |bits, digit| (bits << 5) | digit);
        if bits.rem_euclid(37) == *check { Ok(Self(bits)) } else { Err(OrderNumberError::Misread) }
    }
}

impl fmt::Display for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_may_confuse_letters_case_and_hyphens() {
        let number = OrderNumber::from_bits(0x01_2345_6789);
        let text = number.to_string();
        let spoken = format!("{}-{}", &text[..4], &text[4..]).to_lowercase().replace('0', "o");
        assert_eq!(spoken.parse(), Ok(number));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "1", "0000000000", "00000000", "0000000é0", "*00000000"] {
            assert_eq!(text.parse::<OrderNumber>(), Err(OrderNumberError::Malformed), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_number_survives_its_text(bits in any::<u64>()) {
            let number = OrderNumber::from_bits(bits);
            prop_assert_eq!(number.to_string().parse(), Ok(number));
        }

        #[test]
        fn one_misread_character_is_noticed(bits in any::<u64>(), at in 0_usize..8, to in 0_usize..32) {
            let mut text = OrderNumber::from_bits(bits).to_string().into_bytes();
            prop_assume!(text[at] != DIGITS[to]);
            text[at] = DIGITS[to];
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(text.parse::<OrderNumber>(), Err(OrderNumberError::Misread));
        }
    }
}
