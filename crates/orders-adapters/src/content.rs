//! How orders look in a store's JSON columns; the same in every store.

use std::collections::BTreeMap;

use orders::domain::{
    Address, Attempt, AttemptId, AttemptState, Currency, Goods, Line, LineShare, Means, Money,
    Payment, PaymentId, PaymentOperation, Personal, Progress, Quantity, Tax, UnitPrice,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a column cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("not the JSON that belongs there")]
    Json(#[from] serde_json::Error),
    #[error("{0} holds {1:?}")]
    Value(&'static str, String),
}

/// What never changes about an order, but for its own columns.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    lines: Vec<ContentLine>,
    #[serde(default, skip_serializing_if = "is_zero")]
    discount: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    shipping: i64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentLine {
    sku: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    quantity: u32,
    unit_price: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    discount: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tax: Option<ContentTax>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentTax {
    amount: i64,
    inclusive: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(amount: &i64) -> bool {
    *amount == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

pub(crate) fn encode(goods: &Goods, metadata: &BTreeMap<String, String>) -> String {
    let lines = goods.lines.iter().map(|line| ContentLine {
        sku: line.sku.as_str().to_owned(),
        name: line.name.clone(),
        quantity: line.quantity.get(),
        unit_price: line.unit_price.to_string(),
        discount: line.discount.minor,
        tax: line.tax.map(|t| ContentTax { amount: t.amount.minor, inclusive: t.inclusive }),
    });
    to_json(&Content {
        lines: lines.collect(),
        discount: goods.discount.minor,
        shipping: goods.shipping.minor,
        metadata: metadata.clone(),
    })
}

pub(crate) fn decode(
    content: &str,
    progress: &str,
    currency: &str,
) -> Result<(Goods, BTreeMap<String, String>), Unreadable> {
    let content: Content = serde_json::from_str(content)?;
    let progress: Vec<(u32, u32, u32)> = serde_json::from_str(progress)?;
    let currency: Currency =
        currency.parse().map_err(|_| Unreadable::Value("currency", currency.to_owned()))?;
    if !progress.is_empty() && progress.len() != content.lines.len() {
        return Err(Unreadable::Value("progress", format!("{} lines", progress.len())));
    }
    let mut progress = progress.into_iter();
    let lines: Result<Vec<Line>, Unreadable> = content
        .lines
        .into_iter()
        .map(|line| decode_line(line, progress.next().unwrap_or_default(), currency))
        .collect();
    let money = |minor| Money::new(minor, currency);
    let goods = Goods {
        currency,
        lines: lines?,
        discount: money(content.discount),
        shipping: money(content.shipping),
    };
    Ok((goods, content.metadata))
}

fn decode_line(
    line: ContentLine,
    (fulfilled, cancelled, returned): (u32, u32, u32),
    currency: Currency,
) -> Result<Line, Unreadable> {
    let bad = |what, value: &str| Unreadable::Value(what, value.to_owned());
    let money = |minor| Money::new(minor, currency);
    Ok(Line {
        sku: line.sku.parse().map_err(|_| bad("sku", &line.sku))?,
        name: line.name,
        quantity: Quantity::new(i64::from(line.quantity))
            .ok_or_else(|| bad("quantity", &line.quantity.to_string()))?,
        unit_price: UnitPrice::parse(&line.unit_price, currency)
            .map_err(|_| bad("unit_price", &line.unit_price))?,
        discount: money(line.discount),
        tax: line.tax.map(|t| Tax { amount: money(t.amount), inclusive: t.inclusive }),
        progress: Progress { fulfilled, cancelled, returned },
    })
}

/// Per line its counters; empty while nothing has moved.
pub(crate) fn encode_progress(lines: &[Line]) -> String {
    if lines.iter().all(|line| line.progress == Progress::default()) {
        return "[]".to_owned();
    }
    let counters = lines.iter().map(|line| {
        let Progress { fulfilled, cancelled, returned } = line.progress;
        (fulfilled, cancelled, returned)
    });
    to_json(&counters.collect::<Vec<_>>())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentColumn {
    id: Uuid,
    /// The provider's token; absent when the money was taken elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instrument: Option<String>,
    attempts: Vec<AttemptColumn>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttemptColumn {
    id: Uuid,
    operation: String,
    amount: i64,
    /// Line, pieces and minor units each, of what was asked for by line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lines: Vec<(u32, u32, i64)>,
    #[serde(default, skip_serializing_if = "is_false")]
    by_itself: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    refused: bool,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decline: Option<String>,
}

pub(crate) fn encode_payments(payments: &[Payment]) -> String {
    if payments.is_empty() {
        return "[]".to_owned();
    }
    let attempt = |attempt: &Attempt| {
        let (state, decline) = match &attempt.state {
            AttemptState::Open => ("open", None),
            AttemptState::Unknown => ("unknown", None),
            AttemptState::Parked => ("parked", None),
            AttemptState::Succeeded => ("succeeded", None),
            AttemptState::Declined(code) => ("declined", Some(code.as_str().to_owned())),
        };
        AttemptColumn {
            id: attempt.id.0,
            operation: attempt.operation.as_str().to_owned(),
            amount: attempt.amount.minor,
            lines: attempt.lines.iter().map(|s| (s.line, s.quantity, s.minor)).collect(),
            by_itself: attempt.by_itself,
            refused: attempt.is_refused,
            state: state.to_owned(),
            decline,
        }
    };
    let column = |payment: &Payment| PaymentColumn {
        id: payment.id.0,
        instrument: match &payment.means {
            Means::Instrument(token) => Some(token.as_str().to_owned()),
            Means::Elsewhere => None,
        },
        attempts: payment.attempts.iter().map(attempt).collect(),
    };
    to_json(&payments.iter().map(column).collect::<Vec<_>>())
}

pub(crate) fn decode_payments(json: &str, currency: Currency) -> Result<Vec<Payment>, Unreadable> {
    let columns: Vec<PaymentColumn> = serde_json::from_str(json)?;
    columns.into_iter().map(|column| decode_payment(column, currency)).collect()
}

fn decode_payment(column: PaymentColumn, currency: Currency) -> Result<Payment, Unreadable> {
    // The token is not repeated: it is nobody's business who reads the error.
    let bad = |_| Unreadable::Value("instrument", "what is no token".to_owned());
    let means = match column.instrument {
        Some(token) => Means::Instrument(token.parse().map_err(bad)?),
        None => Means::Elsewhere,
    };
    let attempts = column.attempts.into_iter().map(|attempt| decode_attempt(&attempt, currency));
    let attempts: Result<_, Unreadable> = attempts.collect();
    Ok(Payment { id: PaymentId(column.id), means, attempts: attempts? })
}

fn decode_attempt(column: &AttemptColumn, currency: Currency) -> Result<Attempt, Unreadable> {
    let bad = |what, value: &str| Unreadable::Value(what, value.to_owned());
    let operation = PaymentOperation::from_name(&column.operation)
        .ok_or_else(|| bad("operation", &column.operation))?;
    let state = match (column.state.as_str(), &column.decline) {
        ("open", None) => AttemptState::Open,
        ("unknown", None) => AttemptState::Unknown,
        ("parked", None) => AttemptState::Parked,
        ("succeeded", None) => AttemptState::Succeeded,
        ("declined", Some(code)) => {
            AttemptState::Declined(code.parse().map_err(|_| bad("decline", code))?)
        }
        _ => return Err(bad("state", &column.state)),
    };
    let amount = Money::new(column.amount, currency);
    let share =
        |(line, quantity, minor): &_| LineShare { line: *line, quantity: *quantity, minor: *minor };
    let lines = column.lines.iter().map(share).collect();
    let (id, by_itself, is_refused) = (AttemptId(column.id), column.by_itself, column.refused);
    Ok(Attempt { id, operation, amount, lines, by_itself, is_refused, state })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonalColumn {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shipping_address: Option<AddressColumn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    billing_address: Option<AddressColumn>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressColumn {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipient: Option<String>,
    line1: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line2: Option<String>,
    city: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postal_code: Option<String>,
    country: String,
}

pub(crate) fn encode_personal(personal: &Personal) -> String {
    let column = |a: &Address| AddressColumn {
        recipient: a.recipient.clone(),
        line1: a.line1.clone(),
        line2: a.line2.clone(),
        city: a.city.clone(),
        region: a.region.clone(),
        postal_code: a.postal_code.clone(),
        country: a.country.clone(),
    };
    to_json(&PersonalColumn {
        name: personal.name.clone(),
        email: personal.email.clone(),
        phone: personal.phone.clone(),
        shipping_address: personal.shipping_address.as_ref().map(column),
        billing_address: personal.billing_address.as_ref().map(column),
    })
}

pub(crate) fn decode_personal(json: &str) -> Result<Personal, Unreadable> {
    let column: PersonalColumn = serde_json::from_str(json)?;
    let address = |a: AddressColumn| Address {
        recipient: a.recipient,
        line1: a.line1,
        line2: a.line2,
        city: a.city,
        region: a.region,
        postal_code: a.postal_code,
        country: a.country,
    };
    Ok(Personal {
        name: column.name,
        email: column.email,
        phone: column.phone,
        shipping_address: column.shipping_address.map(address),
        billing_address: column.billing_address.map(address),
    })
}

fn to_json(value: &impl Serialize) -> String {
    // Plain structs with string keys always encode.
    serde_json::to_string(value).unwrap_or_default()
}
