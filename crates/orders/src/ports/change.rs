//! What is asked of a commit, and what it may answer.

use std::error::Error as StdError;

use jiff::Timestamp;

use super::{Lease, Task};
use crate::{
    Refusal,
    domain::{ChangeId, Entry, IdempotencyKey, Note, Order, OrderId, Personal, TenantId, Version},
    names::names,
};

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
    /// The task under whose lease it is made, and what becomes of it.
    pub lease: Option<Lease>,
    /// New tasks. One of the same id that is there already starts over, and whoever has it loses it.
    pub plans: Vec<Task>,
}

/// What must be true for a change to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// The order does not exist.
    New,
    /// The order is at this version.
    Version(OrderId, Version),
    /// Nothing of the order: only a task changes.
    Task,
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

names! {
    /// An operation that takes an idempotency key; by its name in the store and in fingerprints.
    Operation {
        /// Place an order.
        Create = "create",
        /// Confirm one.
        Confirm = "confirm",
        /// Cancel one.
        Cancel = "cancel",
        /// Add a note to one.
        AddNote = "add-note",
        /// Pay for one.
        Pay = "pay",
        /// Note that one was paid elsewhere.
        RecordPayment = "record-payment",
        /// Take what is held.
        Capture = "capture",
        /// Give back what was taken.
        Refund = "refund",
        /// Note that pieces were handed over.
        Fulfill = "fulfill",
        /// Note that pieces came back.
        Return = "return",
        /// Say what became of an attempt that is parked.
        Resolve = "resolve",
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
    /// The task is in other hands, or done; nothing written.
    LeaseLost,
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

/// What may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoff {
    /// Events made before this time, as far as the feed's order tells: one that a clock stamped
    /// ahead of `now` counts as made when the next one was.
    pub events_before: Timestamp,
    /// What time it is.
    pub now: Timestamp,
    /// Also events of a published feed that were not published yet.
    pub unpublished: bool,
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
