//! Asking for money that a payment holds or has: captures, and refunds by amount and by line.

use super::{
    fulfilling::Pieces,
    ids::{AttemptId, PaymentId},
    money::Money,
    order::{Applied, Order, Stamp},
    paying::{MAX_ATTEMPTS, within},
    payment::{Attempt, AttemptState, LineShare, Payment, PaymentOperation},
    state::Command,
};
use crate::Refusal;

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
    /// Asks to take what is held.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn capture(&self, claim: Claim<'_>, stamp: &Stamp) -> Result<Applied, Refusal> {
        self.claim(&CAPTURE, claim, stamp)
    }

    /// Asks to give back what was taken. What was taken elsewhere a person gives back, and says so.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn refund(&self, claim: Claim<'_>, stamp: &Stamp) -> Result<Applied, Refusal> {
        self.claim(&REFUND, claim, stamp)
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
            Some(id) => self.find(|p| p.id == id).ok_or(Refusal::NoSuchPayment)?,
            None => self
                .find(|p| enough(p) && p.is_ours())
                .or_else(|| self.find(enough))
                .or_else(|| self.find(|p| left(p) > 0))
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
                payment.ask(attempt);
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
        let taken = self.sum(Payment::captured).saturating_add(self.sum(open));
        self.payable().minor.saturating_sub(taken).max(0)
    }

    /// What pieces that were handed over come to, beside those that refunds by line were asked for
    /// already: whatever the split, the refunds of a line sum up to what was paid for it. Pieces that
    /// were not handed over are called off instead, and their money goes back by that.
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
            let left = line.progress.fulfilled.saturating_sub(before);
            if quantity.get() > left {
                return Err(Refusal::PiecesNotLeft { line: *number, left });
            }
            let until = self.worth_of(at, before.saturating_add(quantity.get()));
            let minor = until.saturating_sub(minor);
            shares.push(LineShare { line: *number, quantity: quantity.get(), minor });
        }
        Ok(shares)
    }
}
