//! Doing what is owed: attempts on payments, and timers.
//!
//! Only this calls the gateway, under its own deadline and never inside a request: no client's
//! hang-up can lose an answer. That a request may have been sent is committed before it is; from then
//! on an attempt is sent again only when the gateway says that it knows nothing of it, with the same
//! key, while that is known to stand for it. What cannot be found out is parked for a person.

mod hear;

use jiff::{SignedDuration, Timestamp};
use mainstay_context::Context;

pub use self::hear::{Heard, Notification};

use super::{MAX_ROUNDS, Orders, refused, verb::writing};
use crate::{
    Error, Refusal,
    domain::{Applied, AttemptId, AttemptState, Doubt, Means, Order, Outcome, Record, Stamp},
    ports::{
        Answer, Change, Clock as _, Expects, Found, Gateway as _, Instruction, Lease, Leased,
        OrderRef, Ports, Progress, Sent, Store as _, Task, TaskId, TaskKind, Then,
    },
};

/// Who the history says it was.
const WORKER: &str = "worker";
const GATEWAY: &str = "gateway";

/// The wait after the first vain try; it doubles with each.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(1);

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
        let now = self.ports.clock().now();
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
        }
    }

    async fn work_on_attempt(
        &self,
        cx: &Context,
        leased: &Leased,
        order: &Order,
    ) -> Result<Came, Error> {
        let attempt = AttemptId(leased.task.id.0);
        let found = instruction(order, attempt);
        let Some((instruction, AttemptState::Open | AttemptState::Unknown)) = found else {
            // It has its outcome, or waits for a person.
            return self.end_task(cx, leased, Then::Finish, Came::Finished).await;
        };
        match leased.task.progress.sent {
            None => self.send_first(cx, leased, &instruction).await,
            Some(since) => self.find_out(cx, leased, &instruction, since).await,
        }
    }

    /// Sends what was surely never sent, once it is committed that it may be.
    async fn send_first(
        &self,
        cx: &Context,
        leased: &Leased,
        instruction: &Instruction,
    ) -> Result<Came, Error> {
        let tries = leased.task.progress.tries;
        let sent = Some(self.ports.clock().now());
        let going = Then::Keep { due: None, progress: Progress { tries, sent } };
        if self.end_task(cx, leased, going, Came::Finished).await? == Came::Lost {
            return Ok(Came::Lost);
        }
        match self.ports.gateway().send(cx, instruction).await {
            Sent::Answered(outcome) => self.settle(cx, leased, &outcome).await,
            Sent::NotSent(why) => {
                let again = self.again(Progress { tries: tries.saturating_add(1), sent: None });
                self.end_task(cx, leased, again, Came::Kept(why)).await
            }
            Sent::Unknown(why) => self.doubt(cx, leased, Progress { tries, sent }, why).await,
        }
    }

    /// Asks what became of an attempt that may have been sent at `since`.
    async fn find_out(
        &self,
        cx: &Context,
        leased: &Leased,
        instruction: &Instruction,
        since: Timestamp,
    ) -> Result<Came, Error> {
        let tries = leased.task.progress.tries.saturating_add(1);
        let progress = Progress { tries, sent: Some(since) };
        match self.ports.gateway().look_up(cx, instruction).await {
            Found::Answered(outcome) => self.settle(cx, leased, &outcome).await,
            Found::Unknown(why) => self.doubt(cx, leased, progress, why).await,
            Found::Absent if self.is_known_since(since) => {
                match self.ports.gateway().send(cx, instruction).await {
                    Sent::Answered(outcome) => self.settle(cx, leased, &outcome).await,
                    Sent::NotSent(why) | Sent::Unknown(why) => {
                        self.doubt(cx, leased, progress, why).await
                    }
                }
            }
            Found::Absent => self.park(cx, leased).await,
        }
    }

    /// Whether the gateway still knows a key that it first got at this time. A time that is to come
    /// says nothing of how long ago it was.
    fn is_known_since(&self, since: Timestamp) -> bool {
        let age = self.ports.clock().now().duration_since(since);
        !age.is_negative() && age < self.ports.gateway().key_window()
    }

    async fn settle(
        &self,
        cx: &Context,
        leased: &Leased,
        outcome: &Outcome,
    ) -> Result<Came, Error> {
        let attempt = AttemptId(leased.task.id.0);
        let owed = Owed::of(leased, Then::Finish, Came::Finished);
        self.change_order(cx, owed, |order, stamp, draw| {
            order.settle((attempt, outcome), None, stamp, draw)
        })
        .await
    }

    async fn doubt(
        &self,
        cx: &Context,
        leased: &Leased,
        progress: Progress,
        why: String,
    ) -> Result<Came, Error> {
        let attempt = AttemptId(leased.task.id.0);
        let owed = Owed::of(leased, self.again(progress), Came::Kept(why));
        self.change_order(cx, owed, |order, stamp, _| {
            order.doubt(attempt, Doubt::Unknown, None, stamp)
        })
        .await
    }

    async fn park(&self, cx: &Context, leased: &Leased) -> Result<Came, Error> {
        let attempt = AttemptId(leased.task.id.0);
        let owed = Owed::of(leased, Then::Finish, Came::Parked);
        self.change_order(cx, owed, |order, stamp, _| {
            order.doubt(attempt, Doubt::Parked, None, stamp)
        })
        .await
    }

    async fn expire_unpaid(&self, cx: &Context, leased: &Leased) -> Result<Came, Error> {
        let owed = Owed::of(leased, Then::Finish, Came::Finished);
        let expired = self.change_order(cx, owed, |order, stamp, _| order.expire(stamp).map(Some));
        match expired.await {
            // It is paid, or called off: nothing expires any more.
            Err(Error::Refused { refusal: Refusal::IllegalTransition { .. }, .. }) => {
                self.end_task(cx, leased, Then::Finish, Came::Finished).await
            }
            Err(Error::Refused { refusal, .. }) => {
                let tries = leased.task.progress.tries.saturating_add(1);
                let again = self.again(Progress { tries, sent: None });
                self.end_task(cx, leased, again, Came::Kept(refusal.to_string())).await
            }
            ended => ended,
        }
    }

    /// Makes a version of a task's order, or none when `rule` finds no news; either way the lease ends
    /// as it says.
    async fn change_order(
        &self,
        cx: &Context,
        Owed { task, lease, came }: Owed<'_>,
        rule: impl Fn(&Order, &Stamp, &mut dyn FnMut() -> AttemptId) -> Result<Option<Applied>, Refusal>,
    ) -> Result<Came, Error> {
        for _ in 0..MAX_ROUNDS {
            let record = self.load(cx, &task.tenant, OrderRef::Id(task.order)).await?;
            let stamp = self.own_stamp(cx, if lease.is_some() { WORKER } else { GATEWAY });
            let mut draw = || self.draw_attempt(stamp.at);
            let applied = rule(&record.order, &stamp, &mut draw).map_err(refused)?;
            let change = match applied {
                Some(applied) => {
                    let expects = super::expects(&record.order);
                    let plans = plans(&record.order, &applied, stamp.at);
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
    async fn end_task(
        &self,
        cx: &Context,
        leased: &Leased,
        then: Then,
        came: Came,
    ) -> Result<Came, Error> {
        let stamp = self.own_stamp(cx, WORKER);
        let change = task_change(&leased.task, Some(under(leased, then)), &stamp);
        let answer = self.commit(cx, change).await?;
        Ok(if answer == Answer::LeaseLost { Came::Lost } else { came })
    }

    fn again(&self, progress: Progress) -> Then {
        let doubled = 1_i32.checked_shl(progress.tries.min(10)).unwrap_or(i32::MAX);
        let wait = FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT);
        Then::Keep { due: Some(later(self.ports.clock().now(), wait)), progress }
    }
}

/// What a version of an order is made for.
struct Owed<'a> {
    task: &'a Task,
    /// What becomes of the task; `None` when it is not this caller's.
    lease: Option<Lease>,
    came: Came,
}

impl<'a> Owed<'a> {
    fn of(leased: &'a Leased, then: Then, came: Came) -> Self {
        Self { task: &leased.task, lease: Some(under(leased, then)), came }
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

/// The tasks of the attempts that a version asks for.
pub(super) fn plans(order: &Order, applied: &Applied, at: Timestamp) -> Vec<Task> {
    let task = |attempt: &AttemptId| Task {
        id: TaskId::from(*attempt),
        tenant: order.tenant.clone(),
        order: order.id,
        kind: TaskKind::Attempt,
        due: at,
        // One that a person has cleared was sent before: the gateway is asked first.
        progress: Progress {
            sent: order.attempt(*attempt).is_ok().then_some(at),
            ..Progress::default()
        },
    };
    applied.owes.iter().map(task).collect()
}

fn under(leased: &Leased, then: Then) -> Lease {
    Lease { task: leased.task.id, epoch: leased.epoch, then }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// What the gateway is told of an attempt, and how far that is.
fn instruction(order: &Order, id: AttemptId) -> Option<(Instruction, AttemptState)> {
    let payment = order.payments.iter().find(|p| p.attempts.iter().any(|a| a.id == id))?;
    let attempt = payment.attempts.iter().find(|attempt| attempt.id == id)?;
    let instrument = match &payment.means {
        Means::Instrument(token) => Some(token.clone()),
        Means::Elsewhere => return None,
    };
    let instruction = Instruction {
        attempt: id,
        payment: payment.id,
        operation: attempt.operation,
        amount: attempt.amount,
        instrument,
    };
    Some((instruction, attempt.state.clone()))
}
