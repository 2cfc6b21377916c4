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
mod tests {
    use jiff::Timestamp;
    use mainstay_context::TraceContext;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{
        ChangeId, Draft, DraftLine, OrderId, OrderNumber, PaymentState, UnitPrice,
    };

    fn stamp() -> Stamp {
        Stamp {
            change: ChangeId(Uuid::nil()),
            at: Timestamp::UNIX_EPOCH,
            actor: "test".into(),
            request_id: "test".parse().unwrap(),
            trace: TraceContext::NONE,
        }
    }

    /// An order of 100 EUR cents.
    fn placed() -> Order {
        let line = DraftLine {
            sku: "tea".to_owned(),
            name: None,
            quantity: 1,
            unit_price: UnitPrice::parse("100", "EUR".parse().unwrap()).unwrap(),
            discount: None,
            tax: None,
        };
        let draft = Draft { customer_id: "c".to_owned(), lines: vec![line], ..Draft::default() };
        let placement = draft.check().unwrap();
        let (id, number) = (OrderId(Uuid::nil()), OrderNumber::from_bits(1));
        Order::place(id, number, "t".parse().unwrap(), &placement, &stamp()).order
    }

    /// Plays what clients, the worker and the gateway may do, with ids that count up.
    struct Play {
        order: Order,
        drawn: u128,
        owed: Vec<AttemptId>,
    }

    impl Play {
        fn new() -> Self {
            Self { order: placed(), drawn: 0, owed: Vec::new() }
        }

        fn uuid(&mut self) -> Uuid {
            self.drawn += 1;
            Uuid::from_u128(self.drawn)
        }

        fn take(&mut self, applied: Applied) {
            assert_eq!(applied.order.version, self.order.version.next());
            self.order = applied.order;
            self.owed.extend(applied.owes);
        }

        fn pay(&mut self, amount: Option<i64>) -> Result<AttemptId, Refusal> {
            let (payment, attempt) = (PaymentId(self.uuid()), AttemptId(self.uuid()));
            let amount = amount.map(eur);
            let instrument = "tok_ok".parse().unwrap();
            self.take(self.order.pay((payment, attempt), instrument, amount, &stamp())?);
            Ok(attempt)
        }

        fn claim(&mut self, amount: Option<i64>) -> Claim {
            Claim { attempt: AttemptId(self.uuid()), payment: None, amount: amount.map(eur) }
        }

        fn capture(&mut self, amount: Option<i64>) -> Result<AttemptId, Refusal> {
            let claim = self.claim(amount);
            self.take(self.order.capture(claim, &stamp())?);
            Ok(claim.attempt)
        }

        fn refund(&mut self, amount: Option<i64>) -> Result<AttemptId, Refusal> {
            let claim = self.claim(amount);
            self.take(self.order.refund(claim, &stamp())?);
            Ok(claim.attempt)
        }

        fn cancel(&mut self) -> Result<(), Refusal> {
            let mut next = self.drawn + 1_000_000;
            let mut draw = || {
                next += 1;
                AttemptId(Uuid::from_u128(next))
            };
            let applied = self.order.cancel(None, &stamp(), &mut draw)?;
            self.drawn = next;
            self.take(applied);
            Ok(())
        }

        fn settle(&mut self, attempt: AttemptId, outcome: &Outcome) -> Result<bool, Refusal> {
            let mut next = self.drawn + 1_000_000;
            let mut draw = || {
                next += 1;
                AttemptId(Uuid::from_u128(next))
            };
            let settled = self.order.settle((attempt, outcome), None, &stamp(), &mut draw)?;
            self.drawn = next;
            let news = settled.is_some();
            if let Some(applied) = settled {
                self.take(applied);
            }
            Ok(news)
        }

        fn succeed(&mut self, attempt: AttemptId) {
            assert!(self.settle(attempt, &Outcome::Succeeded).unwrap());
        }

        fn states(&self) -> (State, PaymentState) {
            (self.order.state, self.order.payment_state())
        }
    }

    fn eur(minor: i64) -> Money {
        Money::new(minor, "EUR".parse().unwrap())
    }

    fn declined() -> Outcome {
        Outcome::Declined("card-declined".parse().unwrap())
    }

    #[test]
    fn an_order_is_confirmed_by_the_authorization_that_covers_it() {
        let mut play = Play::new();
        let first = play.pay(Some(40)).unwrap();
        assert_eq!(play.pay(None), Err(Refusal::PaymentInProgress));
        play.succeed(first);
        assert_eq!(play.states(), (State::Pending, PaymentState::Authorized));
        assert_eq!(play.pay(Some(61)), Err(Refusal::AmountNotLeft { left: eur(60) }));
        let second = play.pay(None).unwrap();
        assert!(play.settle(second, &declined()).unwrap());
        assert_eq!(play.states(), (State::Pending, PaymentState::Authorized));
        let third = play.pay(None).unwrap();
        play.succeed(third);
        assert_eq!(play.states(), (State::Confirmed, PaymentState::Authorized));
        assert!(!play.settle(third, &Outcome::Succeeded).unwrap(), "told again");
    }

    #[test]
    fn captures_and_refunds_are_bound_by_what_is_left() {
        let mut play = Play::new();
        let hold = play.pay(None).unwrap();
        play.succeed(hold);
        let part = play.capture(Some(30)).unwrap();
        assert_eq!(play.capture(Some(71)), Err(Refusal::AmountNotLeft { left: eur(70) }));
        let rest = play.capture(None).unwrap();
        play.succeed(rest);
        assert_eq!(play.states().1, PaymentState::PartiallyCaptured);
        play.succeed(part);
        assert_eq!(play.states(), (State::Confirmed, PaymentState::Captured));
        let back = play.refund(Some(10)).unwrap();
        assert_eq!(play.refund(Some(91)), Err(Refusal::AmountNotLeft { left: eur(90) }));
        play.succeed(back);
        assert_eq!(play.states().1, PaymentState::PartiallyRefunded);
        for wrong in [0, -1] {
            assert!(play.refund(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cancel_that_overtakes_its_payment_gives_the_money_back_once_it_is_known() {
        let mut play = Play::new();
        let hold = play.pay(None).unwrap();
        play.cancel().unwrap();
        assert_eq!(play.states(), (State::Cancelling, PaymentState::Pending));
        play.succeed(hold);
        let void = *play.owed.last().unwrap();
        assert_eq!(play.order.attempt(void).unwrap().operation, PaymentOperation::Void);
        assert_eq!(play.states(), (State::Cancelling, PaymentState::Authorized));
        play.succeed(void);
        assert_eq!(play.states(), (State::Cancelled, PaymentState::Voided));
    }

    #[test]
    fn a_gateway_that_declines_to_give_back_is_for_a_person() {
        let mut play = Play::new();
        let hold = play.pay(None).unwrap();
        play.succeed(hold);
        play.cancel().unwrap();
        let void = *play.owed.last().unwrap();
        assert!(play.settle(void, &declined()).unwrap());
        assert_eq!(play.states(), (State::Cancelling, PaymentState::Parked));
        let cleared = play.order.doubt(void, Doubt::Cleared, None, &stamp()).unwrap().unwrap();
        assert_eq!(cleared.owes, [void]);
        play.take(cleared);
        play.succeed(void);
        assert_eq!(play.states(), (State::Cancelled, PaymentState::Voided));
    }

    #[test]
    fn a_payment_in_doubt_is_resolved_before_anything_else_is_done_with_it() {
        let mut play = Play::new();
        let hold = play.pay(None).unwrap();
        play.succeed(hold);
        let taken = play.capture(Some(10)).unwrap();
        let doubt = |play: &Play, doubt| play.order.doubt(taken, doubt, None, &stamp()).unwrap();
        let unknown = doubt(&play, Doubt::Unknown).unwrap();
        play.take(unknown);
        assert_eq!(play.states().1, PaymentState::Unknown);
        assert!(doubt(&play, Doubt::Unknown).is_none());
        assert_eq!(play.capture(None), Err(Refusal::PaymentInDoubt));
        play.succeed(taken);
        assert!(play.capture(None).is_ok());
    }

    #[test]
    fn an_order_expires_only_while_no_money_can_be_out() {
        let mut play = Play::new();
        let hold = play.pay(None).unwrap();
        assert_eq!(play.order.expire(&stamp()).unwrap_err(), Refusal::PaymentInProgress);
        assert!(play.settle(hold, &declined()).unwrap());
        assert_eq!(play.order.expire(&stamp()).unwrap().order.state, State::Expired);
    }

    #[test]
    fn money_taken_elsewhere_confirms_an_order() {
        let order = placed();
        let id = |n| AttemptId(Uuid::from_u128(n));
        let ids = (PaymentId(Uuid::from_u128(9)), id(1), id(2));
        let record = |amount| order.record_payment(ids, eur(amount), None, &stamp());
        let part = record(40).unwrap().order;
        assert_eq!((part.state, part.due()), (State::Pending, eur(60)));
        let whole = record(100).unwrap().order;
        assert_eq!(
            (whole.state, whole.payment_state()),
            (State::Confirmed, PaymentState::Captured)
        );
        assert_eq!(record(101).unwrap_err(), Refusal::AmountNotLeft { left: eur(100) });
    }

    proptest! {
        #[test]
        fn money_is_never_made_and_a_cancelled_order_keeps_none(
            steps in prop::collection::vec((0_u8..8, 0_usize..6, -5_i64..120), 1..60)
        ) {
            let mut play = Play::new();
            for (step, which, amount) in steps {
                let owed = play.owed.get(which % play.owed.len().max(1)).copied();
                match (step, owed) {
                    (0, _) => drop(play.pay(Some(amount))),
                    (1, _) => drop(play.capture(Some(amount))),
                    (2, _) => drop(play.refund(Some(amount))),
                    (3, _) => drop(play.cancel()),
                    (4 | 5, Some(attempt)) => drop(play.settle(attempt, &Outcome::Succeeded)),
                    (6, Some(attempt)) => drop(play.settle(attempt, &declined())),
                    (7, Some(attempt)) => {
                        let doubt = [Doubt::Unknown, Doubt::Parked, Doubt::Cleared][which % 3];
                        if let Ok(Some(applied)) = play.order.doubt(attempt, doubt, None, &stamp()) {
                            play.take(applied);
                        }
                    }
                    _ => {}
                }
                let order = &play.order;
                prop_assert!(order.payments.iter().all(Payment::is_sound), "{order:?}");
                let covered: i64 = order.payments.iter().map(|p| p.held() + p.kept()).sum();
                prop_assert!((0..=100).contains(&covered), "{order:?}");
                if matches!(order.state, State::Cancelled | State::Expired) {
                    prop_assert!(!order.has_money_out(), "{order:?}");
                }
            }
        }

        #[test]
        fn whatever_was_in_flight_a_cancel_ends_once_the_gateway_answers(
            steps in prop::collection::vec((0_u8..4, 0_usize..6, 1_i64..120), 0..20)
        ) {
            let mut play = Play::new();
            for (step, which, amount) in steps {
                let owed = play.owed.get(which % play.owed.len().max(1)).copied();
                match (step, owed) {
                    (0, _) => drop(play.pay(Some(amount))),
                    (1, _) => drop(play.capture(Some(amount))),
                    (2, Some(attempt)) => drop(play.settle(attempt, &Outcome::Succeeded)),
                    (3, Some(attempt)) => drop(play.settle(attempt, &declined())),
                    _ => {}
                }
            }
            prop_assume!(play.cancel().is_ok());
            let mut at = 0;
            while let Some(attempt) = play.owed.get(at).copied() {
                at += 1;
                let _news = play.settle(attempt, &Outcome::Succeeded).is_ok();
            }
            prop_assert_eq!(play.order.state, State::Cancelled);
        }
    }
}
