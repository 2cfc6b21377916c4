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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    lines: Value,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    line_no: u32,
    quantity: i64,
}

/// What `lines` says instead of a list when all was shipped that is open.
const ALL: &str = "all";

/// Reads what was shipped. All of an order is meant only where that is said: money is taken for it.
///
/// # Errors
/// [`Malformed`] when the event does not say of which tenant and order it is, or its data is not by
/// the schema.
pub fn shipment(event: &CloudEvent) -> Result<Shipment, Malformed> {
    let wrong = |what: &str| Malformed(what.to_owned());
    let tenant = event.tenant.as_deref().and_then(|tenant| tenant.parse().ok());
    let order = event.subject.as_deref().and_then(|subject| subject.parse().ok());
    // A list would be read field by field.
    if !event.data.is_object() {
        return Err(wrong("its data is not an object"));
    }
    let data = Data::deserialize(&event.data).map_err(|error| Malformed(error.to_string()))?;
    let lines = if data.lines == ALL { Vec::new() } else { pieces(&data.lines)? };
    let reason = data.reason.map(|reason| reason.parse()).transpose();
    Ok(Shipment {
        tenant: tenant.ok_or_else(|| wrong("its tenantid is none"))?,
        order: OrderId(order.ok_or_else(|| wrong("its subject is not the id of an order"))?),
        lines,
        reason: reason.map_err(|error| Malformed(format!("its reason {error}")))?,
    })
}

/// The pieces of a list that names some.
fn pieces(lines: &Value) -> Result<Vec<Pieces>, Malformed> {
    let lines: Vec<Line> =
        Vec::deserialize(lines).map_err(|error| Malformed(format!("lines: {error}")))?;
    if lines.is_empty() || lines.len() > MAX_LINES {
        return Err(Malformed(format!("lines must name 1 to {MAX_LINES}, or say \"{ALL}\"")));
    }
    let quantity = |quantity| {
        let wrong = || Malformed("a quantity must be from 1 to 1,000,000".to_owned());
        Quantity::new(quantity).ok_or_else(wrong)
    };
    let piece = |line: Line| Ok(Pieces { line: line.line_no, quantity: quantity(line.quantity)? });
    lines.into_iter().map(piece).collect()
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
    fn a_shipment_names_pieces_or_says_all() {
        let some = json!({ "lines": [{ "line_no": 2, "quantity": 3 }], "reason": "parcel 1" });
        let some = shipment(&event(some)).unwrap();
        assert_eq!(some.order.to_string(), ORDER);
        assert_eq!(some.lines, [Pieces { line: 2, quantity: Quantity::new(3).unwrap() }]);
        assert_eq!(some.reason.unwrap().as_str(), "parcel 1");
        let all = shipment(&event(json!({ "lines": "all" }))).unwrap();
        assert_eq!((all.lines, all.reason), (vec![], None));
    }

    #[test]
    fn what_does_not_say_which_pieces_does_not_ship_all() {
        for data in [
            Value::Null,
            json!({}),
            json!({ "reason": "parcel 1" }),
            json!({ "lines": null }),
            json!({ "items": [{ "line_no": 1, "quantity": 1 }] }),
            json!({ "lines": "all", "items": [{ "line_no": 1, "quantity": 1 }] }),
            json!({ "lines": [{ "line_no": 1, "quantity": 1, "unit": "dozen" }] }),
        ] {
            assert!(shipment(&event(data.clone())).is_err(), "{data}");
        }
    }

    #[test]
    fn a_shipment_of_nothing_or_of_nobody_is_refused() {
        for data in [
            json!({ "lines": [] }),
            json!({ "lines": [{ "line_no": 1, "quantity": 0 }] }),
            json!({ "lines": [{ "quantity": 1 }] }),
            json!({ "lines": "every" }),
            json!({ "reason": "" }),
            json!([]),
        ] {
            assert!(shipment(&event(data.clone())).is_err(), "{data}");
        }
        assert!(
            shipment(&CloudEvent { tenant: None, ..event(json!({ "lines": "all" })) }).is_err()
        );
        let all = event(json!({ "lines": "all" }));
        let nameless = CloudEvent { subject: Some("7".to_owned()), ..all };
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
