//! The snapshot of an order for those who keep a copy, by `orders.order.state.v1` under `api/events/`.

use serde::Serialize;
use uuid::Uuid;

use super::event::Amount;
use crate::domain::{ExternalReference, Order};

/// The type of the snapshot.
pub const STATE: &str = "orders.order.state.v1";

/// What a copy needs. As in events, whatever a tenant may have written freely stays out, because it
/// may be personal: metadata, names of lines, notes and reasons. So do payment instruments.
#[derive(Serialize)]
struct OrderState<'a> {
    order_id: Uuid,
    tenant_id: &'a str,
    number: String,
    version: u64,
    state: &'static str,
    payment_state: &'static str,
    fulfillment_state: &'static str,
    customer_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_reference: Option<&'a str>,
    lines: Vec<Line<'a>>,
    total: Amount,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "line_no")]
    number: usize,
    sku: &'a str,
    quantity: u32,
    fulfilled: u32,
    cancelled: u32,
    returned: u32,
}

/// The order as it is now, as JSON.
pub fn order_state(order: &Order) -> String {
    let lines = (1..).zip(&order.goods.lines).map(|(number, line)| Line {
        number,
        sku: line.sku.as_str(),
        quantity: line.quantity.get(),
        fulfilled: line.progress.fulfilled,
        cancelled: line.progress.cancelled,
        returned: line.progress.returned,
    });
    let state = OrderState {
        order_id: order.id.0,
        tenant_id: order.tenant.as_str(),
        number: order.number.to_string(),
        version: order.version.get(),
        state: order.state.as_str(),
        payment_state: order.payment_state().as_str(),
        fulfillment_state: order.fulfillment_state().as_str(),
        customer_id: order.customer_id.as_str(),
        external_reference: order.external_reference.as_ref().map(ExternalReference::as_str),
        lines: lines.collect(),
        total: order.pricing().totals.total.into(),
        created_at: order.created_at.to_string(),
        updated_at: order.updated_at.to_string(),
    };
    serde_json::to_string(&state).unwrap_or_default()
}
