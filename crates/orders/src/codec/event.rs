//! Event payloads, by the schemas under `api/events/`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{Entry, ExternalReference, Money, Order, OrderId, State, Version};

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
    total: Amount,
    occurred_at: String,
}

#[derive(Serialize)]
pub(super) struct Amount {
    amount_minor: String,
    currency: String,
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        let currency = money.currency.code().to_owned();
        Self { amount_minor: money.minor.to_string(), currency }
    }
}

/// The payload of the event that tells of this history row, as JSON.
pub fn event_data(order: &Order, entry: &Entry) -> String {
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
        total: order.pricing().totals.total.into(),
        occurred_at: entry.at.to_string(),
    };
    serde_json::to_string(&changed).unwrap_or_default()
}

/// What every version of every order event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventFacts {
    /// The order.
    pub order: OrderId,
    /// The version it tells of.
    pub version: Version,
    /// What the order comes to.
    pub total: Money,
}

/// Reads the payload of an order event; `None` when it is none.
pub fn event_facts(data: &str) -> Option<EventFacts> {
    #[derive(Deserialize)]
    struct Facts {
        order_id: Uuid,
        version: u64,
        total: Total,
    }
    #[derive(Deserialize)]
    struct Total {
        amount_minor: String,
        currency: String,
    }
    let Facts { order_id, version, total } = serde_json::from_str(data).ok()?;
    Some(EventFacts {
        order: OrderId(order_id),
        version: Version::new(version)?,
        total: Money::new(total.amount_minor.parse().ok()?, total.currency.parse().ok()?),
    })
}
