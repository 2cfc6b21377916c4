//! What the core needs from outside: a store, a clock, ids. The inside owns these contracts; the
//! suite in `orders-testkit` says what each must hold to.

use std::{error::Error as StdError, future::Future, time::Instant};

use jiff::Timestamp;
use mainstay_context::{Context, TraceContext};
use uuid::Uuid;

use crate::{
    Refusal,
    domain::{
        ChangeId, CustomerId, Entry, ExternalReference, IdempotencyKey, Note, Order, OrderId,
        OrderNumber, PaymentState, Personal, Position, Record, State, TenantId, Version,
    },
};

/// The ports of one service, as one type parameter.
pub trait Ports: Send + Sync + 'static {
    /// Where orders are kept.
    type Store: Store;
    /// What time it is.
    type Clock: Clock;
    /// Where ids come from.
    type Ids: Ids;

    /// Where orders are kept.
    fn store(&self) -> &Self::Store;
    /// What time it is.
    fn clock(&self) -> &Self::Clock;
    /// Where ids come from.
    fn ids(&self) -> &Self::Ids;
}

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time, to the microsecond. It may jump either way.
    fn now(&self) -> Timestamp;
    /// Monotonic time, for deadlines.
    fn instant(&self) -> Instant;
}

/// Draws ids.
pub trait Ids: Send + Sync + 'static {
    /// A fresh UUIDv7 of this time.
    fn uuid(&self, at: Timestamp) -> Uuid;
    /// Random bits for an order number. They may repeat; the store refuses a number that is taken.
    fn number(&self) -> OrderNumber;
}

/// Keeps orders, their history, their events and the receipts of what was decided.
///
/// Every call is one atomic fact: there is no transaction to hold open.
pub trait Store: Send + Sync + 'static {
    /// Commits a change: all of it, durably, or nothing.
    ///
    /// The checks, in this order, all inside the commit:
    /// 1. A change already committed (by its `id`) answers [`Answer::Committed`] again, so a caller
    ///    that does not know the outcome asks by committing the same change again.
    /// 2. A live receipt of the same key answers [`Answer::Seen`], or [`Answer::KeyReused`] when its
    ///    fingerprint is another's. Of a create's receipt the key outlives the receipt: past
    ///    [`Receipt::expires_at`] it answers [`Answer::KeyExpired`].
    /// 3. [`Expects`] is compared, and unique values are: [`Answer::Conflict`], [`Answer::Taken`].
    ///    A taken external reference is remembered as a refusal in the same commit.
    ///
    /// # Errors
    /// [`CommitError`] says what is known of the outcome, and never more than is known.
    fn commit(
        &self,
        cx: &Context,
        change: Change,
    ) -> impl Future<Output = Result<Answer, CommitError>> + Send;

    /// The order of this reference, with what is kept apart from it.
    fn order(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderRef,
    ) -> impl Future<Output = Result<Option<Record>, ReadError>> + Send;

    /// The receipt of a key, if one is remembered at this time.
    fn receipt(
        &self,
        cx: &Context,
        key: &ReceiptKey,
        at: Timestamp,
    ) -> impl Future<Output = Result<Option<Receipt>, ReadError>> + Send;

    /// Orders that pass the filter, newest first, after the cursor.
    fn list(
        &self,
        cx: &Context,
        tenant: &TenantId,
        filter: &Filter,
        page: Page<Cursor>,
    ) -> impl Future<Output = Result<Vec<Order>, ReadError>> + Send;

    /// The history of an order, oldest first, after a version.
    fn history(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderId,
        page: Page<Version>,
    ) -> impl Future<Output = Result<Vec<Entry>, ReadError>> + Send;

    /// Events after a position, in feed order, none skipped.
    ///
    /// # Errors
    /// [`ReadError::CursorTooOld`] when events after the position are no longer kept.
    fn events(
        &self,
        cx: &Context,
        scope: &Scope,
        page: Page<Position>,
    ) -> impl Future<Output = Result<FeedPage, ReadError>> + Send;

    /// Waits until the feed may hold an event after this position. May wake for nothing.
    fn events_after(&self, position: Position) -> impl Future<Output = ()> + Send;

    /// Forgets up to `limit` events and receipts that are past their time.
    ///
    /// A commit under way may still have to answer by a receipt that has just expired, so the cutoff
    /// of receipts must lie further back than any request lasts.
    fn forget(
        &self,
        cx: &Context,
        cutoff: Cutoff,
        limit: usize,
    ) -> impl Future<Output = Result<Forgotten, CommitError>> + Send;
}

/// A store as it stands at one instant, read whole by an audit.
pub trait AuditSource {
    /// How much of everything there is.
    fn census(&self) -> impl Future<Output = Result<Census, ReadError>> + Send;

    /// Everything kept about up to `limit` orders after this id, of all tenants.
    fn dossiers(
        &self,
        page: Page<OrderId>,
    ) -> impl Future<Output = Result<Vec<Dossier>, ReadError>> + Send;
}

/// What a use case wants written, all or nothing.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its id, drawn before the first try and kept over all tries.
    pub id: ChangeId,
    /// Whose data it touches.
    pub tenant: TenantId,
    /// When it was decided.
    pub at: Timestamp,
    /// What must still be true.
    pub expects: Expects,
    /// What to write; `None` when only a refusal is to be remembered.
    pub write: Option<Box<Write>>,
    /// The decision to remember.
    pub receipt: Option<Receipt>,
}

/// What must be true for a change to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// The order does not exist.
    New,
    /// The order is at this version.
    Version(OrderId, Version),
}

/// The order after a change, and everything that tells of it.
#[derive(Clone, Debug)]
pub struct Write {
    /// The order as it will be.
    pub order: Order,
    /// The history row of this version.
    pub entry: Entry,
    /// The event of this version.
    pub event: NewEvent,
    /// The note it adds.
    pub note: Option<Note>,
    /// The buyer's personal data; given with a new order only.
    pub personal: Option<Personal>,
}

/// An event before it has a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its CloudEvents type, such as `orders.order.placed.v1`.
    pub kind: &'static str,
    /// Its payload: JSON, without personal data.
    pub data: String,
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

/// Under what a decision is remembered: the key belongs to the tenant and the operation, not to a
/// credential or a protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptKey {
    /// Whose key.
    pub tenant: TenantId,
    /// For which operation.
    pub operation: Operation,
    /// The client's key.
    pub key: IdempotencyKey,
}

/// An operation that takes an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Place an order.
    Create,
    /// Confirm one.
    Confirm,
    /// Cancel one.
    Cancel,
    /// Add a note to one.
    AddNote,
}

impl Operation {
    /// The name in the store and in fingerprints.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
            Self::AddNote => "add-note",
        }
    }
}

/// A remembered decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Under what it is remembered.
    pub key: ReceiptKey,
    /// What was asked, as a hash of its canonical encoding.
    pub fingerprint: Fingerprint,
    /// The order it is about.
    pub order: OrderId,
    /// What was decided.
    pub decision: Decision,
    /// Until when it is remembered.
    pub expires_at: Timestamp,
}

/// SHA-256 over the canonical encoding of a command; see [`crate::codec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// What a commit decided. No response body and no personal data: a replay reads the order anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Accepted {
        /// The version it made.
        version: Version,
    },
    /// No.
    Refused(Refusal),
}

/// What a commit answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Written, durably.
    Committed,
    /// Decided before, under the same key; nothing written.
    Seen {
        /// The order it was about.
        order: OrderId,
        /// What was decided.
        decision: Decision,
    },
    /// The key stands for another command; nothing written.
    KeyReused,
    /// The key made this order, too long ago to replay; nothing written.
    KeyExpired(OrderId),
    /// The order is at another version; nothing written.
    Conflict {
        /// The version it is at.
        current: Version,
    },
    /// A unique value is taken by this order.
    Taken(Unique, OrderId),
}

/// A value that only one order of a tenant may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unique {
    /// The order number: draw another.
    Number,
    /// The external reference: a refusal, remembered under the key.
    ExternalReference,
}

/// What lies behind a failure of a store, for the log.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why a commit has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Surely nothing was written.
    #[error("nothing was written")]
    NotWritten(#[source] NotWritten),
    /// The store cannot be reached; surely nothing was written.
    #[error("the store is unavailable")]
    Unavailable(#[source] Option<Cause>),
    /// The connection was lost after the commit was sent. Commit the same change again to learn.
    #[error("the outcome is not known")]
    OutcomeUnknown,
}

/// Why a change was surely not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWritten {
    /// Too many changes wait already.
    #[error("the store is busy")]
    Busy,
    /// The deadline passed while it waited.
    #[error("the deadline passed")]
    Expired,
    /// There is no room left on the disk.
    #[error("the store's disk is full")]
    Full,
}

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

/// What may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoff {
    /// Events made before this time.
    pub events_before: Timestamp,
    /// Receipts that expired before this time.
    pub receipts_before: Timestamp,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// How many events.
    pub events: usize,
    /// How many receipts.
    pub receipts: usize,
}

/// How many rows of each kind a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Orders.
    pub orders: u64,
    /// History rows.
    pub history: u64,
    /// Events.
    pub events: u64,
    /// Receipts, those kept with an order included.
    pub receipts: u64,
    /// Notes.
    pub notes: u64,
    /// Rows of personal data.
    pub personal: u64,
    /// The oldest position still kept; one past the last when there is none.
    pub oldest: Position,
    /// The last position given.
    pub head: Position,
}

/// All that is kept about one order.
#[derive(Debug)]
pub struct Dossier {
    /// The order.
    pub id: OrderId,
    /// As it is stored; the text says why it cannot be read.
    pub record: Result<Record, String>,
    /// What the store keeps beside the order for its lists, and for readers with other tools.
    pub derived: Derived,
    /// Its history, by version, each with its event.
    pub history: Vec<Told>,
    /// The receipts that name it.
    pub receipts: Vec<Receipt>,
    /// Rows of its history, its events or its receipts that cannot be read, and why.
    pub unreadable: Vec<String>,
}

/// What follows from an order and is stored all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// The total, in minor units.
    pub total_minor: i64,
    /// The wire name of the payment state.
    pub payment_state: String,
}

/// A history row and what the feed says of it.
#[derive(Debug)]
pub struct Told {
    /// The history row.
    pub entry: Entry,
    /// Where the feed has it; `None` while it has no position.
    pub position: Option<Position>,
    /// Its event; `None` when the feed has none at that position.
    pub event: Option<Event>,
}
