//! What is asked of a read, and what it may answer.

use jiff::Timestamp;
use mainstay_context::TraceContext;

use super::Cause;
use crate::domain::{
    ChangeId, CustomerId, ExternalReference, OrderId, OrderNumber, PaymentState, Position, State,
    TenantId, Version,
};

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Too many reads wait already.
    #[error("the store is busy")]
    Busy,
    /// The deadline passed.
    #[error("the deadline passed")]
    Expired,
    /// The events after this position are no longer kept.
    #[error("the oldest event kept is at {oldest}")]
    CursorTooOld {
        /// The oldest position still kept.
        oldest: Position,
    },
    /// The store cannot be read.
    #[error("the store is unavailable")]
    Unavailable(#[source] Option<Cause>),
}

/// How a client names an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderRef {
    /// By its id.
    Id(OrderId),
    /// By its number.
    Number(OrderNumber),
}

/// Which orders to list; every part that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only in this state.
    pub state: Option<State>,
    /// Only in this payment state.
    pub payment_state: Option<PaymentState>,
    /// Only of this customer.
    pub customer_id: Option<CustomerId>,
    /// Only placed after this time.
    pub created_after: Option<Timestamp>,
    /// Only the one with this reference.
    pub external_reference: Option<ExternalReference>,
}

/// Up to `limit` items after `after`; from the start when it is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<C> {
    /// The last item already seen.
    pub after: Option<C>,
    /// How many at most.
    pub limit: usize,
}

/// Where a list of orders goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// When the last order seen was placed.
    pub created_at: Timestamp,
    /// Its id.
    pub id: OrderId,
}

/// Whose events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One tenant's.
    Tenant(TenantId),
    /// Everybody's: for the relay and the audit, never for a client.
    All,
}

/// A stretch of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPage {
    /// The events in scope, in feed order.
    pub events: Vec<Event>,
    /// Where to go on: everything up to here was looked at.
    pub next: Position,
    /// The last position of the whole feed when this was read.
    pub head: Position,
}

/// An event in the feed. Its id is the change's, its subject the order, its sequence the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where it stands in the feed.
    pub position: Position,
    /// The change it tells of.
    pub id: ChangeId,
    /// Whose order.
    pub tenant: TenantId,
    /// Which order.
    pub order: OrderId,
    /// The version it tells of.
    pub version: Version,
    /// Its CloudEvents type.
    pub kind: String,
    /// When the change was made.
    pub at: Timestamp,
    /// The trace it was made in.
    pub trace: TraceContext,
    /// Its payload: JSON.
    pub data: String,
}
