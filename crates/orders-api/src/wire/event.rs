//! Events as CloudEvents 1.0 in the structured JSON form.

use orders::ports;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An event (CloudEvents 1.0).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CloudEvent {
    /// The version of CloudEvents: `1.0`.
    specversion: &'static str,
    /// Its id: that of the change it tells of.
    #[schema(format = "uuid")]
    id: String,
    /// Where it comes from: `/orders`.
    source: &'static str,
    /// What happened, such as `orders.order.placed.v1`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The order it is about.
    #[schema(format = "uuid")]
    subject: String,
    /// When it happened.
    #[schema(format = DateTime)]
    time: String,
    /// `application/json`.
    datacontenttype: &'static str,
    /// The version of the order it made: contiguous per order.
    sequence: String,
    /// Where it stands in the feed.
    #[schema(pattern = "^[0-9]+$")]
    pub(crate) position: String,
    /// Whose order.
    tenantid: String,
    /// The trace it was made in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    traceparent: Option<String>,
    /// The payload, by the schema of its type.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
}

/// A stretch of the feed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Feed {
    /// Events in feed order, none skipped.
    pub(crate) events: Vec<CloudEvent>,
    /// What to ask for next, as `after`.
    #[schema(pattern = "^[0-9]+$")]
    pub(crate) next: String,
}

impl From<ports::Event> for CloudEvent {
    fn from(event: ports::Event) -> Self {
        Self {
            specversion: "1.0",
            id: event.id.to_string(),
            source: "/orders",
            kind: event.kind,
            subject: event.order.to_string(),
            time: event.at.to_string(),
            datacontenttype: "application/json",
            sequence: event.version.to_string(),
            position: event.position.to_string(),
            tenantid: event.tenant.to_string(),
            traceparent: (!event.trace.is_none()).then(|| event.trace.to_string()),
            // What the codec wrote is JSON; a store that altered it shows as null, not as a lie.
            data: RawValue::from_string(event.data).unwrap_or_else(|_| RawValue::NULL.to_owned()),
        }
    }
}
