//! Amounts: integers in strings, because JSON numbers lose integers above 2⁵³.

use std::{borrow::Cow, str::FromStr, sync::LazyLock};

use orders::{
    Violation,
    domain::{self, Currency, money::UnitPriceError},
};
use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"amount_minor": "1999", "currency": "EUR"})))]
pub(crate) struct Money {
    /// Minor units (cents for EUR, yen for JPY): an integer in a string.
    #[schema(pattern = r"^(0|[1-9][0-9]{0,18})$")]
    pub(crate) amount_minor: String,
    /// ISO 4217.
    #[schema(value_type = CurrencyCode)]
    pub(crate) currency: String,
}

/// The price of one piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"amount_minor": "199.5", "currency": "EUR"})))]
pub(crate) struct UnitPrice {
    /// Minor units with up to 6 fraction digits, in a string: goods cost fractions of a cent.
    #[schema(pattern = r"^(0|[1-9][0-9]{0,12})(\.[0-9]{1,6})?$")]
    pub(crate) amount_minor: String,
    /// ISO 4217.
    #[schema(value_type = CurrencyCode)]
    pub(crate) currency: String,
}

impl From<domain::Money> for Money {
    fn from(money: domain::Money) -> Self {
        let currency = money.currency.code().to_owned();
        Self { amount_minor: money.minor.to_string(), currency }
    }
}

impl From<domain::UnitPrice> for UnitPrice {
    fn from(price: domain::UnitPrice) -> Self {
        let currency = price.currency().code().to_owned();
        Self { amount_minor: price.to_string(), currency }
    }
}

impl Money {
    /// The amount, or what is wrong with it, seen from `pointer`.
    pub(super) fn read(&self, pointer: &str) -> Result<domain::Money, Vec<Violation>> {
        let minor = whole(&self.amount_minor).map_err(|why| amount(pointer, why));
        both(minor, currency(pointer, &self.currency))
            .map(|(minor, currency)| domain::Money::new(minor, currency))
    }
}

impl UnitPrice {
    /// The price, or what is wrong with it, seen from `pointer`.
    pub(super) fn read(&self, pointer: &str) -> Result<domain::UnitPrice, Vec<Violation>> {
        let text = &self.amount_minor;
        let plain = if is_canonical(text) { Ok(()) } else { Err(NOT_DECIMAL.to_owned()) };
        let currency = currency(pointer, &self.currency);
        // Which currency does not matter to whether the number can be read.
        let number = |currency| {
            domain::UnitPrice::parse(text, currency).map_err(|error| match error {
                UnitPriceError::NotDecimal => NOT_DECIMAL.to_owned(),
                UnitPriceError::TooFine | UnitPriceError::TooLarge => error.to_string(),
            })
        };
        let any = currency.as_ref().copied().ok().or_else(|| Currency::from_str("EUR").ok());
        let price = any.map_or(Ok(None), |any| plain.and_then(|()| number(any)).map(Some));
        let (price, _) = both(price.map_err(|why| amount(pointer, why)), currency)?;
        price.ok_or_else(Vec::new)
    }
}

const NOT_WHOLE: &str = "must be a whole number of minor units in a string, without leading zeros: \"1999\" is 19.99 EUR";
const NOT_DECIMAL: &str = "must be a decimal number of minor units in a string, without leading zeros: \
                           \"499\" is 4.99 EUR, and \"4.99\" would be 4.99 cents";

/// Whether the whole part has no zero too many. `-` is for the rules to refuse.
fn is_canonical(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.starts_with('0') || digits == "0" || digits.starts_with("0.")
}

fn whole(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) || !is_canonical(text) {
        return Err(NOT_WHOLE.to_owned());
    }
    text.parse().map_err(|_| "is larger than this service can hold".to_owned())
}

fn amount(pointer: &str, detail: String) -> Violation {
    Violation { pointer: format!("{pointer}/amount_minor"), code: "amount", detail }
}

fn currency(pointer: &str, code: &str) -> Result<Currency, Violation> {
    code.parse().map_err(|error: domain::currency::UnknownCurrency| Violation {
        pointer: format!("{pointer}/currency"),
        code: "currency",
        detail: error.to_string(),
    })
}

fn both<A, B>(a: Result<A, Violation>, b: Result<B, Violation>) -> Result<(A, B), Vec<Violation>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (a, b) => Err(a.err().into_iter().chain(b.err()).collect()),
    }
}

/// A currency in the document. Which there are is asked of the domain, so that the document cannot
/// be out of date.
enum CurrencyCode {}

impl PartialSchema for CurrencyCode {
    fn schema() -> RefOr<Schema> {
        static KNOWN: LazyLock<Vec<String>> = LazyLock::new(known_codes);
        let code = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("An ISO 4217 code."))
            .enum_values(Some(KNOWN.iter().map(String::as_str)));
        code.build().into()
    }
}

impl ToSchema for CurrencyCode {
    fn name() -> Cow<'static, str> {
        "Currency".into()
    }
}

fn known_codes() -> Vec<String> {
    let letters = || 'A'..='Z';
    let codes = letters().flat_map(|a| {
        letters().flat_map(move |b| letters().map(move |c| [a, b, c].iter().collect::<String>()))
    });
    codes.filter(|code| code.parse::<Currency>().is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(found: Vec<Violation>) -> Vec<(String, &'static str)> {
        found.into_iter().map(|v| (v.pointer, v.code)).collect()
    }

    #[test]
    fn amounts_are_whole_numbers_in_one_spelling() {
        let read = |text: &str| {
            let money = Money { amount_minor: text.to_owned(), currency: "EUR".to_owned() };
            money.read("/x").map(|money| money.minor)
        };
        assert_eq!(read("1999"), Ok(1999));
        assert_eq!(read("0"), Ok(0));
        assert_eq!(read("-5"), Ok(-5));
        assert_eq!(read("9223372036854775807"), Ok(i64::MAX));
        for text in ["", "-", "+1", "01", "00", "1.0", "1e3", " 1", "٣", "9223372036854775808"] {
            assert_eq!(codes(read(text).unwrap_err()), [("/x/amount_minor".to_owned(), "amount")]);
        }
    }

    #[test]
    fn everything_wrong_with_a_price_is_told_at_once() {
        let read = |amount: &str, currency: &str| {
            let price =
                UnitPrice { amount_minor: amount.to_owned(), currency: currency.to_owned() };
            price.read("/p")
        };
        assert_eq!(read("199.5", "EUR").unwrap().micros(), 199_500_000);
        let wrong = codes(read("007", "eur").unwrap_err());
        assert_eq!(wrong.iter().map(|(_, code)| *code).collect::<Vec<_>>(), ["amount", "currency"]);
        assert_eq!(codes(read("1", "XXX").unwrap_err()).len(), 1);
        assert_eq!(codes(read("1.1234567", "EUR").unwrap_err()).len(), 1);
    }
}
