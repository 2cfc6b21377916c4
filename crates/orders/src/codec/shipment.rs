//! `fulfillment.shipped.v1`: what a warehouse tells it shipped, by the schema under `api/events/`.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{CloudEvent, Malformed};
use crate::domain::{
    IdempotencyKey, MAX_LINES, OrderId, Pieces, Quantity, Reason, TenantId, TextError,
};

/// The type of the event.
pub const SHIPPED: &str = "fulfillment.shipped.v1";

/// What was shipped of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipment {
    /// Whose order.
    pub tenant: TenantId,
    /// Which order.
    pub order: OrderId,
    /// Which pieces; all that are open when there are none.
    pub lines: Vec<Pieces>,
    /// How, such as a parcel's number.
    pub reason: Option<Reason>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    lines: Option<Vec<Line>>,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    line_no: u32,
    quantity: i64,
}

/// Reads what was shipped.
///
/// # Errors
/// [`Malformed`] when the event does not say of which tenant and order it is, or its data is not by
/// the schema.
pub fn shipment(event: &CloudEvent) -> Result<Shipment, Malformed> {
    let wrong = |what: &str| Malformed(what.to_owned());
    let tenant = event.tenant.as_deref().and_then(|tenant| tenant.parse().ok());
    let order = event.subject.as_deref().and_then(|subject| subject.parse().ok());
    let data = match &event.data {
        Value::Null => Data::default(),
        data @ Value::Object(_) => {
            Data::deserialize(data).map_err(|error| Malformed(error.to_string()))?
        }
        // A list would be read field by field, and an empty one as all of the order.
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(wrong("its data is not an object"));
        }
    };
    if data.lines.as_ref().is_some_and(|lines| lines.is_empty() || lines.len() > MAX_LINES) {
        return Err(Malformed(format!("lines must name 1 to {MAX_LINES}, or be left out")));
    }
    let pieces = |Line { line_no: line, quantity }| {
        Quantity::new(quantity).map(|quantity| Pieces { line, quantity })
    };
    let lines: Option<Vec<Pieces>> = data.lines.into_iter().flatten().map(pieces).collect();
    let reason = data.reason.map(|reason| reason.parse()).transpose();
    Ok(Shipment {
        tenant: tenant.ok_or_else(|| wrong("its tenantid is none"))?,
        order: OrderId(order.ok_or_else(|| wrong("its subject is not the id of an order"))?),
        lines: lines.ok_or_else(|| wrong("a quantity must be from 1 to 1,000,000"))?,
        reason: reason.map_err(|error| Malformed(format!("its reason {error}")))?,
    })
}

/// The idempotency key of an event that this consumer carries out: the same whenever the event comes.
///
/// A refusal is remembered under its key as well, so an event that is handed out again on purpose
/// once its cause is mended has a key of its own for each such `round`; the first is 0.
///
/// # Errors
/// None that can come: a digest is a key.
pub fn consumed_event_key(
    consumer: &str,
    event: &CloudEvent,
    round: u32,
) -> Result<IdempotencyKey, TextError> {
    let mut hash = Sha256::new_with_prefix("orders.consumed-event.v1");
    for part in [consumer, &event.source, &event.id] {
        // With its length, so that no two lists of parts are one text.
        hash.update(format!("\n{}:{part}", part.len()));
    }
    hash.update(format!("\n{round}"));
    let hex = hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!("kafka-{hex}").parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_context::TraceContext;
    use serde_json::json;

    const ORDER: &str = "01900000-0000-7000-8000-000000000002";

    fn event(data: Value) -> CloudEvent {
        CloudEvent {
            id: "e-1".to_owned(),
            source: "/warehouse".to_owned(),
            kind: SHIPPED.to_owned(),
            subject: Some(ORDER.to_owned()),
            tenant: Some("acme".to_owned()),
            trace: TraceContext::NONE,
            data,
        }
    }

    #[test]
    fn a_shipment_names_pieces_or_means_all() {
        let some = json!({ "lines": [{ "line_no": 2, "quantity": 3 }], "reason": "parcel 1" });
        let some = shipment(&event(some)).unwrap();
        assert_eq!(some.order.to_string(), ORDER);
        assert_eq!(some.lines, [Pieces { line: 2, quantity: Quantity::new(3).unwrap() }]);
        assert_eq!(some.reason.unwrap().as_str(), "parcel 1");
        for all in [Value::Null, json!({}), json!({ "carrier": "of no interest" })] {
            assert_eq!(shipment(&event(all)).unwrap().lines, []);
        }
    }

    #[test]
    fn a_shipment_of_nothing_or_of_nobody_is_refused() {
        for data in [
            json!({ "lines": [] }),
            json!({ "lines": [{ "line_no": 1, "quantity": 0 }] }),
            json!({ "lines": [{ "quantity": 1 }] }),
            json!({ "lines": "all" }),
            json!({ "reason": "" }),
            json!([]),
        ] {
            assert!(shipment(&event(data.clone())).is_err(), "{data}");
        }
        assert!(shipment(&CloudEvent { tenant: None, ..event(Value::Null) }).is_err());
        let nameless = CloudEvent { subject: Some("7".to_owned()), ..event(Value::Null) };
        assert!(shipment(&nameless).is_err());
    }

    #[test]
    fn the_key_of_an_event_is_pinned() {
        let event = event(Value::Null);
        let key = |consumer: &str, source: &str, id: &str, round| {
            let event = CloudEvent { source: source.into(), id: id.into(), ..event.clone() };
            consumed_event_key(consumer, &event, round).unwrap()
        };
        let first = key("orderly", "/warehouse", "e-1", 0);
        assert_eq!(
            first.as_str(),
            "kafka-c4c4a20d33fc5aef1ac39ca3542650a2d8091e1629a62120ee4241618af0c408"
        );
        for other in [
            key("orderly", "/warehouse", "e-1", 1),
            key("orderly", "/warehouse", "e-2", 0),
            key("orderly/", "warehouse", "e-1", 0),
        ] {
            assert_ne!(other, first);
        }
    }
}
