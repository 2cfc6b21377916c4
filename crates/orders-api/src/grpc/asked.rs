//! What calls ask, as the HTTP API takes it: its readers say what is wrong, so that both refuse the
//! same. What a message cannot say, such as an amount that is no number, they never meet.

use jiff::Timestamp;
use orders::{
    Error,
    domain::{IdempotencyKey, Pieces, Reason},
    ports::OrderRef,
};

use super::pb;
use crate::{
    http::{
        headers::{self, IfMatch},
        params::{self, ListParams},
        wire::{create, money, payment, personal, verb},
    },
    problem::{FieldError, Problem},
};

/// Which order a verb is for, and the caller's conditions.
pub(super) struct Target {
    pub(super) order: OrderRef,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) if_match: IfMatch,
}

impl Target {
    pub(super) fn read(order: &str, idempotency_key: &str, etag: &str) -> Result<Self, Problem> {
        let order = reference(order)?;
        let tags =
            if etag.is_empty() { Some(IfMatch::Any) } else { headers::condition(etag.as_bytes()) };
        let if_match = tags.ok_or_else(|| wrong("etag", headers::TAG_RULE))?;
        Ok(Self { order, key: key(idempotency_key)?, if_match })
    }

    /// The same, of a verb that cannot be sent again without a key.
    pub(super) fn keyed(self) -> Result<Self, Problem> {
        if self.key.is_some() { Ok(self) } else { Err(headers::key_missing()) }
    }
}

/// The order of this id or number. What cannot be the name of an order is the name of none.
pub(super) fn reference(order: &str) -> Result<OrderRef, Problem> {
    params::reference(order).ok_or_else(|| Error::NotFound.into())
}

/// The key of a call; `None` when it has none.
pub(super) fn key(text: &str) -> Result<Option<IdempotencyKey>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let read = text.parse::<IdempotencyKey>();
    read.map(Some).map_err(|error| wrong("idempotency_key", &error.to_string()))
}

/// The problem of a field of a call.
pub(super) fn wrong(field: &str, detail: &str) -> Problem {
    Problem::malformed(FieldError::parameter(field, detail))
}

/// The pieces of a verb, none when all are meant, and its reason.
pub(super) fn pieces(
    lines: Option<pb::SomePieces>,
    reason: Option<String>,
) -> Result<(Vec<Pieces>, Option<Reason>), Problem> {
    let some = verb::SomePieces { lines: some(lines), reason };
    some.read().map_err(Problem::invalid)
}

/// The pieces that are named, which may be none by mistake.
fn some(lines: Option<pb::SomePieces>) -> Option<Vec<verb::Pieces>> {
    lines.map(|some| some.pieces.into_iter().map(Into::into).collect())
}

/// What a list is narrowed to.
pub(super) fn list(asked: pb::ListOrdersRequest) -> Result<ListParams, Problem> {
    let pb::ListOrdersRequest {
        state,
        payment_state,
        customer_id,
        created_after,
        external_reference,
        page_size,
        page_token,
    } = asked;
    let state = named(state, pb::OrderState::as_str_name, "ORDER_STATE_");
    let payment_state = named(payment_state, pb::PaymentState::as_str_name, "PAYMENT_STATE_");
    let created_after = created_after.map(time).transpose()?;
    Ok(ListParams {
        state,
        payment_state,
        customer_id,
        created_after,
        external_reference,
        page_size: (page_size > 0).then(|| page_size.into()),
        page_token: (!page_token.is_empty()).then_some(page_token),
    })
}

/// The name of a value as HTTP has it; the number of one that has no name here, which is refused.
fn named<T: TryFrom<i32>>(
    value: i32,
    name: fn(&T) -> &'static str,
    prefix: &str,
) -> Option<String> {
    let known = T::try_from(value).ok();
    let name =
        known.map_or_else(|| value.to_string(), |known| name(&known).replacen(prefix, "", 1));
    (value != 0).then_some(name)
}

fn time(at: prost_types::Timestamp) -> Result<String, Problem> {
    let time = Timestamp::new(at.seconds, at.nanos);
    time.map(|at| at.to_string()).map_err(|_| wrong("created_after", "must be a time"))
}

/// How an outcome is called over HTTP; one that is not known is called nothing, and refused.
fn outcome(outcome: i32) -> String {
    let name = match pb::Resolution::try_from(outcome) {
        Ok(pb::Resolution::Succeeded) => "succeeded",
        Ok(pb::Resolution::Declined) => "declined",
        Ok(pb::Resolution::SendAgain) => "send-again",
        Ok(pb::Resolution::Unspecified) | Err(_) => "",
    };
    name.to_owned()
}

impl From<pb::Money> for money::Money {
    fn from(money: pb::Money) -> Self {
        Self { amount_minor: money.minor.to_string(), currency: money.currency }
    }
}

impl From<pb::UnitPrice> for money::UnitPrice {
    fn from(price: pb::UnitPrice) -> Self {
        Self { amount_minor: price.minor, currency: price.currency }
    }
}

impl From<pb::Pieces> for verb::Pieces {
    fn from(pieces: pb::Pieces) -> Self {
        Self { line_no: pieces.line_no.into(), quantity: pieces.quantity.into() }
    }
}

/// What is required and is not there is refused by what it then holds.
impl From<pb::NewOrder> for create::CreateOrder {
    fn from(order: pb::NewOrder) -> Self {
        Self {
            customer_id: order.customer_id,
            external_reference: order.external_reference,
            lines: order.lines.into_iter().map(Into::into).collect(),
            discount: order.discount.map(Into::into),
            shipping: order.shipping.map(Into::into),
            expected_total: order.expected_total.map(Into::into),
            metadata: order.metadata,
            personal: order.personal.map(Into::into),
            payment: order.payment.map(|with| create::PayWith { instrument: with.instrument }),
        }
    }
}

impl From<pb::NewLine> for create::CreateLine {
    fn from(line: pb::NewLine) -> Self {
        Self {
            sku: line.sku,
            name: line.name,
            quantity: line.quantity.into(),
            unit_price: line.unit_price.unwrap_or_default().into(),
            discount: line.discount.map(Into::into),
            tax: line.tax.map(Into::into),
        }
    }
}

impl From<pb::Tax> for create::Tax {
    fn from(tax: pb::Tax) -> Self {
        Self { amount: tax.amount.unwrap_or_default().into(), inclusive: tax.inclusive }
    }
}

impl From<pb::Personal> for personal::Personal {
    fn from(personal: pb::Personal) -> Self {
        let pb::Personal { name, email, phone, shipping_address, billing_address } = personal;
        Self {
            name,
            email,
            phone,
            shipping_address: shipping_address.map(Into::into),
            billing_address: billing_address.map(Into::into),
        }
    }
}

impl From<pb::Address> for personal::Address {
    fn from(address: pb::Address) -> Self {
        let pb::Address { recipient, line1, line2, city, region, postal_code, country } = address;
        Self { recipient, line1, line2, city, region, postal_code, country }
    }
}

impl From<pb::PayOrderRequest> for payment::Pay {
    fn from(asked: pb::PayOrderRequest) -> Self {
        Self { instrument: asked.instrument, amount: asked.amount.map(Into::into) }
    }
}

impl From<pb::CaptureOrderRequest> for payment::SomeMoney {
    fn from(asked: pb::CaptureOrderRequest) -> Self {
        Self { payment: asked.payment, amount: asked.amount.map(Into::into) }
    }
}

impl From<pb::RefundOrderRequest> for payment::BackMoney {
    fn from(asked: pb::RefundOrderRequest) -> Self {
        let (amount, lines) = (asked.amount.map(Into::into), some(asked.lines));
        Self { payment: asked.payment, amount, lines }
    }
}

impl From<pb::RecordPaymentRequest> for payment::TakenElsewhere {
    fn from(asked: pb::RecordPaymentRequest) -> Self {
        Self { amount: asked.amount.unwrap_or_default().into(), reason: asked.reason }
    }
}

impl From<pb::ResolvePaymentRequest> for payment::Resolve {
    fn from(asked: pb::ResolvePaymentRequest) -> Self {
        let outcome = outcome(asked.outcome);
        Self { operation: asked.operation, outcome, reason: asked.reason }
    }
}
