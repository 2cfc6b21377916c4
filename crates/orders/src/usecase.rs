//! What the service does: each use case reads, decides by the rules, and ends in one commit.

mod attempt;
mod create;
mod plan;
mod read;
mod relay;
mod retention;
mod verb;
mod work;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use jiff::{SignedDuration, Timestamp};
use mainstay_context::Context;

pub use self::{
    relay::{RelayError, Relayed, relay},
    retention::LONGEST_REQUEST,
    verb::{Action, Part, Verb},
    work::{Came, Heard, Notification},
};

use crate::{
    Error, Refusal,
    domain::{AttemptId, ChangeId, IdempotencyKey, Order, OrderId, Record, Stamp, TenantId},
    ports::{
        Answer, Change, Clock as _, CommitError, Decision, Expects, Fingerprint, Ids as _,
        Operation, OrderRef, Ports, Receipt, ReceiptKey, Store as _,
    },
};

/// The use cases over one set of ports. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Orders<P> {
    ports: P,
    policy: Policy,
    /// The latest time that tasks were told, and when that was.
    task_clock: Mutex<Option<(Timestamp, Instant)>>,
}

/// How long things are remembered.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long a decision is replayed under its idempotency key. Default: 7 days.
    pub remember_keys: SignedDuration,
    /// How long events are kept in the feed. Default: 90 days.
    pub keep_events: SignedDuration,
    /// Whether events are forgotten that a relay should have published and did not. Default: no.
    pub forgets_unpublished: bool,
    /// How long a task stays in the hands that took it. Default: 30 s.
    pub lease: SignedDuration,
    /// How long a new order waits to be paid or confirmed before it expires. Default: for ever.
    pub pay_within: Option<SignedDuration>,
    /// How long money may stay held before it is let go of. Default: for ever.
    pub hold_for: Option<SignedDuration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            remember_keys: SignedDuration::from_hours(7 * 24),
            keep_events: SignedDuration::from_hours(90 * 24),
            forgets_unpublished: false,
            lease: SignedDuration::from_secs(30),
            pay_within: None,
            hold_for: None,
        }
    }
}

/// What a use case that changes an order answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The order: after the change, or as it is now when this is a replay.
    pub record: Record,
    /// Whether the decision was made in an earlier try.
    pub replayed: bool,
}

/// How often a use case starts over when others got in between, or an id was taken.
const MAX_ROUNDS: usize = 16;
/// How often a change is committed again to learn an unknown outcome.
const MAX_ASKS: usize = 4;

/// Who asks, taken from the context once and then passed on explicitly.
struct Caller {
    tenant: TenantId,
    actor: Arc<str>,
}

/// What is asked, and the key its decision is remembered under.
#[derive(Clone, Copy)]
struct Asked<'a> {
    key: &'a ReceiptKey,
    fingerprint: Fingerprint,
}

impl<P: Ports> Orders<P> {
    /// The use cases over these ports.
    pub const fn new(ports: P, policy: Policy) -> Self {
        Self { ports, policy, task_clock: Mutex::new(None) }
    }

    /// The ports; for the binary, which owns their lifecycle.
    pub const fn ports(&self) -> &P {
        &self.ports
    }

    /// Gives the ports back.
    pub fn into_ports(self) -> P {
        self.ports
    }

    fn caller(cx: &Context) -> Result<Caller, Error> {
        let principal = cx.principal().ok_or(Error::Unauthenticated)?;
        let tenant = principal.tenant.parse().map_err(|_| Error::Unauthenticated)?;
        Ok(Caller { tenant, actor: Arc::clone(&principal.subject) })
    }

    fn stamp(&self, cx: &Context, actor: Arc<str>) -> Stamp {
        let at = self.ports.clock().now();
        Stamp {
            change: ChangeId(self.ports.ids().uuid(at)),
            at,
            actor,
            request_id: cx.request_id().clone(),
            trace: cx.trace(),
        }
    }

    /// The stamp of what the service does by itself.
    fn own_stamp(&self, cx: &Context, actor: &str) -> Stamp {
        self.stamp(cx, actor.into())
    }

    fn draw_attempt(&self, at: Timestamp) -> AttemptId {
        AttemptId(self.ports.ids().uuid(at))
    }

    fn receipt(
        &self,
        asked: Asked<'_>,
        order: OrderId,
        decision: Decision,
        at: Timestamp,
    ) -> Receipt {
        let expires_at = at.saturating_add(self.policy.remember_keys).unwrap_or(Timestamp::MAX);
        let Asked { key, fingerprint } = asked;
        Receipt { key: key.clone(), fingerprint, order, decision, expires_at }
    }

    /// Commits, and asks again by the change's id while the outcome is unknown.
    ///
    /// Once a try may have been written, only a definite answer counts: a later try's "not
    /// written" speaks of that try alone.
    async fn commit(&self, cx: &Context, change: Change) -> Result<Answer, Error> {
        let mut unknown = false;
        for _ in 0..MAX_ASKS {
            if cx.ended(self.ports.clock().instant()).is_some() {
                break;
            }
            match self.ports.store().commit(cx, change.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(CommitError::OutcomeUnknown) => unknown = true,
                Err(error) if !unknown => return Err(error.into()),
                Err(CommitError::NotWritten(_) | CommitError::Unavailable(_)) => {}
            }
        }
        Err(if unknown { Error::OutcomeUnknown } else { Error::DeadlineExceeded })
    }

    /// Answers from a decision made earlier: the same decision, with the order as it is now.
    async fn replay(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderId,
        decision: Decision,
    ) -> Result<Done, Error> {
        match decision {
            Decision::Accepted { .. } => {
                let record = self.load(cx, tenant, OrderRef::Id(order)).await?;
                Ok(Done { record, replayed: true })
            }
            Decision::Refused(refusal) => Err(Error::Refused { refusal, replayed: true }),
        }
    }

    async fn load(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderRef,
    ) -> Result<Record, Error> {
        if cx.ended(self.ports.clock().instant()).is_some() {
            return Err(Error::DeadlineExceeded);
        }
        self.ports.store().order(cx, tenant, order).await?.ok_or(Error::NotFound)
    }
}

fn receipt_key(tenant: &TenantId, operation: Operation, key: IdempotencyKey) -> ReceiptKey {
    ReceiptKey { tenant: tenant.clone(), operation, key }
}

const fn refused(refusal: Refusal) -> Error {
    Error::Refused { refusal, replayed: false }
}

const fn expects(order: &Order) -> Expects {
    Expects::Version(order.snapshot().id, order.snapshot().version)
}
