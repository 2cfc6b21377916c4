//! What may be done with the money of an order, and what follows from what came of it.
//!
//! Every function is one version of the order. Attempts that it asks for are told in
//! [`Applied::owes`]: the same commit makes a task of each, and a worker sends them. Nothing here
//! guesses an outcome: an attempt stays unresolved until the gateway, or a person, has said what
//! became of it.

use super::{
    ids::{AttemptId, PaymentId},
    line::FulfillmentState,
    money::Money,
    order::{Applied, Order, Snapshot, Stamp},
    payment::{Attempt, AttemptState, Means, Payment, PaymentOperation},
    state::{Command, State},
    text::{DeclineCode, Instrument, Reason},
};
use crate::Refusal;

/// The most payments of an order.
pub const MAX_PAYMENTS: usize = 20;
/// The most attempts of a payment.
pub const MAX_ATTEMPTS: usize = 200;

/// What became of an attempt, said definitely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Succeeded,
    /// It did not happen.
    Declined(DeclineCode),
}

/// What was found out about an attempt without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It was sent, and the answer is lost.
    Unknown,
    /// It cannot be found out: a person has to.
    Parked,
    /// A person has looked, and it may be sent again.
    Cleared,
}

/// Draws the ids of attempts that follow from others.
pub type DrawAttempt<'a> = &'a mut dyn FnMut() -> AttemptId;

/// What is asked of a payment that exists.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The attempt's id.
    pub attempt: AttemptId,
    /// Which payment; the first that has something left when it is `None`.
    pub payment: Option<PaymentId>,
    /// How much; all that is left when it is `None`.
    pub amount: Option<Money>,
}

/// A kind of [`Claim`].
struct Kind {
    command: Command,
    operation: PaymentOperation,
    left: fn(&Payment) -> i64,
}

const CAPTURE: Kind = Kind {
    command: Command::Capture,
    operation: PaymentOperation::Capture,
    left: Payment::left_to_capture,
};
const REFUND: Kind = Kind {
    command: Command::Refund,
    operation: PaymentOperation::Refund,
    left: Payment::left_to_refund,
};

impl Order {
    /// What is not covered by money that is held or taken.
    pub fn due(&self) -> Money {
        let covered = self.payments.iter().fold(0_i64, |sum, payment| {
            sum.saturating_add(payment.held()).saturating_add(payment.kept())
        });
        let total = self.pricing().totals.total;
        Money::new(total.minor.saturating_sub(covered).max(0), total.currency)
    }

    /// Asks to hold an amount with an instrument; all that is due when `amount` is `None`.
    ///
    /// # Errors
    /// [`Refusal`]; one authorization at a time.
    pub fn pay(
        &self,
        ids: (PaymentId, AttemptId),
        instrument: Instrument,
        amount: Option<Money>,
        stamp: &Stamp,
    ) -> Result<Applied, Refusal> {
        self.must_allow(Command::Pay)?;
        if self.is_being_authorized() {
            return Err(Refusal::PaymentInProgress);
        }
        if self.payments.len() >= MAX_PAYMENTS {
            return Err(Refusal::TooManyPayments);
        }
        let amount = within(amount, self.due())?;
        let (id, attempt) = ids;
        let authorize = open(attempt, PaymentOperation::Authorize, amount);
        let payment =
            Payment { id, means: Means::Instrument(instrument), attempts: vec![authorize] };
        let mut applied = self.step(Command::Pay, None, stamp, |snapshot| {
            snapshot.payments.push(payment);
        })?;
        applied.owes = vec![attempt];
        Ok(applied)
    }

    /// Notes money that was taken elsewhere; the order is confirmed when nothing is due any more.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn record_payment(
        &self,
        (id, held, taken): (PaymentId, AttemptId, AttemptId),
        amount: Money,
        reason: Option<Reason>,
        stamp: &Stamp,
    ) -> Result<Applied, Refusal> {
        self.must_allow(Command::RecordPayment)?;
        if self.payments.len() >= MAX_PAYMENTS {
            return Err(Refusal::TooManyPayments);
        }
        let due = self.due();
        let amount = within(Some(amount), due)?;
        let happened = |id, operation| Attempt {
            state: AttemptState::Succeeded,
            ..open(id, operation, amount)
        };
        let attempts = vec![
            happened(held, PaymentOperation::Authorize),
            happened(taken, PaymentOperation::Capture),
        ];
        let confirms = self.state == State::Pending && amount == due;
        let command = if confirms { Command::Confirm } else { Command::RecordPayment };
        let payment = Payment { id, means: Means::Elsewhere, attempts };
        self.step(command, reason, stamp, |snapshot| snapshot.payments.push(payment))
    }

    /// Asks to take what is held.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn capture(&self, claim: Claim, stamp: &Stamp) -> Result<Applied, Refusal> {
        self.claim(&CAPTURE, claim, stamp)
    }

    /// Asks to give back what was taken.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn refund(&self, claim: Claim, stamp: &Stamp) -> Result<Applied, Refusal> {
        self.claim(&REFUND, claim, stamp)
    }

    /// Calls the order off. While money is out it is only `CANCELLING`, and asks to let go of what is
    /// held and to give back what was taken; of what has no outcome yet, once it has one.
    ///
    /// # Errors
    /// [`Refusal::IllegalTransition`].
    pub fn cancel(
        &self,
        reason: Option<Reason>,
        stamp: &Stamp,
        draw: DrawAttempt<'_>,
    ) -> Result<Applied, Refusal> {
        if !self.has_money_out() {
            return self.step(Command::Cancel, reason, stamp, |_| {});
        }
        let mut owes = Vec::new();
        let mut applied = self.step(Command::BeginCancel, reason, stamp, |snapshot| {
            owes = compensate(snapshot, draw);
        })?;
        applied.owes = owes;
        Ok(applied)
    }

    /// Gives up waiting for a payment.
    ///
    /// # Errors
    /// [`Refusal::PaymentInProgress`] while money is out, or may be; [`Refusal::IllegalTransition`].
    pub fn expire(&self, stamp: &Stamp) -> Result<Applied, Refusal> {
        self.must_allow(Command::Expire)?;
        if self.has_money_out() {
            return Err(Refusal::PaymentInProgress);
        }
        self.step(Command::Expire, None, stamp, |_| {})
    }

    /// Takes in what became of an attempt, and makes the move that follows: an authorization that
    /// covers the order confirms it, the last of the goods' money completes it, and of an order that is
    /// being called off it is given back. `None` when the attempt has an outcome already: the same one
    /// told again, by a webhook and an answer, changes nothing.
    ///
    /// # Errors
    /// [`Refusal::NoSuchPayment`] when the order has no such attempt.
    pub fn settle(
        &self,
        (attempt, outcome): (AttemptId, &Outcome),
        reason: Option<Reason>,
        stamp: &Stamp,
        draw: DrawAttempt<'_>,
    ) -> Result<Option<Applied>, Refusal> {
        if !self.attempt(attempt)?.state.is_unresolved() {
            return Ok(None);
        }
        let mut after = self.clone();
        after.set_attempt(attempt, &self.ended(attempt, outcome)?);
        let mut owes = Vec::new();
        if self.state == State::Cancelling {
            owes = compensate(after.snapshot_mut(), draw);
        }
        let command = after.follows_from(self.state);
        let mut applied = self.step(command, reason, stamp, |snapshot| {
            snapshot.payments.clone_from(&after.payments);
        })?;
        applied.owes = owes;
        Ok(Some(applied))
    }

    /// Takes in that the outcome of an attempt is in doubt, or no longer. `None` when that is known, or
    /// the attempt has an outcome.
    ///
    /// # Errors
    /// [`Refusal::NoSuchPayment`] when the order has no such attempt.
    pub fn doubt(
        &self,
        attempt: AttemptId,
        doubt: Doubt,
        reason: Option<Reason>,
        stamp: &Stamp,
    ) -> Result<Option<Applied>, Refusal> {
        let state = match (&self.attempt(attempt)?.state, doubt) {
            (AttemptState::Open, Doubt::Unknown) | (AttemptState::Parked, Doubt::Cleared) => {
                AttemptState::Unknown
            }
            (AttemptState::Open | AttemptState::Unknown, Doubt::Parked) => AttemptState::Parked,
            _ => return Ok(None),
        };
        let mut after = self.clone();
        after.set_attempt(attempt, &state);
        let mut applied = self.step(Command::Settle, reason, stamp, |snapshot| {
            snapshot.payments.clone_from(&after.payments);
        })?;
        if doubt == Doubt::Cleared {
            applied.owes = vec![attempt];
        }
        Ok(Some(applied))
    }

    /// The attempt of this id.
    ///
    /// # Errors
    /// [`Refusal::NoSuchPayment`].
    pub fn attempt(&self, id: AttemptId) -> Result<&Attempt, Refusal> {
        let mut attempts = self.payments.iter().flat_map(|payment| &payment.attempts);
        attempts.find(|attempt| attempt.id == id).ok_or(Refusal::NoSuchPayment)
    }

    /// Whether money is held or taken, or may be.
    fn has_money_out(&self) -> bool {
        let out =
            |payment: &Payment| payment.held() > 0 || payment.kept() > 0 || payment.is_unresolved();
        self.payments.iter().any(out)
    }

    fn is_being_authorized(&self) -> bool {
        let unresolved = AttemptState::is_unresolved;
        self.payments.iter().any(|payment| payment.sum(PaymentOperation::Authorize, unresolved) > 0)
    }

    fn must_allow(&self, command: Command) -> Result<(), Refusal> {
        let illegal = Refusal::IllegalTransition { state: self.state, command };
        command.from(Some(self.state)).map(drop).ok_or(illegal)
    }

    fn claim(&self, kind: &Kind, claim: Claim, stamp: &Stamp) -> Result<Applied, Refusal> {
        let Kind { command, operation, left } = *kind;
        self.must_allow(command)?;
        let nothing = Refusal::AmountNotLeft { left: Money::zero(self.goods.currency) };
        let (at, payment) = match claim.payment {
            Some(id) => self.find(|p| p.id == id && p.is_ours()).ok_or(Refusal::NoSuchPayment)?,
            None => self.find(|p| left(p) > 0 && p.is_ours()).ok_or(nothing)?,
        };
        if payment.is_in_doubt() {
            return Err(Refusal::PaymentInDoubt);
        }
        if payment.attempts.len() >= MAX_ATTEMPTS {
            return Err(Refusal::TooManyPayments);
        }
        let amount = within(claim.amount, Money::new(left(payment), self.goods.currency))?;
        let attempt = open(claim.attempt, operation, amount);
        let mut applied = self.step(command, None, stamp, |snapshot| {
            if let Some(payment) = snapshot.payments.get_mut(at) {
                payment.attempts.push(attempt);
            }
        })?;
        applied.owes = vec![claim.attempt];
        Ok(applied)
    }

    fn find(&self, is: impl Fn(&Payment) -> bool) -> Option<(usize, &Payment)> {
        self.payments.iter().enumerate().find(|(_, payment)| is(payment))
    }

    /// The state that an outcome gives an attempt. The money of an order that is being called off must
    /// go back: a gateway that declines that is for a person to look at.
    fn ended(&self, id: AttemptId, outcome: &Outcome) -> Result<AttemptState, Refusal> {
        let attempt = self.attempt(id)?;
        let gives_back =
            matches!(attempt.operation, PaymentOperation::Void | PaymentOperation::Refund);
        Ok(match outcome {
            Outcome::Succeeded => AttemptState::Succeeded,
            Outcome::Declined(_) if gives_back && self.state == State::Cancelling => {
                AttemptState::Parked
            }
            Outcome::Declined(code) => AttemptState::Declined(code.clone()),
        })
    }

    fn set_attempt(&mut self, id: AttemptId, state: &AttemptState) {
        let attempts = self.snapshot_mut().payments.iter_mut().flat_map(|p| &mut p.attempts);
        for attempt in attempts.filter(|attempt| attempt.id == id) {
            attempt.state.clone_from(state);
        }
    }

    /// The command that follows once an outcome was taken in.
    fn follows_from(&self, state: State) -> Command {
        match state {
            State::Pending if self.due().minor == 0 => Command::Confirm,
            State::Cancelling if !self.has_money_out() => Command::FinishCancel,
            State::Confirmed if self.is_complete() => Command::Complete,
            State::Pending
            | State::Confirmed
            | State::Completed
            | State::Cancelling
            | State::Cancelled
            | State::Expired => Command::Settle,
        }
    }

    /// Whether every line is fulfilled or cancelled and the money captured.
    fn is_complete(&self) -> bool {
        let taken = self.payments.iter().fold(0_i64, |sum, p| sum.saturating_add(p.captured()));
        let settled = !self.payments.iter().any(Payment::is_unresolved);
        let delivered = self.fulfillment_state() == FulfillmentState::Fulfilled;
        delivered && settled && taken >= self.pricing().totals.total.minor
    }
}

/// Asks to let go of what is held and to give back what was taken, of every payment of which
/// everything is known.
fn compensate(snapshot: &mut Snapshot, draw: DrawAttempt<'_>) -> Vec<AttemptId> {
    let currency = snapshot.goods.currency;
    let mut owes = Vec::new();
    for payment in snapshot.payments.iter_mut().filter(|payment| !payment.is_unresolved()) {
        let back =
            [(PaymentOperation::Void, payment.held()), (PaymentOperation::Refund, payment.kept())];
        for (operation, minor) in back.into_iter().filter(|(_, minor)| *minor > 0) {
            let id = draw();
            let attempt = open(id, operation, Money::new(minor, currency));
            if payment.is_ours() {
                payment.attempts.push(attempt);
                owes.push(id);
            } else {
                // No gateway can give back what it did not take: a person has to.
                let state = AttemptState::Parked;
                payment.attempts.push(Attempt { state, ..attempt });
            }
        }
    }
    owes
}

const fn open(id: AttemptId, operation: PaymentOperation, amount: Money) -> Attempt {
    Attempt { id, operation, amount, state: AttemptState::Open }
}

/// The amount that is meant, if it is above nothing and at most `left`, in its currency.
fn within(amount: Option<Money>, left: Money) -> Result<Money, Refusal> {
    let amount = amount.unwrap_or(left);
    let fits = amount.currency == left.currency && (1..=left.minor).contains(&amount.minor);
    if fits { Ok(amount) } else { Err(Refusal::AmountNotLeft { left }) }
}

#[cfg(test)]
mod tests;
