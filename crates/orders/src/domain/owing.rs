//! What an order's money should be by how far its goods are, and the attempts that this asks for:
//! what was handed over is taken, what is called off goes back, and of an order that is complete or
//! called off nothing stays held.
//!
//! A gateway that declines to give money back is asked again some times; then a person has to look.

use super::{
    ids::AttemptId,
    line::Line,
    money::Money,
    order::{Order, Snapshot},
    paying::{DrawAttempt, MAX_ATTEMPTS},
    payment::{Attempt, AttemptState, Payment, PaymentOperation},
    state::State,
};

/// How often the gateway may decline to give money back before a person has to look.
pub const MAX_DECLINES: usize = 5;

impl Order {
    /// What the order comes to, without the pieces that were called off.
    pub fn payable(&self) -> Money {
        let totals = &self.pricing().totals;
        let called_off = self.sum_of_lines(|line, worth| {
            let rest = line.quantity.get().saturating_sub(line.progress.cancelled);
            worth.saturating_sub(part(worth, rest, line))
        });
        Money::new(totals.total.minor.saturating_sub(called_off), totals.total.currency)
    }

    /// What the pieces that were handed over come to; the first of them bear the shipping.
    fn earned(&self) -> i64 {
        let goods = self.sum_of_lines(|line, worth| part(worth, line.progress.fulfilled, line));
        let shipping = if self.is_handed_over() { self.goods.shipping.minor } else { 0 };
        goods.saturating_add(shipping)
    }

    /// What pieces of a line come to when this many others were counted before, in shares that sum up
    /// to the line exactly.
    pub(super) fn worth_of(&self, at: usize, pieces: u32) -> i64 {
        let line = self.goods.lines.get(at).zip(self.pricing().lines.get(at));
        line.map_or(0, |(line, amounts)| part(amounts.total.minor, pieces, line))
    }

    fn sum_of_lines(&self, of: impl Fn(&Line, i64) -> i64) -> i64 {
        let lines = self.goods.lines.iter().zip(&self.pricing().lines);
        lines.fold(0, |sum: i64, (line, amounts)| sum.saturating_add(of(line, amounts.total.minor)))
    }

    /// Whether every piece was handed over or called off, and its money taken, if any was asked for.
    pub(super) fn is_complete(&self) -> bool {
        let is_paid =
            self.payments.is_empty() || self.sum(Payment::captured) >= self.payable().minor;
        self.is_handed_over()
            && self.goods.lines.iter().all(|line| line.open() == 0)
            && !self.payments.iter().any(Payment::is_unresolved)
            && is_paid
    }

    /// Asks for what is owed once the order stands at `to`.
    pub(super) fn ask_for_what_is_owed(
        &mut self,
        to: State,
        draw: DrawAttempt<'_>,
    ) -> Vec<AttemptId> {
        let mut owes = Vec::new();
        match to {
            State::Cancelling => self.give_all_back(draw, &mut owes),
            State::Pending => self.give_excess_back(draw, &mut owes),
            State::Confirmed => {
                self.give_excess_back(draw, &mut owes);
                self.take_what_is_earned(draw, &mut owes);
            }
            State::Completed => {
                self.give_excess_back(draw, &mut owes);
                self.let_go(draw, &mut owes);
            }
            State::Cancelled | State::Expired => {}
        }
        owes
    }

    /// Whether money that an attempt should have given back, and did not, still has to go back.
    pub(super) fn still_owes(&self, to: State, operation: PaymentOperation) -> bool {
        match operation {
            PaymentOperation::Void => matches!(to, State::Cancelling | State::Completed),
            PaymentOperation::Refund => to == State::Cancelling || self.excess() > 0,
            PaymentOperation::Authorize | PaymentOperation::Capture => false,
        }
    }

    /// What was taken above what the order comes to, and is not asked back yet. What a client gave
    /// back lowers the price, and is no part of this.
    fn excess(&self) -> i64 {
        let asked = self.payments.iter().flat_map(|payment| &payment.attempts).filter(|attempt| {
            attempt.by_itself
                && attempt.operation == PaymentOperation::Refund
                && !matches!(attempt.state, AttemptState::Declined(_))
        });
        let asked = asked.fold(0_i64, |sum, attempt| sum.saturating_add(attempt.amount.minor));
        let above = self.sum(Payment::captured).saturating_sub(self.payable().minor);
        above.saturating_sub(asked).max(0)
    }

    fn give_excess_back(&mut self, draw: DrawAttempt<'_>, owes: &mut Vec<AttemptId>) {
        let mut excess = self.excess();
        let snapshot = self.snapshot_mut();
        let mut order: Vec<usize> = (0..snapshot.payments.len()).collect();
        // A card before what a person has to hand back.
        order.sort_by_key(|at| snapshot.payments.get(*at).is_some_and(|p| !p.is_ours()));
        for at in order {
            let sure = snapshot.payments.get(at).filter(|payment| !payment.is_in_doubt());
            let left = sure.map_or(0, Payment::left_to_refund);
            let minor = left.min(excess);
            excess = excess.saturating_sub(minor);
            ask(snapshot, at, (PaymentOperation::Refund, minor), draw, owes);
        }
    }

    /// Of every payment of which all is known; of the others, once it is.
    fn give_all_back(&mut self, draw: DrawAttempt<'_>, owes: &mut Vec<AttemptId>) {
        let snapshot = self.snapshot_mut();
        for at in 0..snapshot.payments.len() {
            let known = snapshot.payments.get(at).filter(|payment| !payment.is_unresolved());
            let Some((held, kept)) = known.map(|payment| (payment.held(), payment.kept())) else {
                continue;
            };
            ask(snapshot, at, (PaymentOperation::Void, held), draw, owes);
            ask(snapshot, at, (PaymentOperation::Refund, kept), draw, owes);
        }
    }

    fn let_go(&mut self, draw: DrawAttempt<'_>, owes: &mut Vec<AttemptId>) {
        let snapshot = self.snapshot_mut();
        for at in 0..snapshot.payments.len() {
            let known = snapshot.payments.get(at).filter(|payment| !payment.is_unresolved());
            let held = known.map_or(0, Payment::held);
            ask(snapshot, at, (PaymentOperation::Void, held), draw, owes);
        }
    }

    /// Of the payments of which all that was sent is known. One that declined its latest capture is
    /// asked no more by itself; that is for a client to see to.
    fn take_what_is_earned(&mut self, draw: DrawAttempt<'_>, owes: &mut Vec<AttemptId>) {
        let asked = self.payments.iter().fold(0, |sum: i64, payment| {
            let open = payment.sum(PaymentOperation::Capture, AttemptState::is_unresolved);
            sum.saturating_add(payment.captured()).saturating_add(open)
        });
        let mut missing = self.earned().saturating_sub(asked).max(0);
        let all = self.goods.lines.iter().all(|line| line.open() == 0);
        let snapshot = self.snapshot_mut();
        for at in 0..snapshot.payments.len() {
            let sure = snapshot.payments.get(at);
            let sure = sure.filter(|payment| !payment.is_in_doubt() && !payment.declines_capture());
            // The last capture of all has room left beyond the bound.
            let room = |payment: &&Payment| all || payment.attempts.len() < MAX_ATTEMPTS;
            let minor = sure.filter(room).map_or(0, Payment::left_to_capture).min(missing);
            missing = missing.saturating_sub(minor);
            ask(snapshot, at, (PaymentOperation::Capture, minor), draw, owes);
        }
    }

    /// A sum over the payments.
    pub(super) fn sum(&self, part: fn(&Payment) -> i64) -> i64 {
        self.payments.iter().fold(0, |sum: i64, payment| sum.saturating_add(part(payment)))
    }
}

/// The worth of the first `pieces` of a line: rounded down, so that parts sum up to the whole.
fn part(worth: i64, pieces: u32, line: &Line) -> i64 {
    let all = i128::from(line.quantity.get());
    let part = i128::from(worth).saturating_mul(i128::from(pieces)).checked_div(all);
    part.and_then(|part| i64::try_from(part).ok()).unwrap_or(worth)
}

/// Asks for an operation on a payment, if it moves anything.
fn ask(
    snapshot: &mut Snapshot,
    at: usize,
    (operation, minor): (PaymentOperation, i64),
    draw: DrawAttempt<'_>,
    owes: &mut Vec<AttemptId>,
) {
    let currency = snapshot.goods.currency;
    let Some(payment) = snapshot.payments.get_mut(at).filter(|_| minor > 0) else { return };
    let mut attempt = Attempt::open(draw(), operation, Money::new(minor, currency));
    attempt.by_itself = true;
    owes.push(attempt.id);
    payment.ask(attempt);
}
