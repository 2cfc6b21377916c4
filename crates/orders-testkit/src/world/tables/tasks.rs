//! Tasks of a world's store, and what planted bugs make of them and of attempts.

use jiff::Timestamp;
use orders::{
    domain::{AttemptId, AttemptState, Command, Entry, Order, Payment},
    ports::{Change, Lease, Leased, Task, TaskId, Then, Write},
};

use super::Tables;
use crate::world::bug::Bug;

impl Tables {
    pub(super) fn holds_lease(&self, change: &Change) -> bool {
        let Some(lease) = &change.lease else { return true };
        let task = self.tasks.get(&lease.task);
        task.is_some_and(|leased| leased.epoch == lease.epoch || self.has(Bug::LeaseNotFenced))
    }

    /// Hands out tasks that are due.
    pub(super) fn hand_out(
        &mut self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Vec<Leased> {
        let skips = self.has(Bug::UnknownNotRecovered);
        let forgets = self.has(Bug::SentForgotten);
        let until = if self.has(Bug::LeaseNeverEnds) { Timestamp::MAX } else { until };
        let count = u64::from(!self.has(Bug::EpochNotCounted));
        let mut due: Vec<(Timestamp, TaskId)> = self
            .tasks
            .values()
            .filter(|leased| leased.task.due <= now)
            .filter(|leased| !skips || leased.task.progress.sent.is_none())
            .map(|leased| (leased.task.due, leased.task.id))
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        let mut taken = Vec::with_capacity(due.len());
        for (_, id) in due {
            if let Some(leased) = self.tasks.get_mut(&id) {
                leased.task.due = until;
                leased.epoch = (leased.epoch + count).max(1);
                if forgets {
                    leased.task.progress.sent = None;
                }
                taken.push(leased.clone());
            }
        }
        taken
    }

    /// The tasks that a change plans, less what planted bugs lose.
    pub(super) fn planned(&self, plans: Vec<Task>, write: Option<&Write>) -> Vec<Task> {
        let cancels = write.is_some_and(|write| write.entry.command == Command::BeginCancel);
        let loses =
            |task: &Task| self.has(Bug::TaskLost) && task.id.0.as_u64_pair().1.is_multiple_of(8);
        if cancels && self.has(Bug::CancelPlansNothing) {
            return Vec::new();
        }
        plans.into_iter().filter(|task| !loses(task)).collect()
    }

    pub(super) fn write_tasks(&mut self, lease: Option<Lease>, plans: Vec<Task>) {
        if let Some(Lease { task, then, .. }) = lease {
            match then {
                Then::Finish if self.has(Bug::FinishedTaskStays) => {}
                Then::Finish => drop(self.tasks.remove(&task)),
                Then::Keep { due: None, .. } if self.has(Bug::SendingNotCommitted) => {}
                Then::Keep { due, progress } => {
                    if let Some(leased) = self.tasks.get_mut(&task) {
                        leased.task.progress = progress;
                        leased.task.due = due.unwrap_or(leased.task.due);
                    }
                }
            }
        }
        for task in plans {
            let epoch = self.tasks.get(&task.id).map_or(0, |leased| leased.epoch + 1);
            self.tasks.insert(task.id, Leased { task, epoch });
        }
    }

    /// What planted bugs make of an order's payments as they are written.
    pub(super) fn spoil(&self, order: &mut Order, entry: &Entry) {
        if self.has(Bug::ParkedDropped) {
            change_payments(order, |payment| {
                payment.attempts.retain(|attempt| attempt.state != AttemptState::Parked);
            });
        }
        if self.has(Bug::WebhookCountedTwice) && *entry.actor == *"gateway" {
            change_payments(order, |payment| {
                let last = payment.attempts.last().cloned();
                payment.attempts.extend(last.map(|attempt| {
                    let (high, low) = attempt.id.0.as_u64_pair();
                    let id = AttemptId(uuid::Uuid::from_u64_pair(high, low ^ 1));
                    orders::domain::Attempt { id, ..attempt }
                }));
            });
        }
    }
}

/// Changes the payments of an order as no rule would; leaves it when no order could be like that.
fn change_payments(order: &mut Order, change: impl Fn(&mut Payment)) {
    let mut snapshot = order.snapshot().clone();
    snapshot.payments.iter_mut().for_each(change);
    snapshot.payments.retain(|payment| !payment.attempts.is_empty());
    if let Ok(changed) = Order::restore(snapshot) {
        *order = changed;
    }
}
