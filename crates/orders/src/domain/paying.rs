//! What may be done with the money of an order, and what follows from what came of it.
//!
//! Every function is one version of the order. Attempts that it asks for are told in
//! [`Applied::owes`]: the same commit makes a task of each, and a worker sends them. Nothing here
//! guesses an outcome: an attempt stays unresolved until the gateway, or a person, has said what
//! became of it.

use super::{
    ids::{AttemptId, PaymentId},
    money::Money,
    order::{Applied, Order, Stamp},
    owing::MAX_DECLINES,
    payment::{Attempt, AttemptState, Means, Payment, PaymentOperation},
    state::{Command, State},
    text::{DeclineCode, Instrument, Reason},
};
use crate::{Refusal, names::names};

/// The most payments of an order, declined ones counted.
pub const MAX_PAYMENTS: usize = 100;
/// How many more may be noted that were made elsewhere: they came, whatever was tried before.
const MAX_RECORDED: usize = 20;
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

names! {
    /// What a person says of an attempt that is parked.
    Resolution {
        /// It happened.
        Succeeded = "succeeded",
        /// It did not happen, and will not.
        Declined = "declined",
        /// The gateway is to be asked again, and sent it again if it knows nothing of it.
        SendAgain = "send-again",
    }
}

/// The code of what a person says was declined.
const BY_A_PERSON: &str = "resolved-as-declined";

/// Draws the ids of attempts that follow from others.
pub type DrawAttempt<'a> = &'a mut dyn FnMut() -> AttemptId;

impl Order {
    /// What is not covered by money that is held or was taken. What went back lowered the price and is
    /// not due again, and a hold that the gateway has declined to take covers nothing.
    pub fn due(&self) -> Money {
        let covered = self.sum(Payment::covers);
        let payable = self.payable();
        Money::new(payable.minor.saturating_sub(covered).max(0), payable.currency)
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
        let mut applied = self.step(Command::Pay, None, stamp, |_| {})?;
        applied.hold(ids, instrument, amount);
        Ok(applied)
    }

    /// Notes money that was taken elsewhere; the order is confirmed when nothing is due any more.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is noted while an authorization has no outcome, which may cover the same.
    pub fn record_payment(
        &self,
        (id, held, taken): (PaymentId, AttemptId, AttemptId),
        (amount, reason): (Money, Option<Reason>),
        stamp: &Stamp,
        draw: DrawAttempt<'_>,
    ) -> Result<Applied, Refusal> {
        self.must_allow(Command::RecordPayment)?;
        if self.is_being_authorized() {
            return Err(Refusal::PaymentInProgress);
        }
        if self.payments.len() >= MAX_PAYMENTS.saturating_add(MAX_RECORDED) {
            return Err(Refusal::TooManyPayments);
        }
        let due = self.due();
        let amount = within(Some(amount), due)?;
        let happened = |id, operation| Attempt {
            state: AttemptState::Succeeded,
            ..Attempt::open(id, operation, amount)
        };
        let attempts = vec![
            happened(held, PaymentOperation::Authorize),
            happened(taken, PaymentOperation::Capture),
        ];
        let mut after = self.clone();
        after.snapshot_mut().payments.push(Payment { id, means: Means::Elsewhere, attempts });
        let command = after.follows_from(self.state).unwrap_or(Command::RecordPayment);
        self.advance((command, after), reason, stamp, draw)
    }

    /// Calls the order off. While money is out it is only `CANCELLING`, and asks to let go of what is
    /// held and to give back what was taken; of what has no outcome yet, once it has one.
    ///
    /// # Errors
    /// [`Refusal::IllegalTransition`]; [`Refusal::HandedOver`] once pieces were.
    pub fn cancel(
        &self,
        reason: Option<Reason>,
        stamp: &Stamp,
        draw: DrawAttempt<'_>,
    ) -> Result<Applied, Refusal> {
        self.must_allow(Command::Cancel)?;
        if self.is_handed_over() {
            return Err(Refusal::HandedOver);
        }
        let command = if self.has_money_out() { Command::BeginCancel } else { Command::Cancel };
        self.advance((command, self.clone()), reason, stamp, draw)
    }

    /// Gives up waiting for a payment; an order that is paid in part is called off, so that its money
    /// goes back.
    ///
    /// # Errors
    /// [`Refusal::PaymentInProgress`] while a payment has no outcome; [`Refusal::IllegalTransition`].
    pub fn expire(&self, stamp: &Stamp, draw: DrawAttempt<'_>) -> Result<Applied, Refusal> {
        self.must_allow(Command::Expire)?;
        if self.payments.iter().any(Payment::is_unresolved) {
            return Err(Refusal::PaymentInProgress);
        }
        if self.has_money_out() {
            return self.cancel("not paid in full in time".parse().ok(), stamp, draw);
        }
        self.step(Command::Expire, None, stamp, |_| {})
    }

    /// Confirms an order for which nothing is asked or held.
    ///
    /// # Errors
    /// [`Refusal::PaymentInProgress`] when its payment decides that; [`Refusal::IllegalTransition`].
    pub fn confirm(&self, reason: Option<Reason>, stamp: &Stamp) -> Result<Applied, Refusal> {
        self.must_allow(Command::Confirm)?;
        if self.has_money_out() && self.due().minor > 0 {
            return Err(Refusal::PaymentInProgress);
        }
        self.step(Command::Confirm, reason, stamp, |_| {})
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
        told: (AttemptId, &Outcome),
        stamp: &Stamp,
        draw: DrawAttempt<'_>,
    ) -> Result<Option<Applied>, Refusal> {
        self.take_in(told, None, stamp, draw)
    }

    /// Takes in an outcome that the gateway told, or a person for this reason.
    fn take_in(
        &self,
        (attempt, outcome): (AttemptId, &Outcome),
        by_a_person: Option<&Reason>,
        stamp: &Stamp,
        draw: DrawAttempt<'_>,
    ) -> Result<Option<Applied>, Refusal> {
        let before = &self.attempt(attempt)?.state;
        if !before.is_unresolved() {
            return Ok(None);
        }
        let mut after = self.clone();
        let mut reason = by_a_person.cloned();
        match outcome {
            Outcome::Succeeded => after.set_attempt(attempt, &AttemptState::Succeeded),
            Outcome::Declined(code) => {
                after.set_attempt(attempt, &AttemptState::Declined(code.clone()));
                let declines = after.declines_of_what_is_owed(attempt);
                let gives_up = by_a_person.is_none() && declines >= MAX_DECLINES;
                if gives_up && *before == AttemptState::Parked {
                    return Ok(None);
                }
                if gives_up {
                    after.set_attempt(attempt, &AttemptState::Parked);
                    after.change_attempt(attempt, |attempt| attempt.is_refused = true);
                }
                reason = reason.or_else(|| format!("declined: {code}").parse().ok());
            }
        }
        let command = after.follows_from(self.state).unwrap_or(Command::Settle);
        self.advance((command, after), reason, stamp, draw).map(Some)
    }

    /// Lets a person say what became of an attempt that is parked.
    ///
    /// # Errors
    /// [`Refusal::NoSuchPayment`]; [`Refusal::NotParked`] when the attempt is not.
    pub fn resolve(
        &self,
        (attempt, resolution): (AttemptId, Resolution),
        reason: Reason,
        stamp: &Stamp,
        draw: DrawAttempt<'_>,
    ) -> Result<Applied, Refusal> {
        let (payment, parked) = self.attempt_of(attempt).ok_or(Refusal::NoSuchPayment)?;
        if parked.state != AttemptState::Parked {
            return Err(Refusal::NotParked);
        }
        let declined = Outcome::Declined(BY_A_PERSON.parse().map_err(|_| Refusal::NotParked)?);
        let outcome = match resolution {
            Resolution::Succeeded => Outcome::Succeeded,
            Resolution::Declined => declined,
            Resolution::SendAgain if !payment.is_ours() => return Err(Refusal::MovedElsewhere),
            // The gateway would decline the same attempt again: another one is asked for.
            Resolution::SendAgain if parked.is_refused => declined,
            Resolution::SendAgain => {
                let cleared = self.doubt(attempt, Doubt::Cleared, Some(reason), stamp)?;
                return cleared.ok_or(Refusal::NotParked);
            }
        };
        let settled = self.take_in((attempt, &outcome), Some(&reason), stamp, draw)?;
        settled.ok_or(Refusal::NotParked)
    }

    /// Asks to let go of what a payment has held for too long.
    ///
    /// # Errors
    /// [`Refusal::PaymentInProgress`] while something of it has no outcome yet;
    /// [`Refusal::AmountNotLeft`] when it holds nothing; [`Refusal`].
    pub fn expire_authorization(
        &self,
        (payment, attempt): (PaymentId, AttemptId),
        stamp: &Stamp,
    ) -> Result<Applied, Refusal> {
        self.must_allow(Command::ExpireAuthorization)?;
        let (at, found) = self.find(|p| p.id == payment).ok_or(Refusal::NoSuchPayment)?;
        if found.is_unresolved() {
            return Err(Refusal::PaymentInProgress);
        }
        if found.declines(PaymentOperation::Void) >= MAX_DECLINES {
            return Err(Refusal::TooManyPayments);
        }
        let amount = within(None, Money::new(found.held(), self.goods.currency))?;
        let void = Attempt::open(attempt, PaymentOperation::Void, amount);
        let void = Attempt { by_itself: true, ..void };
        let mut applied = self.step(Command::ExpireAuthorization, None, stamp, |snapshot| {
            if let Some(payment) = snapshot.payments.get_mut(at) {
                payment.attempts.push(void);
            }
        })?;
        applied.owes = vec![attempt];
        Ok(applied)
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
        self.attempt_of(id).map(|(_, attempt)| attempt).ok_or(Refusal::NoSuchPayment)
    }

    /// The attempt of this id, and the payment it is on.
    pub fn attempt_of(&self, id: AttemptId) -> Option<(&Payment, &Attempt)> {
        let all = |payment| Payment::attempts_of(payment);
        self.payments.iter().flat_map(all).find(|(_, attempt)| attempt.id == id)
    }

    /// The payment of this id.
    pub fn payment(&self, id: PaymentId) -> Option<&Payment> {
        self.payments.iter().find(|payment| payment.id == id)
    }

    /// Whether money is held or taken, or may be.
    pub fn has_money_out(&self) -> bool {
        let out =
            |payment: &Payment| payment.held() > 0 || payment.kept() > 0 || payment.is_unresolved();
        self.payments.iter().any(out)
    }

    fn is_being_authorized(&self) -> bool {
        let unresolved = AttemptState::is_unresolved;
        self.payments.iter().any(|payment| payment.sum(PaymentOperation::Authorize, unresolved) > 0)
    }

    /// One version on to what the order is `after` a command, with what that asks of its money.
    pub(super) fn advance(
        &self,
        (command, mut after): (Command, Self),
        reason: Option<Reason>,
        stamp: &Stamp,
        draw: DrawAttempt<'_>,
    ) -> Result<Applied, Refusal> {
        let to = command.from(Some(self.state)).map_or(self.state, |transition| transition.to);
        let owes = after.ask_for_what_is_owed(to, draw);
        let mut applied = self.step(command, reason, stamp, |snapshot| {
            *snapshot = after.snapshot().clone();
        })?;
        applied.owes = owes;
        Ok(applied)
    }

    pub(super) fn must_allow(&self, command: Command) -> Result<(), Refusal> {
        let illegal = Refusal::IllegalTransition { state: self.state, command };
        command.from(Some(self.state)).map(drop).ok_or(illegal)
    }

    pub(super) fn find(&self, is: impl Fn(&Payment) -> bool) -> Option<(usize, &Payment)> {
        self.payments.iter().enumerate().find(|(_, payment)| is(payment))
    }

    /// How often the gateway has declined to give back what this attempt, which it has just declined,
    /// still has to; 0 when nothing has to go back.
    fn declines_of_what_is_owed(&self, id: AttemptId) -> usize {
        let Some((payment, attempt)) = self.attempt_of(id) else { return 0 };
        if !self.still_owes(self.state, attempt.operation) {
            return 0;
        }
        payment.declines(attempt.operation)
    }

    fn set_attempt(&mut self, id: AttemptId, state: &AttemptState) {
        self.change_attempt(id, |attempt| attempt.state.clone_from(state));
    }

    fn change_attempt(&mut self, id: AttemptId, change: impl Fn(&mut Attempt)) {
        let attempts = self.snapshot_mut().payments.iter_mut().flat_map(|p| &mut p.attempts);
        attempts.filter(|attempt| attempt.id == id).for_each(change);
    }

    /// The move that follows, from this state, from how the order's money and goods are now.
    pub(super) fn follows_from(&self, state: State) -> Option<Command> {
        match state {
            State::Pending if self.due().minor == 0 => Some(Command::Confirm),
            State::Cancelling if !self.has_money_out() => Some(Command::FinishCancel),
            State::Confirmed if self.is_complete() => Some(Command::Complete),
            State::Pending
            | State::Confirmed
            | State::Completed
            | State::Cancelling
            | State::Cancelled
            | State::Expired => None,
        }
    }
}

impl Applied {
    /// Asks, in the same version, to hold an amount with an instrument.
    fn hold(&mut self, ids: (PaymentId, AttemptId), instrument: Instrument, amount: Money) {
        let (id, attempt) = ids;
        let authorize = Attempt::open(attempt, PaymentOperation::Authorize, amount);
        let means = Means::Instrument(instrument);
        let payment = Payment { id, means, attempts: vec![authorize] };
        self.order.snapshot_mut().payments.push(payment);
        self.owes = vec![attempt];
    }

    /// A new order that is paid for in the same version; as it was when nothing is due.
    #[must_use]
    pub fn paid_with(mut self, ids: (PaymentId, AttemptId), instrument: Instrument) -> Self {
        let due = self.order.due();
        if due.minor > 0 {
            self.hold(ids, instrument, due);
        }
        self
    }
}

/// The amount that is meant, if it is above nothing and at most `left`, in its currency.
pub(super) fn within(amount: Option<Money>, left: Money) -> Result<Money, Refusal> {
    let amount = amount.unwrap_or(left);
    let fits = amount.currency == left.currency && (1..=left.minor).contains(&amount.minor);
    if fits { Ok(amount) } else { Err(Refusal::AmountNotLeft { left }) }
}

#[cfg(test)]
mod tests;
