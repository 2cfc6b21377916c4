//! Doing what is owed: the tasks of an order, taken under leases and carried on.
//!
//! A version of an order that a task makes is committed with what becomes of the task, under its
//! lease: whoever lost the lease writes nothing.

mod hear;

use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp};
use mainstay_context::Context;

pub use self::hear::{Heard, Notification};

use super::{
    MAX_ROUNDS, Orders,
    plan::{later, wait_after},
    refused,
    verb::writing,
};
use crate::{
    Error, Refusal,
    domain::{Applied, DrawAttempt, Order, PaymentId, Record, Stamp},
    ports::{
        Answer, Change, Clock as _, Expects, Lease, Leased, OrderRef, Ports, Progress, Store as _,
        Task, TaskKind, Then,
    },
};

/// Who the history says it was.
const WORKER: &str = "worker";
const GATEWAY: &str = "gateway";

/// How often what is parked is looked for all the same, and what was let go of is held to be so.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// What came of a task for now, for logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// It is done.
    Finished,
    /// It is to be tried again, for this reason.
    Kept(String),
    /// It cannot be found out: a person has to.
    Parked,
    /// Somebody else has it, or had done it.
    Lost,
}

impl<P: Ports> Orders<P> {
    /// Takes up to `limit` tasks that are due into this process's hands, for [`Policy::lease`].
    ///
    /// [`Policy::lease`]: super::Policy::lease
    ///
    /// # Errors
    /// Those of the store.
    pub async fn take_tasks(&self, cx: &Context, limit: usize) -> Result<Vec<Leased>, Error> {
        let now = self.task_time();
        let until = later(now, self.policy.lease);
        Ok(self.ports.store().lease(cx, now, until, limit).await?)
    }

    /// Carries a task as far as it goes now.
    ///
    /// `cx` is the worker's own: its deadline bounds the gateway's answer too, and should end before
    /// the lease does.
    ///
    /// # Errors
    /// Those of the store. The task stays, and is due again when its lease is over.
    pub async fn carry_on(&self, cx: &Context, leased: &Leased) -> Result<Came, Error> {
        let task = &leased.task;
        let order = self.ports.store().order(cx, &task.tenant, OrderRef::Id(task.order)).await?;
        let Some(Record { order, .. }) = order else {
            return self.end_task(cx, leased, Then::Finish, Came::Finished).await;
        };
        match task.kind {
            TaskKind::Attempt => self.work_on_attempt(cx, leased, &order).await,
            TaskKind::ExpireUnpaid => self.expire_unpaid(cx, leased).await,
            TaskKind::ExpireAuthorization => self.expire_authorization(cx, leased).await,
        }
    }

    async fn expire_unpaid(&self, cx: &Context, leased: &Leased) -> Result<Came, Error> {
        let rule = |order: &Order, stamp: &Stamp, draw: DrawAttempt<'_>| {
            order.expire(stamp, draw).map(Some)
        };
        let end = |_: &Order| (Then::Finish, Came::Finished);
        let expired = self.change_order(cx, leased.into(), rule, end).await;
        self.unless_refused(cx, leased, expired).await
    }

    /// The task stays until nothing is held: the gateway may decline to let go.
    async fn expire_authorization(&self, cx: &Context, leased: &Leased) -> Result<Came, Error> {
        let payment = PaymentId(leased.task.id.0);
        let rule = |order: &Order, stamp: &Stamp, draw: DrawAttempt<'_>| {
            order.expire_authorization((payment, draw()), stamp).map(Some)
        };
        let end = |_: &Order| (self.look_later(leased.task.progress), Came::Finished);
        let expired = self.change_order(cx, leased.into(), rule, end).await;
        self.unless_refused(cx, leased, expired).await
    }

    /// Tries again later what is refused while a payment is under way; another refusal says that there
    /// is nothing left to end: it is paid, taken, let go of or called off.
    async fn unless_refused(
        &self,
        cx: &Context,
        leased: &Leased,
        came: Result<Came, Error>,
    ) -> Result<Came, Error> {
        match came {
            Err(Error::Refused { refusal: refusal @ Refusal::PaymentInProgress, .. }) => {
                let tries = leased.task.progress.tries.saturating_add(1);
                let again = self.again(Progress { tries, sent: None });
                self.end_task(cx, leased, again, Came::Kept(refusal.to_string())).await
            }
            Err(Error::Refused { .. }) => {
                self.end_task(cx, leased, Then::Finish, Came::Finished).await
            }
            came => came,
        }
    }

    /// Makes a version of a task's order, or none when `rule` finds no news; `end` says what becomes
    /// of the task by the order as it is then.
    pub(super) async fn change_order(
        &self,
        cx: &Context,
        Turn { task, epoch }: Turn<'_>,
        rule: impl Fn(&Order, &Stamp, DrawAttempt<'_>) -> Result<Option<Applied>, Refusal>,
        end: impl Fn(&Order) -> (Then, Came),
    ) -> Result<Came, Error> {
        for _ in 0..MAX_ROUNDS {
            let record = self.load(cx, &task.tenant, OrderRef::Id(task.order)).await?;
            let stamp = self.own_stamp(cx, if epoch.is_some() { WORKER } else { GATEWAY });
            let mut draw = || self.draw_attempt(stamp.at);
            let applied = rule(&record.order, &stamp, &mut draw).map_err(refused)?;
            let (then, came) = end(applied.as_ref().map_or(&record.order, |a| &a.order));
            let lease = epoch.map(|epoch| Lease { task: task.id, epoch, then });
            let change = match applied {
                Some(applied) => {
                    let expects = super::expects(&record.order);
                    let mut plans = self.plans(&record.order, &applied, stamp.at);
                    // Of its own task the lease says what becomes.
                    plans.retain(|plan| lease.is_none() || plan.id != task.id);
                    let write = Some(Box::new(writing(applied, None, &stamp)));
                    let (tenant, receipt) = (task.tenant.clone(), None);
                    let (id, at) = (stamp.change, stamp.at);
                    Change { id, tenant, at, expects, write, receipt, lease, plans }
                }
                None if lease.is_none() => return Ok(came),
                None => task_change(task, lease, &stamp),
            };
            match self.commit(cx, change).await? {
                Answer::LeaseLost => return Ok(Came::Lost),
                // Somebody else was quicker: decide anew on what is there now.
                Answer::Conflict { .. } => {}
                Answer::Committed
                | Answer::Seen { .. }
                | Answer::KeyReused
                | Answer::KeyExpired(_)
                | Answer::Taken(..) => return Ok(came),
            }
        }
        Err(Error::Contended)
    }

    /// Changes a task alone.
    pub(super) async fn end_task(
        &self,
        cx: &Context,
        leased: &Leased,
        then: Then,
        came: Came,
    ) -> Result<Came, Error> {
        let stamp = self.own_stamp(cx, WORKER);
        let lease = Lease { task: leased.task.id, epoch: leased.epoch, then };
        let change = task_change(&leased.task, Some(lease), &stamp);
        let answer = self.commit(cx, change).await?;
        Ok(if answer == Answer::LeaseLost { Came::Lost } else { came })
    }

    pub(super) fn again(&self, progress: Progress) -> Then {
        let due = later(self.task_time(), wait_after(progress.tries));
        Then::Keep { due: Some(due), progress }
    }

    pub(super) fn look_later(&self, progress: Progress) -> Then {
        Then::Keep { due: Some(later(self.task_time(), LOOK_AGAIN)), progress }
    }

    /// What time it is for tasks: the wall clock's, but never back, so that nothing waits for a time
    /// that a clock was at before it was set right.
    fn task_time(&self) -> Timestamp {
        let (wall, instant) = (self.ports.clock().now(), self.ports.clock().instant());
        let mut last = self.task_clock.lock().unwrap_or_else(PoisonError::into_inner);
        let time = last.map_or(wall, |(then, at)| {
            let passed = SignedDuration::try_from(instant.saturating_duration_since(at));
            wall.max(later(then, passed.unwrap_or_default()))
        });
        *last = Some((time, instant));
        time
    }
}

/// A task whose turn it is, and under which lease; `None` when it is in nobody's hands here.
pub(super) struct Turn<'a> {
    task: &'a Task,
    epoch: Option<u64>,
}

impl<'a> From<&'a Leased> for Turn<'a> {
    fn from(leased: &'a Leased) -> Self {
        Self { task: &leased.task, epoch: Some(leased.epoch) }
    }
}

fn task_change(task: &Task, lease: Option<Lease>, stamp: &Stamp) -> Change {
    Change {
        id: stamp.change,
        tenant: task.tenant.clone(),
        at: stamp.at,
        expects: Expects::Task,
        write: None,
        receipt: None,
        lease,
        plans: Vec::new(),
    }
}
