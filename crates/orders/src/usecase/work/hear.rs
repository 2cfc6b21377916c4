//! What the gateway tells unasked, by a webhook.

use mainstay_context::Context;

use super::{Came, Orders, Owed};
use crate::{
    Error,
    domain::{Attempt, AttemptId, Money, Order, Outcome, Payment, PaymentId, PaymentOperation},
    ports::{OrderRef, Ports, Store as _},
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
        let Some((payment, asked)) = find(&record.order, attempt) else { return Ok(Heard::NoNews) };
        if !asked.state.is_unresolved() {
            return Ok(Heard::NoNews);
        }
        // What was asked for never changes, so this holds for every later version too.
        if let Some(what) = told.misfit(payment, asked) {
            return Ok(Heard::Misfit { what });
        }
        let owed = Owed { task: &task, lease: None, came: Came::Finished };
        self.change_order(cx, owed, |order, stamp, draw| {
            order.settle((attempt, &told.outcome), None, stamp, draw)
        })
        .await?;
        Ok(Heard::News)
    }
}

impl Notification {
    /// What of it is not as it was asked for.
    fn misfit(&self, payment: &Payment, asked: &Attempt) -> Option<&'static str> {
        // Of a void that was declined there is no amount to speak of.
        let is_void = asked.operation == PaymentOperation::Void;
        let no_amount = is_void && matches!(self.outcome, Outcome::Declined(_));
        let holds = [
            ("operation", self.operation == asked.operation),
            ("payment", self.payment == payment.id),
            ("amount", self.amount == Some(asked.amount) || no_amount),
        ];
        holds.into_iter().find(|(_, fits)| !fits).map(|(what, _)| what)
    }
}

fn find(order: &Order, id: AttemptId) -> Option<(&Payment, &Attempt)> {
    let mut all = order.payments.iter().flat_map(|p| p.attempts.iter().map(move |a| (p, a)));
    all.find(|(_, attempt)| attempt.id == id)
}
