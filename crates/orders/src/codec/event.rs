//! Event payloads, by the schemas under `api/events/`.

use serde::Serialize;
use uuid::Uuid;

use crate::domain::{Entry, ExternalReference, Order, State};

/// What every order event says. Ids only: no personal data, no note text, no metadata.
#[derive(Serialize)]
struct OrderChanged<'a> {
    order_id: Uuid,
    number: String,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_state: Option<&'static str>,
    state: &'static str,
    payment_state: &'static str,
    fulfillment_state: &'static str,
    customer_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_reference: Option<&'a str>,
    total: Amount<'a>,
    occurred_at: String,
}

#[derive(Serialize)]
struct Amount<'a> {
    amount_minor: String,
    currency: &'a str,
}

/// The payload of the event that tells of this history row, as JSON.
pub fn event_data(order: &Order, entry: &Entry) -> String {
    let total = order.pricing().totals.total;
    let changed = OrderChanged {
        order_id: order.id.0,
        number: order.number.to_string(),
        version: entry.version.get(),
        previous_state: entry.from.map(State::as_str),
        state: entry.to.as_str(),
        payment_state: order.payment_state().as_str(),
        fulfillment_state: order.fulfillment_state().as_str(),
        customer_id: order.customer_id.as_str(),
        external_reference: order.external_reference.as_ref().map(ExternalReference::as_str),
        total: Amount { amount_minor: total.minor.to_string(), currency: total.currency.code() },
        occurred_at: entry.at.to_string(),
    };
    serde_json::to_string(&changed).unwrap_or_default()
}
