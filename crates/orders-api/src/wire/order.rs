//! An order as clients see it.

use std::collections::BTreeMap;

use orders::{
    domain::{self, OrderId, Record, Version},
    ports::OrderRef,
};
use serde::Serialize;
use utoipa::{ToSchema, openapi::Object};
use uuid::Uuid;

use super::{money::Money, one_of, payment::Payment, personal::Personal, priced::Priced};
use crate::problem::verbs;

/// An order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Order {
    #[serde(flatten)]
    summary: OrderSummary,
    /// What it comes to, without the pieces that were called off.
    payable: Money,
    /// What is not paid or held of that.
    due: Money,
    /// Its payments, oldest first.
    payments: Vec<Payment>,
    /// The remarks, oldest first.
    notes: Vec<Note>,
    /// The buyer's personal data, unless none was given or it was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    personal: Option<Personal>,
}

/// An order without its notes and personal data.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderSummary {
    /// Our id of it.
    #[schema(format = "uuid")]
    id: String,
    /// What people call it.
    #[schema(examples("7ZK3M9QW4"))]
    number: String,
    /// Your id of the customer.
    customer_id: String,
    /// Your id of the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    external_reference: Option<String>,
    /// Where it stands as a whole.
    #[schema(schema_with = state)]
    state: &'static str,
    /// Where its money is.
    #[schema(schema_with = payment_state)]
    payment_state: &'static str,
    /// Where its goods are.
    #[schema(schema_with = fulfillment_state)]
    fulfillment_state: &'static str,
    /// How many changes it has seen; its `ETag` is `"v` + this + `"`.
    #[schema(minimum = 1)]
    version: u64,
    /// Everything it costs, and why.
    #[serde(flatten)]
    priced: Priced,
    /// Your own fields.
    metadata: BTreeMap<String, String>,
    /// When it was placed.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    /// What you can do to it now, by the last part of the address: `confirm` is
    /// `POST /v1/orders/{id}/confirm`.
    #[schema(value_type = Vec<String>)]
    allowed_transitions: Vec<&'static str>,
    /// Where more about it is.
    links: Links,
}

/// A remark on an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Note {
    /// The version that added it.
    version: u64,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// Who wrote it.
    author: String,
    /// What it says.
    text: String,
}

/// Where more about an order is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Links {
    /// The order itself.
    #[serde(rename = "self")]
    this: String,
    /// Everything that was done to it.
    history: String,
}

/// A page of orders, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderPage {
    /// The orders.
    pub(crate) orders: Vec<OrderSummary>,
    /// Where the next page starts; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) next_page_token: Option<String>,
}

/// The order that this text names, by id or by number; `None` when it can be the name of none.
pub(crate) fn reference(text: &str) -> Option<OrderRef> {
    let hyphenated = text.len() == 36;
    match Uuid::try_parse(text) {
        Ok(id) if hyphenated => Some(OrderRef::Id(OrderId(id))),
        _ => text.parse().ok().map(OrderRef::Number),
    }
}

/// The tag of an order at this version.
pub(crate) fn etag(version: Version) -> String {
    format!("\"v{version}\"")
}

/// The version that stands between the quotes of a tag.
pub(crate) fn tagged(opaque: &str) -> Option<Version> {
    let digits = opaque.strip_prefix('v')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok().and_then(Version::new))?
}

pub(crate) fn state() -> Object {
    one_of(domain::State::ALL.iter().map(|state| state.as_str()))
}

pub(crate) fn payment_state() -> Object {
    one_of(domain::PaymentState::ALL.iter().map(|state| state.as_str()))
}

fn fulfillment_state() -> Object {
    use domain::FulfillmentState as S;
    let all =
        [S::Unfulfilled, S::PartiallyFulfilled, S::Fulfilled, S::PartiallyReturned, S::Returned];
    one_of(all.map(S::as_str))
}

impl From<Record> for Order {
    fn from(Record { order, personal, notes }: Record) -> Self {
        Self {
            summary: (&order).into(),
            payable: order.payable().into(),
            due: order.due().into(),
            payments: order
                .payments
                .iter()
                .map(|payment| Payment::of(payment, order.goods.currency))
                .collect(),
            notes: notes.into_iter().map(Into::into).collect(),
            personal: personal.map(Into::into),
        }
    }
}

impl From<&domain::Order> for OrderSummary {
    fn from(order: &domain::Order) -> Self {
        let this = format!("/v1/orders/{}", order.id);
        Self {
            id: order.id.to_string(),
            number: order.number.to_string(),
            customer_id: order.customer_id.to_string(),
            external_reference: order.external_reference.as_ref().map(ToString::to_string),
            state: order.state.as_str(),
            payment_state: order.payment_state().as_str(),
            fulfillment_state: order.fulfillment_state().as_str(),
            version: order.version.get(),
            priced: Priced::of(&order.goods, order.pricing()),
            metadata: order.metadata.clone(),
            created_at: order.created_at.to_string(),
            updated_at: order.updated_at.to_string(),
            allowed_transitions: allowed(order),
            links: Links { history: format!("{this}/history"), this },
        }
    }
}

/// The verbs of its state, and that of operators when something waits for one.
fn allowed(order: &domain::Order) -> Vec<&'static str> {
    let mut all = verbs(order.state);
    if order.payment_state() == domain::PaymentState::Parked {
        all.push("resolve");
    }
    all
}

impl From<domain::Note> for Note {
    fn from(note: domain::Note) -> Self {
        Self {
            version: note.version.get(),
            at: note.at.to_string(),
            author: note.author.to_string(),
            text: note.text.as_str().to_owned(),
        }
    }
}
