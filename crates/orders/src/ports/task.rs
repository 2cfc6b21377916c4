//! Work that is owed, and who is at it.

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    domain::{AttemptId, OrderId, PaymentId, TenantId},
    names::names,
};

/// What a task is known by: the id of the attempt, the payment or the order that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub Uuid);

impl From<AttemptId> for TaskId {
    fn from(attempt: AttemptId) -> Self {
        Self(attempt.0)
    }
}

impl From<PaymentId> for TaskId {
    fn from(payment: PaymentId) -> Self {
        Self(payment.0)
    }
}

impl From<OrderId> for TaskId {
    fn from(order: OrderId) -> Self {
        Self(order.0)
    }
}

names! {
    /// What is to be done.
    TaskKind {
        /// Find out what becomes of an attempt on a payment, sending it where it has not been sent.
        Attempt = "attempt",
        /// Give up waiting for an order's payment.
        ExpireUnpaid = "expire-unpaid",
        /// Let go of what a payment has held for too long.
        ExpireAuthorization = "expire-authorization",
    }
}

/// Work that is owed, kept until it is done, however often the process dies meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Whose order.
    pub tenant: TenantId,
    /// Which order.
    pub order: OrderId,
    /// What is to be done.
    pub kind: TaskKind,
    /// Not before this time.
    pub due: Timestamp,
    /// How far it got.
    pub progress: Progress,
}

/// How far a task got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How often it was tried in vain.
    pub tries: u32,
    /// When the first request that may have reached the gateway was sent; `None` while surely none
    /// has.
    pub sent: Option<Timestamp>,
}

/// A task in somebody's hands, until its time runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The task.
    pub task: Task,
    /// Counts its leases: whoever holds an older one can write nothing more.
    pub epoch: u64,
}

/// What becomes of a leased task, in the commit that the lease fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which task.
    pub task: TaskId,
    /// Under which lease.
    pub epoch: u64,
    /// What becomes of it.
    pub then: Then,
}

/// What becomes of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is done.
    Finish,
    /// It goes on: under this lease when `due` is `None`, else anybody may take it from then on.
    Keep {
        /// When it is due again.
        due: Option<Timestamp>,
        /// How far it got.
        progress: Progress,
    },
}
