//! What the core needs from outside: a store, a clock, ids. The inside owns these contracts; the
//! suite in `orders-testkit` says what each must hold to.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use mainstay_context::Context;
use uuid::Uuid;

use crate::domain::{Entry, Order, OrderId, OrderNumber, Position, Record, TenantId, Version};

mod audit;
mod change;
mod gateway;
mod publisher;
mod read;
mod task;

pub use self::{
    audit::{Census, Derived, Dossier, Told},
    change::{
        Answer, Cause, Change, CommitError, Cutoff, Decision, Expects, Fingerprint, Forgotten,
        NewEvent, NotWritten, Operation, Receipt, ReceiptKey, Unique, Write,
    },
    gateway::{Found, Gateway, Instruction, Sent},
    publisher::{PublishError, Publisher},
    read::{Cursor, Event, FeedPage, Filter, OrderRef, Page, ReadError, Scope},
    task::{Lease, Leased, Progress, Task, TaskId, TaskKind, Then},
};

/// The ports of one service, as one type parameter.
pub trait Ports: Send + Sync + 'static {
    /// Where orders are kept.
    type Store: Store;
    /// What time it is.
    type Clock: Clock;
    /// Where ids come from.
    type Ids: Ids;
    /// Where money is moved.
    type Gateway: Gateway;

    /// Where orders are kept.
    fn store(&self) -> &Self::Store;
    /// What time it is.
    fn clock(&self) -> &Self::Clock;
    /// Where ids come from.
    fn ids(&self) -> &Self::Ids;
    /// Where money is moved.
    fn gateway(&self) -> &Self::Gateway;
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
    /// 3. A [`Lease`] that is no longer the task's answers [`Answer::LeaseLost`].
    /// 4. [`Expects`] is compared, and unique values are: [`Answer::Conflict`], [`Answer::Taken`].
    ///    A taken external reference is remembered as a refusal in the same commit.
    ///
    /// # Errors
    /// [`CommitError`] says what is known of the outcome, and never more than is known.
    fn commit(
        &self,
        cx: &Context,
        change: Change,
    ) -> impl Future<Output = Result<Answer, CommitError>> + Send;

    /// How long a change of this tenant that came now would wait until somebody begins with it, by what
    /// has its turn before and by how fast that goes of late; zero when nothing waits.
    ///
    /// A guess, and quick: it is asked before each change, so that one that would come too late is
    /// refused before it is read.
    fn expected_wait(&self, tenant: &TenantId) -> Duration;

    /// The order of this reference, with what is kept apart from it.
    fn order(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderRef,
    ) -> impl Future<Output = Result<Option<Record>, ReadError>> + Send;

    /// The orders of these ids that there are, whosever they are and in no order: for the relay, never
    /// for a client.
    fn orders(
        &self,
        cx: &Context,
        ids: &[OrderId],
    ) -> impl Future<Output = Result<Vec<Order>, ReadError>> + Send;

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

    /// Hands out up to `limit` tasks that are due, the longest due first, until `until`: nobody else
    /// is given them before, and each lease outdates the one before it.
    ///
    /// A lost answer leaves its tasks to be handed out again when that time is over.
    fn lease(
        &self,
        cx: &Context,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Leased>, CommitError>> + Send;

    /// A task, if it is still owed; for what a gateway tells unasked.
    fn task(
        &self,
        cx: &Context,
        id: TaskId,
    ) -> impl Future<Output = Result<Option<Task>, ReadError>> + Send;

    /// Waits until the feed may hold an event after this position. May wake for nothing.
    fn events_after(&self, position: Position) -> impl Future<Output = ()> + Send;

    /// How far the feed has been published; `None` while nobody publishes it.
    fn published(
        &self,
        cx: &Context,
    ) -> impl Future<Output = Result<Option<Position>, ReadError>> + Send;

    /// Notes that the feed is published up to a position: zero says that somebody is about to. What is
    /// noted never goes back, and no event after it is forgotten, whoever forgets; see [`Cutoff`].
    fn mark_published(
        &self,
        cx: &Context,
        to: Position,
    ) -> impl Future<Output = Result<(), CommitError>> + Send;

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
