//! What was done to an order, as clients see it.

use orders::domain::{Entry, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::order::state;

/// A page of what was done to an order, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct History {
    /// One entry per version.
    pub(crate) entries: Vec<HistoryEntry>,
    /// Where the next page starts; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) next_page_token: Option<String>,
}

/// One change of an order: one version, one event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryEntry {
    /// The version this change made.
    #[schema(minimum = 1)]
    version: u64,
    /// The change; also the id of its event.
    #[schema(format = "uuid")]
    change_id: String,
    /// What was done.
    command: &'static str,
    /// Where the order stood; absent before it existed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = state, required = false)]
    from: Option<&'static str>,
    /// Where it stands then.
    #[schema(schema_with = state)]
    to: &'static str,
    /// Who did it.
    actor: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// In which request.
    request_id: String,
    /// In which trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    trace_id: Option<String>,
    /// When.
    #[schema(format = DateTime)]
    at: String,
}

impl From<Entry> for HistoryEntry {
    fn from(entry: Entry) -> Self {
        Self {
            version: entry.version.get(),
            change_id: entry.change.to_string(),
            command: entry.command.as_str(),
            from: entry.from.map(State::as_str),
            to: entry.to.as_str(),
            actor: entry.actor.to_string(),
            reason: entry.reason.as_ref().map(ToString::to_string),
            request_id: entry.request_id.to_string(),
            trace_id: (!entry.trace.is_none()).then(|| entry.trace.trace_id_hex()),
            at: entry.at.to_string(),
        }
    }
}
