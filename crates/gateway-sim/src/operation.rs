//! The contract's words, as they are on the wire.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The largest amount and sum, in minor units: 18 digits.
pub const LARGEST: i64 = 999_999_999_999_999_999;

/// The id of an operation or a payment, drawn by the caller: a UUID in its usual form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(Uuid);

/// An amount in the minor units of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WireMoney", into = "WireMoney")]
pub struct Money {
    /// Minor units, from 0 to [`LARGEST`].
    pub minor: i64,
    /// In what.
    pub currency: Currency,
}

/// Three capital letters (ISO 4217).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Hold an amount on an instrument.
    Authorization,
    /// Take of what is authorized.
    Capture,
    /// Let go of what is authorized and not captured.
    Void,
    /// Give back of what was captured.
    Refund,
}

/// How an operation was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It took effect.
    Succeeded,
    /// It did not, and never will.
    Declined,
}

/// Why an operation was declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decline {
    /// The issuer says no.
    CardDeclined,
    /// There is not enough on the instrument.
    InsufficientFunds,
    /// The token stands for nothing.
    UnknownInstrument,
    /// No authorization of this payment succeeded.
    UnknownPayment,
    /// A capture above what is authorized and neither captured nor voided.
    ExceedsAuthorized,
    /// A refund above what is captured and not yet refunded.
    ExceedsCaptured,
    /// The payment was voided.
    AlreadyVoided,
    /// All that was authorized is captured.
    NothingToVoid,
    /// The payment is in another currency.
    CurrencyMismatch,
}

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Command {
    /// What to do.
    pub kind: Kind,
    /// The caller's id of this operation.
    pub reference: Id,
    /// The caller's id of the payment.
    pub payment: Id,
    /// How much; a void says nothing of it.
    pub amount: Option<Money>,
    /// On what; only an authorization says it.
    pub instrument: Option<String>,
}

/// An operation as it was decided. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The caller's id of this operation.
    pub reference: Id,
    /// The caller's id of the payment.
    pub payment: Id,
    /// What was asked for.
    pub kind: Kind,
    /// What came of it.
    pub status: Status,
    /// As asked; of a void, what was let go.
    pub amount: Money,
    /// Why it was declined, and only then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decline_code: Option<Decline>,
    /// The simulator's id.
    pub gateway_id: String,
    /// The key it was asked for with.
    pub idempotency_key: String,
    /// When it was decided.
    #[serde(with = "rfc3339")]
    pub created_at: Timestamp,
    /// The sums of the payment right after it.
    pub totals: Totals,
}

/// The sums of one payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Held.
    pub authorized: Money,
    /// Taken, of what was held.
    pub captured: Money,
    /// Let go, of what was held.
    pub voided: Money,
    /// Given back, of what was taken.
    pub refunded: Money,
}

/// What a text on the wire must be and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not an [`Id`].
    #[error("expected a UUID in lower case, such as 01936f5e-7c2a-7b3e-9a41-0c8f2d6e5b10")]
    Id,
    /// Not minor units.
    #[error("expected whole minor units of at most 18 digits as text, such as \"1999\"")]
    Amount,
    /// Not a [`Currency`].
    #[error("expected three capital letters, such as EUR")]
    Currency,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireMoney {
    amount_minor: String,
    currency: String,
}

impl Id {
    /// The id of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl FromStr for Id {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // Other forms of the same id would be another id to whoever compares texts.
        let id = Uuid::try_parse(text).map_err(|_| Invalid::Id)?;
        if id.to_string() == text { Ok(Self(id)) } else { Err(Invalid::Id) }
    }
}

impl TryFrom<String> for Id {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Money {
    /// So many minor units.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }
}

impl TryFrom<WireMoney> for Money {
    type Error = Invalid;

    fn try_from(wire: WireMoney) -> Result<Self, Invalid> {
        let digits = wire.amount_minor.as_str();
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || digits.len() > 18 || (digits.len() > 1 && digits.starts_with('0')) {
            return Err(Invalid::Amount);
        }
        let minor = digits.parse().map_err(|_| Invalid::Amount)?;
        Ok(Self { minor, currency: wire.currency.parse()? })
    }
}

impl From<Money> for WireMoney {
    fn from(money: Money) -> Self {
        Self { amount_minor: money.minor.to_string(), currency: money.currency.to_string() }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.minor, self.currency)
    }
}

impl Currency {
    /// ISO 4217's "no currency", where a void names a payment that is unknown.
    pub const NONE: Self = Self(*b"XXX");

    /// The currency of these letters, which the caller knows to be capital ones.
    pub(crate) const fn of(letters: [u8; 3]) -> Self {
        Self(letters)
    }

    /// The three letters.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Currency {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| Invalid::Currency)?;
        if letters.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(letters))
        } else {
            Err(Invalid::Currency)
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Authorization, Self::Capture, Self::Void, Self::Refund];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }
}

impl Status {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
        }
    }
}

impl Decline {
    /// Every code.
    pub const ALL: [Self; 9] = [
        Self::CardDeclined,
        Self::InsufficientFunds,
        Self::UnknownInstrument,
        Self::UnknownPayment,
        Self::ExceedsAuthorized,
        Self::ExceedsCaptured,
        Self::AlreadyVoided,
        Self::NothingToVoid,
        Self::CurrencyMismatch,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CardDeclined => "card-declined",
            Self::InsufficientFunds => "insufficient-funds",
            Self::UnknownInstrument => "unknown-instrument",
            Self::UnknownPayment => "unknown-payment",
            Self::ExceedsAuthorized => "exceeds-authorized",
            Self::ExceedsCaptured => "exceeds-captured",
            Self::AlreadyVoided => "already-voided",
            Self::NothingToVoid => "nothing-to-void",
            Self::CurrencyMismatch => "currency-mismatch",
        }
    }
}

/// Times as text.
mod rfc3339 {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(amount: &str, currency: &str) -> Result<Money, serde_json::Error> {
        serde_json::from_value(serde_json::json!({ "amount_minor": amount, "currency": currency }))
    }

    #[test]
    fn money_is_whole_minor_units_in_three_letters() {
        let eur = "EUR".parse().unwrap();
        assert_eq!(money("1999", "EUR").unwrap(), Money::new(1999, eur));
        assert_eq!(money("0", "EUR").unwrap(), Money::new(0, eur));
        assert_eq!(money("999999999999999999", "EUR").unwrap(), Money::new(LARGEST, eur));
        for wrong in ["", "-1", "+1", "1.0", "01", "1e3", " 1", "1000000000000000000", "١"] {
            assert!(money(wrong, "EUR").is_err(), "{wrong}");
        }
        for wrong in ["", "eur", "EU", "EURO", "E R", "ÉU"] {
            assert!(money("1", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_has_one_form() {
        let id = "01936f5e-7c2a-7b3e-9a41-0c8f2d6e5b10";
        assert_eq!(id.parse::<Id>().unwrap().to_string(), id);
        for wrong in ["", &id.to_uppercase(), &id.replace('-', ""), &format!("{{{id}}}"), "x"] {
            assert_eq!(wrong.parse::<Id>(), Err(Invalid::Id), "{wrong}");
        }
    }

    #[test]
    fn names_on_the_wire_are_those_of_serde() {
        let told = |value: serde_json::Value| value.as_str().unwrap().to_owned();
        for kind in Kind::ALL {
            assert_eq!(told(serde_json::to_value(kind).unwrap()), kind.as_str());
        }
        for decline in Decline::ALL {
            assert_eq!(told(serde_json::to_value(decline).unwrap()), decline.as_str());
        }
    }
}
