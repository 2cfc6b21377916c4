//! What the gateway tells unasked, by a webhook.

use mainstay_context::Context;

use super::{Came, Orders, Turn};
use crate::{
    Error,
    domain::{
        Attempt, AttemptId, AttemptState, DrawAttempt, Money, Order, Outcome, Payment, PaymentId,
        PaymentOperation, Stamp,
    },
    ports::{OrderRef, Ports, Store as _, Then},
};

/// What the gateway says became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Our reference.
    pub attempt: AttemptId,
    /// The payment it is on.
    pub payment: PaymentId,
    /// What was done, or declined.
    pub operation: PaymentOperation,
    /// With how much; `None` when it is in no currency that we know.
    pub amount: Option<Money>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What came of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It was taken in.
    News,
    /// Nothing is owed of the attempt: it has its outcome, waits for a person, or is none of ours.
    NoNews,
    /// It speaks of something else than was asked for under this reference, and changed nothing.
    Misfit {
        /// What differs.
        what: &'static str,
    },
}

impl<P: Ports> Orders<P> {
    /// Takes in what the gateway tells of an attempt unasked. Twice, late or never: it ends the same.
    ///
    /// # Errors
    /// Those of the store; the gateway tells it again.
    pub async fn hear(&self, cx: &Context, told: &Notification) -> Result<Heard, Error> {
        let attempt = told.attempt;
        let task = self.ports.store().task(cx, attempt.into()).await?;
        let Some(task) = task else { return Ok(Heard::NoNews) };
        let record = self.load(cx, &task.tenant, OrderRef::Id(task.order)).await?;
        let Some((payment, asked)) = record.order.attempt_of(attempt) else {
            return Ok(Heard::NoNews);
        };
        // What was asked for never changes, so this holds for every later version too.
        if let Some(what) = told.misfit(payment, asked) {
            return Ok(Heard::Misfit { what });
        }
        if !asked.state.is_unresolved() {
            return Ok(Heard::NoNews);
        }
        let turn = Turn { task: &task, epoch: None };
        let rule = |order: &Order, stamp: &Stamp, draw: DrawAttempt<'_>| {
            order.settle((attempt, &told.outcome), stamp, draw)
        };
        // The task ends at its next turn.
        self.change_order(cx, turn, rule, |_| (Then::Finish, Came::Finished)).await?;
        Ok(Heard::News)
    }
}

impl Notification {
    /// Whether it tells the contrary of an outcome that is known.
    const fn contradicts(&self, known: &AttemptState) -> bool {
        match (known, &self.outcome) {
            (AttemptState::Succeeded, Outcome::Declined(_))
            | (AttemptState::Declined(_), Outcome::Succeeded) => true,
            (AttemptState::Succeeded, Outcome::Succeeded)
            | (AttemptState::Declined(_), Outcome::Declined(_))
            | (AttemptState::Open | AttemptState::Unknown | AttemptState::Parked, _) => false,
        }
    }

    /// What of it is not as it was asked for, or as it is known.
    fn misfit(&self, payment: &Payment, asked: &Attempt) -> Option<&'static str> {
        // Of a void that was declined there is no amount to speak of.
        let is_void = asked.operation == PaymentOperation::Void;
        let no_amount = is_void && matches!(self.outcome, Outcome::Declined(_));
        let holds = [
            ("operation", self.operation == asked.operation),
            ("payment", self.payment == payment.id),
            ("amount", self.amount == Some(asked.amount) || no_amount),
            ("outcome", !self.contradicts(&asked.state)),
        ];
        holds.into_iter().find(|(_, fits)| !fits).map(|(what, _)| what)
    }
}
