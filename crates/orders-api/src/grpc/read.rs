//! What calls ask, as both protocols have it judged. What a message cannot say, such as an amount that
//! is no number, the readers of JSON never meet.

use jiff::Timestamp;
use orders::{
    Violation,
    domain::{IdempotencyKey, Pieces, Reason},
};

use super::pb;
use crate::{
    change::{Change, IfMatch, TAG_RULE},
    history,
    listing::Listing,
    problem::Problem,
    wire::{create, money, order::reference, payment, personal, verb},
};

/// Which order a verb is for, and the caller's conditions.
pub(super) fn change(order_id: &str, idempotency_key: &str, etag: &str) -> Change {
    let tags = if etag.is_empty() { Some(IfMatch::Any) } else { IfMatch::read(etag.as_bytes()) };
    Change {
        order: reference(order_id),
        key: key(idempotency_key),
        if_match: tags.ok_or_else(|| Problem::unreadable("etag", TAG_RULE)),
    }
}

/// The key of a call; `None` when it has none.
pub(super) fn key(text: &str) -> Result<Option<IdempotencyKey>, Problem> {
    key_of("idempotency_key", text)
}

/// The key in this field; `None` when there is none.
pub(super) fn key_of(name: &str, text: &str) -> Result<Option<IdempotencyKey>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let read = text.parse::<IdempotencyKey>();
    read.map(Some).map_err(|error| Problem::unreadable(name, error.to_string()))
}

/// The pieces of a verb, none when all are meant, and its reason.
pub(super) fn pieces(
    lines: Option<pb::SomePieces>,
    reason: Option<String>,
) -> Result<(Vec<Pieces>, Option<Reason>), Vec<Violation>> {
    verb::SomePieces { lines: some(lines), reason }.read()
}

/// The pieces that are named, which may be none by mistake.
fn some(lines: Option<pb::SomePieces>) -> Option<Vec<verb::Pieces>> {
    lines.map(|some| some.pieces.into_iter().map(Into::into).collect())
}

impl From<pb::ListOrdersRequest> for Listing {
    fn from(asked: pb::ListOrdersRequest) -> Self {
        Self {
            state: named(asked.state, pb::OrderState::as_str_name, "ORDER_STATE_"),
            payment_state: named(
                asked.payment_state,
                pb::PaymentState::as_str_name,
                "PAYMENT_STATE_",
            ),
            customer_id: asked.customer_id,
            created_after: asked.created_after.map(time),
            external_reference: asked.external_reference,
            page_size: page_size(asked.page_size),
            page_token: page_token(asked.page_token),
        }
    }
}

impl From<pb::ListHistoryRequest> for history::Asked {
    fn from(asked: pb::ListHistoryRequest) -> Self {
        Self {
            order: reference(&asked.order_id),
            page_size: page_size(asked.page_size),
            page_token: page_token(asked.page_token),
        }
    }
}

/// The size of a page; `None` when it is left to the service.
fn page_size(size: u32) -> Option<u64> {
    (size > 0).then_some(size.into())
}

/// The token of a page; `None` of the first.
fn page_token(token: String) -> Option<String> {
    (!token.is_empty()).then_some(token)
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

/// A time, or what is wrong with it. What is behind the second counts forward, also before 1970.
fn time(at: prost_types::Timestamp) -> Result<Timestamp, String> {
    let time = Timestamp::new(at.seconds, at.nanos).ok().filter(|_| at.nanos >= 0);
    time.ok_or_else(|| "must be a time, with 0 to 999,999,999 nanoseconds".to_owned())
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
        Self { payment_id: asked.payment_id, amount: asked.amount.map(Into::into) }
    }
}

impl From<pb::RefundOrderRequest> for payment::BackMoney {
    fn from(asked: pb::RefundOrderRequest) -> Self {
        let (amount, lines) = (asked.amount.map(Into::into), some(asked.lines));
        Self { payment_id: asked.payment_id, amount, lines }
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
        Self { operation_id: asked.operation_id, outcome, reason: asked.reason }
    }
}
