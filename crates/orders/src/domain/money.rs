//! Amounts of money, and unit prices finer than a minor unit.

use std::{fmt, str::FromStr};

use super::currency::Currency;

/// An amount in minor units (cents for EUR, yen for JPY) of one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    /// Minor units; may be negative only in intermediate results.
    pub minor: i64,
    /// The currency the amount is in.
    pub currency: Currency,
}

impl Money {
    /// An amount of `minor` units.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing, in this currency.
    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }
}

impl fmt::Display for Money {
    /// As people read it: `19.99 EUR`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponent = self.currency.exponent();
        let unit = 10_u64.pow(u32::from(exponent));
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        let whole = minor.checked_div(unit).unwrap_or(minor);
        if exponent == 0 {
            return write!(f, "{sign}{whole} {}", self.currency);
        }
        let rest = minor.checked_rem(unit).unwrap_or(0);
        write!(f, "{sign}{whole}.{rest:0width$} {}", self.currency, width = usize::from(exponent))
    }
}

/// The price of one piece, in millionths of a minor unit: goods cost fractions of a cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnitPrice {
    micros: i64,
    currency: Currency,
}

/// Why a text is not a unit price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitPriceError {
    /// Not a plain decimal number.
    #[error("must be a plain decimal number of minor units, such as 199 or 199.5")]
    NotDecimal,
    /// More digits after the point than a unit price keeps.
    #[error("has more than 6 fraction digits")]
    TooFine,
    /// Larger than an amount can hold.
    #[error("is larger than this service can hold")]
    TooLarge,
}

/// Millionths in one minor unit.
const SCALE: i64 = 1_000_000;
const SCALE_DIGITS: usize = 6;

impl UnitPrice {
    /// A price from millionths of a minor unit.
    pub const fn from_micros(micros: i64, currency: Currency) -> Self {
        Self { micros, currency }
    }

    /// Reads a decimal number of minor units with up to 6 fraction digits.
    ///
    /// # Errors
    /// [`UnitPriceError`] says what is wrong with the text.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, UnitPriceError> {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let dangling = digits.contains('.') && fraction.is_empty();
        if whole.is_empty() || dangling || !plain(whole) || !plain(fraction) {
            return Err(UnitPriceError::NotDecimal);
        }
        if fraction.len() > SCALE_DIGITS {
            return Err(UnitPriceError::TooFine);
        }
        let number = |part: &str| i64::from_str(part).map_err(|_| UnitPriceError::TooLarge);
        let micros = number(&format!("{fraction:0<SCALE_DIGITS$}"))?;
        number(whole)?
            .checked_mul(SCALE)
            .and_then(|whole| whole.checked_add(micros))
            .and_then(|micros| micros.checked_mul(sign))
            .map(|micros| Self { micros, currency })
            .ok_or(UnitPriceError::TooLarge)
    }

    /// Millionths of a minor unit.
    pub const fn micros(self) -> i64 {
        self.micros
    }

    /// The currency of the price.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Price × quantity, rounded once to minor units, half to even (the usual rounding of
    /// accounting, IEEE 754 `roundTiesToEven`); `None` when the result does not fit.
    pub fn times(self, quantity: u32) -> Option<Money> {
        let exact = i128::from(self.micros).checked_mul(i128::from(quantity))?;
        let scale = i128::from(SCALE);
        let whole = exact.div_euclid(scale);
        let twice_rest = exact.rem_euclid(scale).checked_mul(2)?;
        let odd = whole.rem_euclid(2) == 1;
        let up = twice_rest > scale || (twice_rest == scale && odd);
        let minor = whole.checked_add(i128::from(up))?;
        Some(Money::new(i64::try_from(minor).ok()?, self.currency))
    }
}

impl fmt::Display for UnitPrice {
    /// The decimal number of minor units, without trailing zeros: `199.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.micros < 0 { "-" } else { "" };
        let micros = self.micros.unsigned_abs();
        let scale = SCALE.unsigned_abs();
        let whole = micros.div_euclid(scale);
        let rest = format!("{:0SCALE_DIGITS$}", micros.rem_euclid(scale));
        match rest.trim_end_matches('0') {
            "" => write!(f, "{sign}{whole}"),
            rest => write!(f, "{sign}{whole}.{rest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn eur() -> Currency {
        "EUR".parse().unwrap()
    }

    #[test]
    fn halves_round_to_even() {
        for (price, quantity, minor) in
            [("0.5", 1, 0), ("1.5", 1, 2), ("2.5", 1, 2), ("2.500001", 1, 3), ("33.333333", 3, 100)]
        {
            let price = UnitPrice::parse(price, eur()).unwrap();
            assert_eq!(price.times(quantity), Some(Money::new(minor, eur())), "{price}×{quantity}");
        }
    }

    #[test]
    fn what_is_not_a_plain_decimal_is_refused() {
        for text in ["", ".", "1.", ".5", "1e3", "+1", "1,5", " 1", "--1", "0x1", "1.2.3", "١"] {
            assert_eq!(UnitPrice::parse(text, eur()), Err(UnitPriceError::NotDecimal), "{text:?}");
        }
        assert_eq!(UnitPrice::parse("1.0000001", eur()), Err(UnitPriceError::TooFine));
        assert_eq!(UnitPrice::parse("9223372036855", eur()), Err(UnitPriceError::TooLarge));
        assert_eq!(UnitPrice::parse(&"9".repeat(40), eur()), Err(UnitPriceError::TooLarge));
    }

    #[test]
    fn a_product_that_does_not_fit_is_none() {
        assert_eq!(UnitPrice::from_micros(i64::MAX, eur()).times(u32::MAX), None);
    }

    #[test]
    fn money_reads_as_people_write_it() {
        let shown = |minor, code: &str| Money::new(minor, code.parse().unwrap()).to_string();
        assert_eq!(shown(1999, "EUR"), "19.99 EUR");
        assert_eq!(shown(-5, "EUR"), "-0.05 EUR");
        assert_eq!(shown(500, "JPY"), "500 JPY");
        assert_eq!(shown(1, "CLF"), "0.0001 CLF");
    }

    proptest! {
        #[test]
        fn a_price_survives_its_text(micros in any::<i64>()) {
            let price = UnitPrice::from_micros(micros, eur());
            // i64::MIN has no positive twin, and the reader builds the magnitude first.
            prop_assume!(micros != i64::MIN);
            prop_assert_eq!(UnitPrice::parse(&price.to_string(), eur()), Ok(price));
        }

        #[test]
        fn rounding_moves_by_half_a_minor_unit_at_most(micros in 0..i64::MAX / 2_000_000, quantity in 1_u32..=1_000_000) {
            let exact = i128::from(micros) * i128::from(quantity);
            let rounded = UnitPrice::from_micros(micros, eur()).times(quantity).unwrap();
            prop_assert!((i128::from(rounded.minor) * 1_000_000 - exact).abs() * 2 <= 1_000_000);
        }
    }
}
