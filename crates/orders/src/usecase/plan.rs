//! The tasks that a version of an order asks for.

use jiff::{SignedDuration, Timestamp};

use super::Orders;
use crate::{
    domain::{Applied, AttemptId, AttemptState, Order, Payment},
    ports::{Ports, Progress, Task, TaskId, TaskKind},
};

/// The wait after the first vain try; it doubles with each.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(1);

impl<P: Ports> Orders<P> {
    /// Its attempts, and the end of what it holds.
    pub(super) fn plans(&self, before: &Order, applied: &Applied, at: Timestamp) -> Vec<Task> {
        let task = |id, kind, due, sent| Task {
            id,
            tenant: before.tenant.clone(),
            order: before.id,
            kind,
            due,
            progress: Progress { sent, ..Progress::default() },
        };
        let attempt = |attempt: &AttemptId| {
            let due = later(at, pause(applied, *attempt));
            task(TaskId::from(*attempt), TaskKind::Attempt, due, None)
        };
        let mut plans: Vec<Task> = applied.owes.iter().map(attempt).collect();
        // What a person has settled is not looked for any more: its task comes to its end now.
        let parked = before.payments.iter().flat_map(|payment| &payment.attempts);
        let parked = parked.filter(|attempt| attempt.state == AttemptState::Parked);
        let settled = parked
            .filter(|a| applied.order.attempt(a.id).is_ok_and(|now| !now.state.is_unresolved()));
        plans.extend(settled.map(|a| task(a.id.into(), TaskKind::Attempt, at, Some(at))));
        let Some(hold_for) = self.policy.hold_for else { return plans };
        let held_before =
            |payment: &Payment| before.payment(payment.id).map_or(0, Payment::authorized);
        let newly_held = |p: &&Payment| p.is_ours() && p.authorized() > 0 && held_before(p) == 0;
        plans.extend(applied.order.payments.iter().filter(newly_held).map(|payment| {
            task(payment.id.into(), TaskKind::ExpireAuthorization, later(at, hold_for), None)
        }));
        plans
    }
}

/// How long an attempt waits that the service asks for by itself, where the gateway has declined the
/// like before.
fn pause(applied: &Applied, attempt: AttemptId) -> SignedDuration {
    let has = |payment: &&Payment| payment.attempts.iter().any(|a| a.id == attempt);
    let payment = applied.order.payments.iter().find(has);
    let asked = applied.order.attempt(attempt);
    let declines = payment.zip(asked.ok()).map_or(0, |(p, a)| p.declines(a.operation));
    if declines == 0 || applied.entry.command.is_verb() {
        return SignedDuration::ZERO;
    }
    wait_after(u32::try_from(declines).unwrap_or(u32::MAX))
}

/// The wait after this many vain tries.
pub(super) fn wait_after(tries: u32) -> SignedDuration {
    let doubled = 1_i32.checked_shl(tries.min(10)).unwrap_or(i32::MAX);
    FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT)
}

pub(super) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
