mod by_hand;
mod drawn;
mod goods;

use jiff::Timestamp;
use mainstay_context::TraceContext;
use uuid::Uuid;

use super::*;
use crate::domain::{
    ChangeId, Claim, Draft, DraftLine, OrderId, OrderNumber, PaymentState, Pieces, Quantity,
    UnitPrice,
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
    placed_with(&[(1, "100")], 0)
}

/// An order of these quantities at these prices, and this shipping.
fn placed_with(lines: &[(i64, &str)], shipping: i64) -> Order {
    let line = |(quantity, price): &(i64, &str)| DraftLine {
        sku: "tea".to_owned(),
        name: None,
        quantity: *quantity,
        unit_price: UnitPrice::parse(price, "EUR".parse().unwrap()).unwrap(),
        discount: None,
        tax: None,
    };
    let draft = Draft {
        customer_id: "c".to_owned(),
        lines: lines.iter().map(line).collect(),
        shipping: Some(eur(shipping)),
        ..Draft::default()
    };
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
        Self::of(placed())
    }

    fn of(order: Order) -> Self {
        Self { order, drawn: 0, owed: Vec::new() }
    }

    /// An order that is confirmed by money that is held.
    fn held(order: Order) -> Self {
        let mut play = Self::of(order);
        let hold = play.pay(None).unwrap();
        play.succeed(hold);
        play
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

    fn claim(&mut self, amount: Option<i64>) -> Claim<'static> {
        let attempt = AttemptId(self.uuid());
        Claim { attempt, payment: None, amount: amount.map(eur), lines: &[] }
    }

    /// Carries out a command that may draw ids of attempts.
    fn carry_out(
        &mut self,
        rule: impl FnOnce(&Order, DrawAttempt<'_>) -> Result<Option<Applied>, Refusal>,
    ) -> Result<bool, Refusal> {
        let mut next = self.drawn + 1_000_000;
        let mut draw = || {
            next += 1;
            AttemptId(Uuid::from_u128(next))
        };
        let applied = rule(&self.order, &mut draw)?;
        self.drawn = next;
        let news = applied.is_some();
        if let Some(applied) = applied {
            self.take(applied);
        }
        Ok(news)
    }

    fn expire(&mut self) -> Result<bool, Refusal> {
        self.carry_out(|order, draw| order.expire(&stamp(), draw).map(Some))
    }

    fn record(&mut self, amount: i64) -> Result<bool, Refusal> {
        let mut id = || AttemptId(self.uuid());
        let (first, second) = (id(), id());
        let ids = (PaymentId(self.uuid()), first, second);
        self.carry_out(|order, draw| {
            order.record_payment(ids, (eur(amount), None), &stamp(), draw).map(Some)
        })
    }

    fn fulfill(&mut self, pieces: &[Pieces]) -> Result<bool, Refusal> {
        self.carry_out(|order, draw| order.fulfill(pieces, None, &stamp(), draw).map(Some))
    }

    fn cancel_lines(&mut self, pieces: &[Pieces]) -> Result<bool, Refusal> {
        self.carry_out(|order, draw| order.cancel_lines(pieces, None, &stamp(), draw).map(Some))
    }

    fn take_back(&mut self, pieces: &[Pieces]) -> Result<(), Refusal> {
        self.take(self.order.take_back(pieces, None, &stamp())?);
        Ok(())
    }

    fn refund_lines(&mut self, lines: &[Pieces]) -> Result<i64, Refusal> {
        let claim = Claim { lines, ..self.claim(None) };
        self.take(self.order.refund(claim, &stamp())?);
        Ok(self.order.attempt(claim.attempt)?.amount.minor)
    }

    fn resolve(&mut self, attempt: AttemptId, resolution: Resolution) -> Result<bool, Refusal> {
        let reason: Reason = "the provider's page says so".parse().unwrap();
        self.carry_out(|order, draw| {
            order.resolve((attempt, resolution), reason, &stamp(), draw).map(Some)
        })
    }

    /// The gateway does everything that is asked of it.
    fn succeed_all(&mut self) {
        let mut at = 0;
        while let Some(attempt) = self.owed.get(at).copied() {
            at += 1;
            let _news = self.settle(attempt, &Outcome::Succeeded).unwrap();
        }
    }

    /// The operation and amount of what was asked for last.
    fn last_owed(&self) -> (PaymentOperation, i64) {
        let attempt = self.order.attempt(*self.owed.last().unwrap()).unwrap();
        (attempt.operation, attempt.amount.minor)
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

    fn cancel(&mut self) -> Result<bool, Refusal> {
        self.carry_out(|order, draw| order.cancel(None, &stamp(), draw).map(Some))
    }

    fn settle(&mut self, attempt: AttemptId, outcome: &Outcome) -> Result<bool, Refusal> {
        self.carry_out(|order, draw| order.settle((attempt, outcome), &stamp(), draw))
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
fn an_authorization_that_is_too_old_is_let_go_of_and_another_may_pay() {
    let mut play = Play::held(placed());
    let (payment, attempt) = (play.order.payments[0].id, AttemptId(play.uuid()));
    let expired = play.order.expire_authorization((payment, attempt), &stamp()).unwrap();
    play.take(expired);
    let again = play.order.expire_authorization((payment, attempt), &stamp());
    assert_eq!(again.unwrap_err(), Refusal::PaymentInProgress);
    play.succeed(attempt);
    assert_eq!(play.states(), (State::Confirmed, PaymentState::Voided));
    let hold = play.pay(None).unwrap();
    play.succeed(hold);
    assert_eq!(play.states(), (State::Confirmed, PaymentState::Authorized));
}

#[test]
fn an_order_can_be_placed_and_paid_in_one_version() {
    let order = placed();
    let applied = order.apply(Command::AddNote, None, &stamp()).unwrap();
    let ids = (PaymentId(Uuid::from_u128(1)), AttemptId(Uuid::from_u128(2)));
    let paid = applied.paid_with(ids, "tok_ok".parse().unwrap());
    assert_eq!(paid.owes, [ids.1]);
    assert_eq!(paid.order.payment_state(), PaymentState::Pending);
}

fn pieces(line: u32, quantity: i64) -> Pieces {
    Pieces { line, quantity: Quantity::new(quantity).unwrap() }
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
    assert_eq!(play.expire(), Err(Refusal::PaymentInProgress));
    assert!(play.settle(hold, &declined()).unwrap());
    play.expire().unwrap();
    assert_eq!(play.order.state, State::Expired);

    let mut play = Play::new();
    let part = play.pay(Some(40)).unwrap();
    play.succeed(part);
    play.expire().unwrap();
    play.succeed_all();
    assert_eq!(play.states(), (State::Cancelled, PaymentState::Voided), "paid in part");
}
