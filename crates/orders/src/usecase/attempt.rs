//! Working on an attempt: sending it, finding out what became of it, leaving it to a person.
//!
//! Only this calls the gateway, under the worker's own deadline and never inside a request: no
//! client's hang-up can lose an answer. That a request may have been sent is committed before it is;
//! from then on an attempt is sent again only when the gateway says that it knows nothing of it, with
//! the same key, while that is known to stand for it. What cannot be found out is parked for a person.

use std::time::Duration;

use jiff::Timestamp;
use mainstay_context::Context;

use super::{Orders, work::Came};
use crate::{
    Error,
    domain::{
        Attempt, AttemptId, AttemptState, DeclineCode, Doubt, DrawAttempt, Means, Order, Outcome,
        Stamp, State,
    },
    ports::{Clock as _, Found, Gateway as _, Instruction, Leased, Ports, Progress, Sent, Then},
};

/// How often a gateway may know something else than what it was sent before a person has to look.
const CONTRADICTIONS: u32 = 10;
/// The share of a turn's time that a call to the gateway may take.
const CALL_SHARE: (u32, u32) = (3, 4);

impl<P: Ports> Orders<P> {
    pub(super) async fn work_on_attempt(
        &self,
        cx: &Context,
        leased: &Leased,
        order: &Order,
    ) -> Result<Came, Error> {
        let id = AttemptId(leased.task.id.0);
        let Some((attempt, instruction)) = instruction(order, id) else {
            // The gateway has no part in it: a person is waited for.
            let (then, came) = self.end_of(order, id, leased.task.progress, "");
            return self.end_task(cx, leased, then, came).await;
        };
        match (&attempt.state, leased.task.progress.sent) {
            (AttemptState::Succeeded | AttemptState::Declined(_), _) => {
                self.end_task(cx, leased, Then::Finish, Came::Finished).await
            }
            (AttemptState::Parked, _) => self.look_again(cx, leased, &instruction).await,
            (AttemptState::Open, None)
                if order.state == State::Cancelling && !attempt.operation.gives_back() =>
            {
                // It surely was not sent, and is not wanted any more.
                self.decline(cx, leased, "order-cancelled").await
            }
            (AttemptState::Open, None) => self.send_first(cx, leased, &instruction).await,
            (AttemptState::Unknown, None) => self.send_again(cx, leased, &instruction).await,
            (AttemptState::Open | AttemptState::Unknown, Some(since)) => {
                self.find_out(cx, leased, &instruction, since).await
            }
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
        match self.ports.gateway().send(&self.for_the_gateway(cx), instruction).await {
            Sent::Answered(outcome) => self.settle(cx, leased, &outcome).await,
            Sent::Refused(code) => self.settle(cx, leased, &Outcome::Declined(code)).await,
            Sent::NotSent(why) => {
                let again = self.again(Progress { tries: tries.saturating_add(1), sent: None });
                self.end_task(cx, leased, again, Came::Kept(why)).await
            }
            Sent::Unknown(why) => self.doubt(cx, leased, Progress { tries, sent }, &why).await,
        }
    }

    /// Sends what a person has cleared, whatever its key stands for by now, if the gateway knows
    /// nothing of it.
    async fn send_again(
        &self,
        cx: &Context,
        leased: &Leased,
        instruction: &Instruction,
    ) -> Result<Came, Error> {
        match self.ports.gateway().look_up(&self.for_the_gateway(cx), instruction).await {
            Found::Answered(outcome) => self.settle(cx, leased, &outcome).await,
            Found::Absent => self.send_first(cx, leased, instruction).await,
            Found::Unknown(why) | Found::Contradicted(why) => {
                let tries = leased.task.progress.tries.saturating_add(1);
                let again = self.again(Progress { tries, sent: None });
                self.end_task(cx, leased, again, Came::Kept(why)).await
            }
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
        match self.ports.gateway().look_up(&self.for_the_gateway(cx), instruction).await {
            Found::Answered(outcome) => self.settle(cx, leased, &outcome).await,
            Found::Unknown(why) => self.doubt(cx, leased, progress, &why).await,
            Found::Absent if self.is_known_since(since) => {
                match self.ports.gateway().send(&self.for_the_gateway(cx), instruction).await {
                    Sent::Answered(outcome) => self.settle(cx, leased, &outcome).await,
                    Sent::NotSent(why) | Sent::Unknown(why) => {
                        self.doubt(cx, leased, progress, &why).await
                    }
                    // That holds for this request; an earlier one may still be under way.
                    Sent::Refused(code) => self.doubt(cx, leased, progress, code.as_str()).await,
                }
            }
            Found::Absent => {
                let why = "the gateway knows nothing of it, and no longer knows its key";
                self.park(cx, leased, progress, why).await
            }
            Found::Contradicted(why) if tries < CONTRADICTIONS => {
                self.doubt(cx, leased, progress, &why).await
            }
            Found::Contradicted(why) => self.park(cx, leased, progress, &why).await,
        }
    }

    /// Asks once more for what waits for a person, who may be long in coming; nothing is sent.
    async fn look_again(
        &self,
        cx: &Context,
        leased: &Leased,
        instruction: &Instruction,
    ) -> Result<Came, Error> {
        match self.ports.gateway().look_up(&self.for_the_gateway(cx), instruction).await {
            Found::Answered(outcome) => self.settle(cx, leased, &outcome).await,
            Found::Absent | Found::Unknown(_) | Found::Contradicted(_) => {
                let later = self.look_later(leased.task.progress);
                self.end_task(cx, leased, later, Came::Parked).await
            }
        }
    }

    /// The context of a call, which ends while there is time left to write down what came of it.
    fn for_the_gateway(&self, cx: &Context) -> Context {
        let now = self.ports.clock().instant();
        let share = |left: Duration| left.checked_div(CALL_SHARE.1)?.checked_mul(CALL_SHARE.0);
        let end = cx.remaining(now).and_then(share).and_then(|left| now.checked_add(left));
        match end {
            Some(end) => cx.child().with_deadline(end),
            None => cx.child(),
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
        let rule = |order: &Order, stamp: &Stamp, draw: DrawAttempt<'_>| {
            order.settle((attempt, outcome), stamp, draw)
        };
        let end = |order: &Order| self.end_of(order, attempt, leased.task.progress, "");
        self.change_order(cx, leased.into(), rule, end).await
    }

    /// Settles what surely does not happen.
    async fn decline(&self, cx: &Context, leased: &Leased, code: &str) -> Result<Came, Error> {
        let code: DeclineCode = code.parse().map_err(|_| Error::Contended)?;
        self.settle(cx, leased, &Outcome::Declined(code)).await
    }

    async fn doubt(
        &self,
        cx: &Context,
        leased: &Leased,
        progress: Progress,
        why: &str,
    ) -> Result<Came, Error> {
        self.leave_open(cx, leased, progress, (Doubt::Unknown, why)).await
    }

    /// Leaves an attempt to a person, for this reason.
    async fn park(
        &self,
        cx: &Context,
        leased: &Leased,
        progress: Progress,
        why: &str,
    ) -> Result<Came, Error> {
        self.leave_open(cx, leased, progress, (Doubt::Parked, why)).await
    }

    async fn leave_open(
        &self,
        cx: &Context,
        leased: &Leased,
        progress: Progress,
        (doubt, why): (Doubt, &str),
    ) -> Result<Came, Error> {
        let attempt = AttemptId(leased.task.id.0);
        let rule = |order: &Order, stamp: &Stamp, _: DrawAttempt<'_>| {
            order.doubt(attempt, doubt, why.parse().ok(), stamp)
        };
        let end = |order: &Order| self.end_of(order, attempt, progress, why);
        self.change_order(cx, leased.into(), rule, end).await
    }

    /// What becomes of an attempt's task: it stays until the attempt has an outcome, and is looked at
    /// now and then while that waits for a person.
    fn end_of(
        &self,
        order: &Order,
        attempt: AttemptId,
        progress: Progress,
        why: &str,
    ) -> (Then, Came) {
        match order.attempt(attempt).map(|attempt| &attempt.state) {
            Ok(AttemptState::Open | AttemptState::Unknown) => {
                (self.again(progress), Came::Kept(why.to_owned()))
            }
            Ok(AttemptState::Parked) => (self.look_later(progress), Came::Parked),
            Ok(AttemptState::Succeeded | AttemptState::Declined(_)) | Err(_) => {
                (Then::Finish, Came::Finished)
            }
        }
    }
}

/// An attempt, and what the gateway is told of it; `None` when that has no part in it.
fn instruction(order: &Order, id: AttemptId) -> Option<(&Attempt, Instruction)> {
    let (payment, attempt) = order.attempt_of(id)?;
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
    Some((attempt, instruction))
}
