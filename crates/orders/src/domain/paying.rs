//! What may be done with the money of an order, and what follows from what came of it.
//!
//! Every function is one version of the order. Attempts that it asks for are told in
//! [`Applied::owes`]: the same commit makes a task of each, and a worker sends them. Nothing here
//! guesses an outcome: an attempt stays unresolved until the gateway, or a person, has said what
//! became of it.

use super::{
    fulfilling::Pieces,
    ids::{AttemptId, PaymentId},
    money::Money,
    order::{Applied, Order, Stamp},
    owing::MAX_DECLINES,
    payment::{Attempt, AttemptState, LineShare, Means, Payment, PaymentOperation},
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

/// What is asked of a payment that exists.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The attempt's id.
    pub attempt: AttemptId,
    /// Which payment; the first that has enough left when it is `None`.
    pub payment: Option<PaymentId>,
    /// How much; what the lines come to, or else all that is left, when it is `None`.
    pub amount: Option<Money>,
    /// For which pieces a refund is.
    pub lines: &'a [Pieces],
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
        let covered = self.sum(Payment::held).saturating_add(self.sum(Payment::kept));
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

    /// Asks to take what is held.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn capture(&self, claim: Claim<'_>, stamp: &Stamp) -> Result<Applied, Refusal> {
        self.claim(&CAPTURE, claim, stamp)
    }

    /// Asks to give back what was taken.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn refund(&self, claim: Claim<'_>, stamp: &Stamp) -> Result<Applied, Refusal> {
        self.claim(&REFUND, claim, stamp)
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
        if self.attempt(attempt)?.state != AttemptState::Parked {
            return Err(Refusal::NotParked);
        }
        let payment = self.find(|p| p.attempts.iter().any(|a| a.id == attempt));
        let (_, payment) = payment.ok_or(Refusal::NoSuchPayment)?;
        let declined = Outcome::Declined(BY_A_PERSON.parse().map_err(|_| Refusal::NotParked)?);
        let outcome = match resolution {
            Resolution::Succeeded => Outcome::Succeeded,
            Resolution::Declined => declined,
            Resolution::SendAgain if !payment.is_ours() => return Err(Refusal::MovedElsewhere),
            // The gateway would decline the same attempt again: another one is asked for.
            Resolution::SendAgain if self.is_parked_by_declines(attempt, payment) => declined,
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
        let mut attempts = self.payments.iter().flat_map(|payment| &payment.attempts);
        attempts.find(|attempt| attempt.id == id).ok_or(Refusal::NoSuchPayment)
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

    fn claim(&self, kind: &Kind, claim: Claim<'_>, stamp: &Stamp) -> Result<Applied, Refusal> {
        let Kind { command, operation, left } = *kind;
        self.must_allow(command)?;
        let lines = self.shares_of(claim.lines)?;
        let worth = lines.iter().fold(0, |sum: i64, share| sum.saturating_add(share.minor));
        let by_line = (!lines.is_empty()).then_some(Money::new(worth, self.goods.currency));
        let asked = claim.amount.or(by_line);
        let enough = |p: &Payment| left(p) >= asked.map_or(1, |money| money.minor).max(1);
        let nothing = Refusal::AmountNotLeft { left: Money::zero(self.goods.currency) };
        let (at, payment) = match claim.payment {
            Some(id) => self.find(|p| p.id == id && p.is_ours()).ok_or(Refusal::NoSuchPayment)?,
            None => self
                .find(|p| enough(p) && p.is_ours())
                .or_else(|| self.find(|p| left(p) > 0 && p.is_ours()))
                .ok_or(nothing)?,
        };
        if payment.is_in_doubt() {
            return Err(Refusal::PaymentInDoubt);
        }
        let most = left(payment).min(self.left_of_the_order(operation));
        let amount = within(asked, Money::new(most, self.goods.currency))?;
        // What ends a payment has room left beyond the bound.
        if payment.attempts.len() >= MAX_ATTEMPTS && amount.minor < left(payment) {
            return Err(Refusal::TooManyPayments);
        }
        let attempt = Attempt { lines, ..Attempt::open(claim.attempt, operation, amount) };
        let mut applied = self.step(command, None, stamp, |snapshot| {
            if let Some(payment) = snapshot.payments.get_mut(at) {
                payment.attempts.push(attempt);
            }
        })?;
        applied.owes = vec![claim.attempt];
        Ok(applied)
    }

    /// How much of an operation the order as a whole still bears: no more is taken than it comes to,
    /// whatever is held.
    fn left_of_the_order(&self, operation: PaymentOperation) -> i64 {
        if operation != PaymentOperation::Capture {
            return i64::MAX;
        }
        let open = |p: &Payment| p.sum(PaymentOperation::Capture, AttemptState::is_unresolved);
        let taken = self.sum(Payment::kept).saturating_add(self.sum(open));
        self.payable().minor.saturating_sub(taken).max(0)
    }

    /// What pieces come to, beside those that refunds by line were asked for already: whatever the
    /// split, the refunds of a line sum up to what was paid for it.
    fn shares_of(&self, pieces: &[Pieces]) -> Result<Vec<LineShare>, Refusal> {
        let mut shares: Vec<LineShare> = Vec::with_capacity(pieces.len());
        for Pieces { line: number, quantity } in pieces {
            let at = usize::try_from(*number).ok().and_then(|number| number.checked_sub(1));
            let line = at.and_then(|at| self.goods.lines.get(at));
            let (Some(at), Some(line)) = (at, line) else {
                return Err(Refusal::NoSuchLine { line: *number });
            };
            let asked = self.payments.iter().flat_map(|payment| &payment.attempts);
            let asked = asked.filter(|a| !matches!(a.state, AttemptState::Declined(_)));
            let asked = asked.flat_map(|attempt| &attempt.lines).chain(&shares);
            let (before, minor) = asked.filter(|share| share.line == *number).fold(
                (0_u32, 0_i64),
                |(pieces, minor), share| {
                    (pieces.saturating_add(share.quantity), minor.saturating_add(share.minor))
                },
            );
            let there = line.quantity.get().saturating_sub(line.progress.cancelled);
            let left = there.saturating_sub(before);
            if quantity.get() > left {
                return Err(Refusal::PiecesNotLeft { line: *number, left });
            }
            let until = self.worth_of(at, before.saturating_add(quantity.get()));
            let minor = until.saturating_sub(minor);
            shares.push(LineShare { line: *number, quantity: quantity.get(), minor });
        }
        Ok(shares)
    }

    fn find(&self, is: impl Fn(&Payment) -> bool) -> Option<(usize, &Payment)> {
        self.payments.iter().enumerate().find(|(_, payment)| is(payment))
    }

    fn is_parked_by_declines(&self, attempt: AttemptId, payment: &Payment) -> bool {
        let parked = payment.attempts.iter().find(|a| a.id == attempt);
        parked.is_some_and(|parked| {
            self.still_owes(self.state, parked.operation)
                && payment.declines(parked.operation).saturating_add(1) >= MAX_DECLINES
        })
    }

    /// How often the gateway has declined to give back what this attempt, which it has just declined,
    /// still has to; 0 when nothing has to go back.
    fn declines_of_what_is_owed(&self, id: AttemptId) -> usize {
        let has = |payment: &&Payment| payment.attempts.iter().any(|attempt| attempt.id == id);
        let Some(payment) = self.payments.iter().find(has) else { return 0 };
        let operation = payment.attempts.iter().find(|a| a.id == id).map(|a| a.operation);
        let Some(operation) = operation.filter(|op| self.still_owes(self.state, *op)) else {
            return 0;
        };
        payment.declines(operation)
    }

    fn set_attempt(&mut self, id: AttemptId, state: &AttemptState) {
        let attempts = self.snapshot_mut().payments.iter_mut().flat_map(|p| &mut p.attempts);
        for attempt in attempts.filter(|attempt| attempt.id == id) {
            attempt.state.clone_from(state);
        }
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
fn within(amount: Option<Money>, left: Money) -> Result<Money, Refusal> {
    let amount = amount.unwrap_or(left);
    let fits = amount.currency == left.currency && (1..=left.minor).contains(&amount.minor);
    if fits { Ok(amount) } else { Err(Refusal::AmountNotLeft { left }) }
}

#[cfg(test)]
mod tests;
