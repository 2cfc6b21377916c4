//! CloudEvents 1.0: the attributes of our events, and the events of others, whatever carries them.

use mainstay_context::TraceContext;
use serde::Deserialize;
use serde_json::Value;

use crate::ports::Event;

/// The version of CloudEvents that is written and read.
const SPEC_VERSION: &str = "1.0";

/// The attributes of one of our events, by their CloudEvents names; what is not known is left out.
/// What [`Event::data`] holds is the data, as `application/json`.
///
/// There is no `causationid`: what causes a change is a request or a task and no event. The history row of
/// the change (its subject and sequence) names that by its request id, which clients may choose and which
/// is therefore nothing to tell the world; the trace leads to it as well.
pub fn attributes(event: &Event) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("specversion", SPEC_VERSION.to_owned()),
        ("id", event.id.to_string()),
        ("source", "/orders".to_owned()),
        ("type", event.kind.clone()),
        ("subject", event.order.to_string()),
        ("time", event.at.to_string()),
        ("sequence", event.version.to_string()),
        ("tenantid", event.tenant.to_string()),
    ];
    if !event.trace.is_none() {
        attributes.push(("traceparent", event.trace.to_string()));
    }
    attributes
}

/// An event that another system tells.
#[derive(Clone, Debug, PartialEq)]
pub struct CloudEvent {
    /// Its id; with the source it is unique.
    pub id: String,
    /// Who tells it.
    pub source: String,
    /// Its type.
    pub kind: String,
    /// What it is about.
    pub subject: Option<String>,
    /// Whose it is: the extension `tenantid`.
    pub tenant: Option<String>,
    /// The trace it was made in.
    pub trace: TraceContext,
    /// Its data; null when it has none.
    pub data: Value,
}

/// Why a message is not the event that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event that can be read: {0}")]
pub struct Malformed(pub String);

#[derive(Deserialize)]
struct Structured {
    specversion: String,
    id: String,
    source: String,
    r#type: String,
    subject: Option<String>,
    tenantid: Option<String>,
    traceparent: Option<String>,
    #[serde(default)]
    data: Value,
}

impl CloudEvent {
    /// Reads an event in binary mode: its attributes stand beside its data.
    ///
    /// # Errors
    /// [`Malformed`] when a required attribute is missing or the data is not JSON.
    pub fn binary(
        attribute: impl Fn(&str) -> Option<String>,
        data: &[u8],
    ) -> Result<Self, Malformed> {
        let required =
            |name: &str| attribute(name).ok_or_else(|| Malformed(format!("it has no {name}")));
        let data = if data.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(data) };
        Self::checked(Structured {
            specversion: required("specversion")?,
            id: required("id")?,
            source: required("source")?,
            r#type: required("type")?,
            subject: attribute("subject"),
            tenantid: attribute("tenantid"),
            traceparent: attribute("traceparent"),
            data: data.map_err(|error| Malformed(error.to_string()))?,
        })
    }

    /// Reads an event in structured mode: one JSON object.
    ///
    /// # Errors
    /// [`Malformed`] when it is no such object.
    pub fn structured(json: &[u8]) -> Result<Self, Malformed> {
        let event = serde_json::from_slice(json).map_err(|error| Malformed(error.to_string()))?;
        Self::checked(event)
    }

    fn checked(event: Structured) -> Result<Self, Malformed> {
        if event.specversion != SPEC_VERSION {
            return Err(Malformed(format!("its specversion is not {SPEC_VERSION}")));
        }
        let empty = [("id", &event.id), ("source", &event.source), ("type", &event.r#type)]
            .into_iter()
            .find(|(_, value)| value.is_empty());
        if let Some((name, _)) = empty {
            return Err(Malformed(format!("its {name} is empty")));
        }
        // A trace that cannot be read is no reason to lose what happened.
        let trace = event.traceparent.and_then(|text| text.parse().ok()).unwrap_or_default();
        let Structured { id, source, r#type: kind, subject, tenantid: tenant, data, .. } = event;
        Ok(Self { id, source, kind, subject, tenant, trace, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ChangeId, OrderId, Position, Version};
    use uuid::Uuid;

    #[test]
    fn the_attributes_of_an_event_are_these() {
        let event = Event {
            position: Position(7),
            id: ChangeId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)),
            tenant: "acme".parse().unwrap(),
            order: OrderId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002)),
            version: Version::new(3).unwrap(),
            kind: "orders.order.confirmed.v1".to_owned(),
            at: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
            trace: TraceContext::new([1; 16], [2; 8]).with_sampled(true),
            data: "{}".to_owned(),
        };
        let told: Vec<String> =
            attributes(&event).iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let golden = [
            "specversion: 1.0",
            "id: 01900000-0000-7000-8000-000000000001",
            "source: /orders",
            "type: orders.order.confirmed.v1",
            "subject: 01900000-0000-7000-8000-000000000002",
            "time: 2026-01-02T03:04:05.678901Z",
            "sequence: 3",
            "tenantid: acme",
            "traceparent: 00-01010101010101010101010101010101-0202020202020202-01",
        ];
        assert_eq!(told, golden);
        let untraced = Event { trace: TraceContext::NONE, ..event };
        assert!(attributes(&untraced).iter().all(|(name, _)| *name != "traceparent"));
    }

    fn attribute(name: &str) -> Option<String> {
        let value = match name {
            "specversion" => "1.0",
            "id" => "e-1",
            "source" => "/warehouse",
            "type" => "fulfillment.shipped.v1",
            "subject" => "order-1",
            "tenantid" => "acme",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn both_modes_say_the_same() {
        let binary = CloudEvent::binary(attribute, br#"{"lines":[]}"#).unwrap();
        let structured = br#"{"specversion":"1.0","id":"e-1","source":"/warehouse",
            "type":"fulfillment.shipped.v1","subject":"order-1","tenantid":"acme",
            "datacontenttype":"application/json","data":{"lines":[]}}"#;
        assert_eq!(CloudEvent::structured(structured).unwrap(), binary);
    }

    #[test]
    fn what_is_not_an_event_is_refused() {
        for missing in ["specversion", "id", "source", "type"] {
            let some = |name: &str| attribute(name).filter(|_| name != missing);
            let error = CloudEvent::binary(some, b"").unwrap_err();
            assert_eq!(error, Malformed(format!("it has no {missing}")));
        }
        assert!(CloudEvent::binary(attribute, b"{").is_err());
        assert!(CloudEvent::structured(b"[]").is_err());
        let old = |name: &str| attribute(name).map(|v| if v == "1.0" { "0.3".into() } else { v });
        assert!(CloudEvent::binary(old, b"").is_err());
    }
}
