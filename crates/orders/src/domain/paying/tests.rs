use jiff::Timestamp;
use mainstay_context::TraceContext;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::{
    ChangeId, Claim, Draft, DraftLine, FulfillmentState, OrderId, OrderNumber, PaymentState,
    Pieces, Quantity, UnitPrice,
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
fn a_gateway_that_declines_to_give_back_is_for_a_person() {
    let mut play = Play::new();
    let hold = play.pay(None).unwrap();
    play.succeed(hold);
    play.cancel().unwrap();
    for _ in 1..MAX_DECLINES {
        let void = *play.owed.last().unwrap();
        assert!(play.settle(void, &declined()).unwrap());
        assert_eq!(play.states(), (State::Cancelling, PaymentState::Authorized));
        assert_ne!(play.owed.last(), Some(&void), "it is asked again, under another key");
    }
    let void = *play.owed.last().unwrap();
    assert!(play.settle(void, &declined()).unwrap());
    assert_eq!(play.states(), (State::Cancelling, PaymentState::Parked));
    assert!(!play.settle(void, &declined()).unwrap(), "told again");
    assert!(play.resolve(void, Resolution::SendAgain).unwrap());
    assert_ne!(play.owed.last(), Some(&void), "the same one would be declined again");
    play.succeed_all();
    assert_eq!(play.states(), (State::Cancelled, PaymentState::Voided));
    assert_eq!(play.resolve(void, Resolution::Succeeded), Err(Refusal::NotParked));
}

#[test]
fn what_is_parked_for_want_of_an_answer_is_sent_again_as_the_same_attempt() {
    let mut play = Play::new();
    let hold = play.pay(None).unwrap();
    let parked = play.order.doubt(hold, Doubt::Parked, None, &stamp()).unwrap().unwrap();
    play.take(parked);
    let version = play.order.version;
    assert!(play.resolve(hold, Resolution::SendAgain).unwrap());
    assert_eq!((play.owed.last(), play.order.version), (Some(&hold), version.next()));
    assert_eq!(play.states().1, PaymentState::Unknown);
}

#[test]
fn a_person_who_says_that_nothing_went_back_has_it_asked_anew() {
    let mut play = Play::held(placed());
    play.cancel().unwrap();
    for _ in 0..MAX_DECLINES {
        let void = *play.owed.last().unwrap();
        assert!(play.settle(void, &declined()).unwrap());
    }
    let void = *play.owed.last().unwrap();
    assert!(play.resolve(void, Resolution::Declined).unwrap());
    assert_ne!(play.owed.last(), Some(&void));
    play.succeed_all();
    assert_eq!(play.states(), (State::Cancelled, PaymentState::Voided));
}

#[test]
fn what_is_handed_over_is_taken_and_the_last_of_it_completes_the_order() {
    let mut play = Play::held(placed_with(&[(3, "33.333333"), (1, "50")], 7));
    assert_eq!(play.states(), (State::Confirmed, PaymentState::Authorized));
    play.fulfill(&[pieces(1, 1)]).unwrap();
    assert_eq!(
        play.last_owed(),
        (PaymentOperation::Capture, 33 + 7),
        "shipping comes with the first"
    );
    play.fulfill(&[pieces(1, 1)]).unwrap();
    assert_eq!(play.last_owed(), (PaymentOperation::Capture, 33));
    assert_eq!(play.fulfill(&[pieces(1, 2)]), Err(Refusal::PiecesNotLeft { line: 1, left: 1 }));
    assert_eq!(play.fulfill(&[pieces(3, 1)]), Err(Refusal::NoSuchLine { line: 3 }));
    play.fulfill(&[]).unwrap();
    assert_eq!(play.last_owed(), (PaymentOperation::Capture, 34 + 50));
    assert_eq!(play.order.state, State::Confirmed, "its money is not taken yet");
    play.succeed_all();
    assert_eq!(play.states(), (State::Completed, PaymentState::Captured));
    assert_eq!(
        play.cancel().unwrap_err().to_string(),
        "an order that is COMPLETED cannot be cancelled"
    );
}

#[test]
fn an_order_without_payment_is_complete_once_it_is_handed_over() {
    let mut play = Play::new();
    let confirmed = play.order.apply(Command::Confirm, None, &stamp()).unwrap();
    play.take(confirmed);
    play.fulfill(&[]).unwrap();
    assert_eq!(play.states(), (State::Completed, PaymentState::None));
}

#[test]
fn a_capture_that_is_declined_is_not_asked_again_by_itself() {
    let mut play = Play::held(placed_with(&[(2, "50")], 0));
    play.fulfill(&[pieces(1, 1)]).unwrap();
    let capture = *play.owed.last().unwrap();
    assert!(play.settle(capture, &declined()).unwrap());
    play.fulfill(&[]).unwrap();
    assert_eq!(play.owed.last(), Some(&capture));
    let taken = play.capture(None).unwrap();
    play.succeed(taken);
    assert_eq!(play.states(), (State::Completed, PaymentState::Captured));
}

#[test]
fn what_is_called_off_goes_back_and_the_rest_completes_the_order() {
    let mut play = Play::held(placed_with(&[(3, "10"), (2, "20")], 5));
    let taken = play.capture(None).unwrap();
    play.succeed(taken);
    play.cancel_lines(&[pieces(1, 1), pieces(2, 1)]).unwrap();
    assert_eq!(play.last_owed(), (PaymentOperation::Refund, 30));
    assert_eq!(play.order.payable(), eur(45));
    play.fulfill(&[]).unwrap();
    play.succeed_all();
    assert_eq!(play.states(), (State::Completed, PaymentState::PartiallyRefunded));

    let mut play = Play::held(placed_with(&[(2, "10")], 0));
    play.cancel_lines(&[pieces(1, 1)]).unwrap();
    play.fulfill(&[]).unwrap();
    play.succeed_all();
    assert_eq!(play.states(), (State::Completed, PaymentState::Captured));
    assert_eq!(play.last_owed(), (PaymentOperation::Void, 10), "nothing stays held");
}

#[test]
fn calling_every_piece_off_is_calling_the_order_off() {
    let mut play = Play::held(placed_with(&[(2, "50")], 0));
    play.cancel_lines(&[pieces(1, 1)]).unwrap();
    play.cancel_lines(&[pieces(1, 1)]).unwrap();
    assert_eq!(play.order.state, State::Cancelling);
    play.succeed_all();
    assert_eq!(play.states(), (State::Cancelled, PaymentState::Voided));

    let mut play = Play::held(placed_with(&[(2, "50")], 0));
    play.fulfill(&[pieces(1, 1)]).unwrap();
    assert_eq!(play.cancel(), Err(Refusal::HandedOver));
}

#[test]
fn refunds_by_line_sum_up_to_what_was_paid_for_it() {
    let mut play = Play::held(placed_with(&[(3, "33.333333"), (1, "1")], 0));
    let early = play.refund_lines(&[pieces(1, 1)]);
    assert_eq!(early, Err(Refusal::PiecesNotLeft { line: 1, left: 0 }), "it is called off instead");
    play.fulfill(&[]).unwrap();
    play.succeed_all();
    assert_eq!(play.refund_lines(&[pieces(1, 1)]), Ok(33));
    let second = play.refund_lines(&[pieces(1, 1)]);
    assert_eq!(second, Ok(33));
    let declines = *play.owed.last().unwrap();
    assert_eq!(play.refund_lines(&[pieces(1, 1), pieces(2, 1)]), Ok(34 + 1));
    assert_eq!(
        play.refund_lines(&[pieces(1, 1)]),
        Err(Refusal::PiecesNotLeft { line: 1, left: 0 })
    );
    assert!(play.settle(declines, &declined()).unwrap());
    assert_eq!(play.refund_lines(&[pieces(1, 1)]), Ok(33), "what was declined is left again");
    play.succeed_all();
    assert_eq!(play.states().1, PaymentState::Refunded);
}

#[test]
fn what_came_back_was_handed_over() {
    let mut play = Play::held(placed_with(&[(2, "50")], 0));
    assert_eq!(play.take_back(&[pieces(1, 1)]), Err(Refusal::PiecesNotLeft { line: 1, left: 0 }));
    play.fulfill(&[]).unwrap();
    play.take_back(&[pieces(1, 1)]).unwrap();
    assert_eq!(play.order.fulfillment_state(), FulfillmentState::PartiallyReturned);
    play.take_back(&[]).unwrap();
    assert_eq!(play.order.fulfillment_state(), FulfillmentState::Returned);
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

#[test]
fn money_taken_elsewhere_confirms_an_order() {
    let mut play = Play::new();
    assert_eq!(play.record(101), Err(Refusal::AmountNotLeft { left: eur(100) }));
    play.record(40).unwrap();
    assert_eq!((play.order.state, play.order.due()), (State::Pending, eur(60)));
    let hold = play.pay(None).unwrap();
    assert_eq!(play.record(60), Err(Refusal::PaymentInProgress), "it may be paid twice");
    assert!(play.settle(hold, &declined()).unwrap());
    play.record(60).unwrap();
    assert_eq!(play.states(), (State::Confirmed, PaymentState::Captured));
}

#[test]
fn money_that_a_person_has_to_hand_back_is_not_asked_of_the_gateway() {
    let mut play = Play::new();
    play.record(100).unwrap();
    play.cancel().unwrap();
    let back = play.order.payments[0].attempts.last().unwrap().id;
    assert_eq!(play.states(), (State::Cancelling, PaymentState::Parked));
    assert_eq!(play.owed, [back], "somebody looks after it");
    assert_eq!(play.resolve(back, Resolution::SendAgain), Err(Refusal::MovedElsewhere));
    play.resolve(back, Resolution::Succeeded).unwrap();
    assert_eq!(play.states(), (State::Cancelled, PaymentState::Refunded));
}

#[test]
fn an_order_whose_payment_decides_is_not_confirmed_by_hand() {
    let mut play = Play::new();
    let hold = play.pay(None).unwrap();
    let by_hand = |play: &Play| play.order.confirm(None, &stamp()).map(|a| a.order.state);
    assert_eq!(by_hand(&play), Err(Refusal::PaymentInProgress));
    assert!(play.settle(hold, &declined()).unwrap());
    assert_eq!(by_hand(&play), Ok(State::Confirmed));
    let confirmed = play.order.confirm(None, &stamp()).unwrap();
    play.take(confirmed);
    play.fulfill(&[]).unwrap();
    assert_eq!(play.order.state, State::Confirmed, "it was not paid after all");
    play.record(100).unwrap();
    assert_eq!(play.order.state, State::Completed);
}

#[test]
fn no_more_is_taken_than_an_order_comes_to() {
    let mut play = Play::held(placed_with(&[(2, "50")], 0));
    play.cancel_lines(&[pieces(1, 1)]).unwrap();
    assert_eq!(play.capture(Some(51)), Err(Refusal::AmountNotLeft { left: eur(50) }));
    let taken = play.capture(None);
    play.succeed(taken.unwrap());
    assert_eq!(play.capture(None), Err(Refusal::AmountNotLeft { left: eur(0) }));
}

#[test]
fn what_went_back_is_not_due_again_and_goods_never_go_out_for_it() {
    let mut play = Play::held(placed_with(&[(2, "50")], 0));
    let taken = play.capture(None).unwrap();
    play.succeed(taken);
    let back = play.refund(Some(40)).unwrap();
    play.succeed(back);
    assert_eq!(play.order.due(), eur(0));
    assert_eq!(play.pay(None), Err(Refusal::AmountNotLeft { left: eur(0) }));
    play.fulfill(&[]).unwrap();
    assert_eq!(play.states(), (State::Completed, PaymentState::PartiallyRefunded));
}

#[test]
fn what_is_called_off_goes_back_beside_what_was_given_back_before() {
    let mut play = Play::held(placed_with(&[(1, "50"), (1, "50")], 0));
    let taken = play.capture(None).unwrap();
    play.succeed(taken);
    play.fulfill(&[pieces(1, 1)]).unwrap();
    play.take_back(&[pieces(1, 1)]).unwrap();
    assert_eq!(play.refund_lines(&[pieces(1, 1)]), Ok(50));
    play.succeed_all();
    play.cancel_lines(&[pieces(2, 1)]).unwrap();
    assert_eq!(play.last_owed(), (PaymentOperation::Refund, 50));
    play.succeed_all();
    assert_eq!(play.states(), (State::Completed, PaymentState::Refunded));

    let mut play = Play::held(placed_with(&[(2, "50")], 0));
    let taken = play.capture(None).unwrap();
    play.succeed(taken);
    let goodwill = play.refund(Some(10)).unwrap();
    play.succeed(goodwill);
    play.cancel_lines(&[pieces(1, 1)]).unwrap();
    assert_eq!(play.last_owed(), (PaymentOperation::Refund, 50));
}

#[test]
fn a_hold_that_cannot_be_taken_covers_nothing_and_another_instrument_may_pay() {
    let mut play = Play::held(placed());
    play.fulfill(&[]).unwrap();
    let capture = *play.owed.last().unwrap();
    assert!(play.settle(capture, &declined()).unwrap());
    assert_eq!(play.order.due(), eur(100));
    let hold = play.pay(None).unwrap();
    play.succeed(hold);
    assert_eq!(play.last_owed(), (PaymentOperation::Capture, 100), "it is handed over already");
    play.succeed_all();
    assert_eq!(play.order.state, State::Completed);
    assert_eq!(play.order.sum(Payment::held), 0, "the first hold is let go of");
}

#[test]
fn what_was_paid_elsewhere_is_given_back_by_a_person() {
    let mut play = Play::new();
    play.record(100).unwrap();
    let back = play.refund(Some(30)).unwrap();
    assert_eq!(play.states().1, PaymentState::Parked);
    play.resolve(back, Resolution::Succeeded).unwrap();
    assert_eq!(play.states(), (State::Confirmed, PaymentState::PartiallyRefunded));
}

#[test]
fn send_again_goes_by_why_an_attempt_is_parked() {
    let mut play = Play::held(placed());
    play.cancel().unwrap();
    for _ in 1..MAX_DECLINES {
        let void = *play.owed.last().unwrap();
        assert!(play.settle(void, &declined()).unwrap());
    }
    let unknown = *play.owed.last().unwrap();
    let parked = play.order.doubt(unknown, Doubt::Parked, None, &stamp()).unwrap().unwrap();
    play.take(parked);
    assert!(play.resolve(unknown, Resolution::SendAgain).unwrap());
    assert_eq!(play.owed.last(), Some(&unknown), "nobody knows what became of it");
}

#[test]
fn a_part_that_covers_what_is_left_of_the_order_confirms_it() {
    let mut play = Play::of(placed_with(&[(2, "50")], 0));
    let part = play.pay(Some(50)).unwrap();
    play.succeed(part);
    play.cancel_lines(&[pieces(1, 1)]).unwrap();
    assert_eq!(play.order.state, State::Confirmed);
}

proptest! {
    #[test]
    fn money_is_never_made_and_a_cancelled_order_keeps_none(
        steps in prop::collection::vec((0_u8..15, 0_usize..6, -5_i64..120), 1..60)
    ) {
        let mut play = Play::of(placed_with(&[(3, "13.5"), (5, "10"), (1, "4")], 6));
        assert_eq!(play.order.payable(), eur(100));
        for (step, which, amount) in steps {
            let owed = play.owed.get(which % play.owed.len().max(1)).copied();
            let some = [pieces([1, 2, 3][which % 3], 1)];
            match (step, owed) {
                (0, _) => drop(play.pay(Some(amount))),
                (1, _) => drop(play.capture(Some(amount))),
                (2, _) => drop(play.refund(Some(amount))),
                (3, _) => drop(play.cancel()),
                (8, _) => drop(play.fulfill(&some)),
                (9, _) => drop(play.cancel_lines(&some)),
                (10, _) => drop(play.refund_lines(&some)),
                (11, _) => drop(play.take_back(&some)),
                (13, _) => drop(play.record(amount)),
                (14, _) => drop(play.expire()),
                (12, Some(attempt)) => drop(play.resolve(attempt, Resolution::ALL[which % 3])),
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
            let open = |p: &Payment| p.sum(PaymentOperation::Capture, AttemptState::is_unresolved);
            let taken: i64 = order.payments.iter().map(|p| p.captured() + open(p)).sum();
            prop_assert!((0..=100).contains(&taken), "{order:?}");
            if matches!(order.state, State::Cancelled | State::Expired) {
                prop_assert!(!order.has_money_out(), "{order:?}");
            }
        }
        play.succeed_all();
        // What was taken elsewhere goes back by hand.
        let parked = |a: &&Attempt| a.state == AttemptState::Parked;
        let by_hand = |play: &Play| {
            play.order.payments.iter().flat_map(|p| &p.attempts).find(parked).map(|a| a.id)
        };
        while let Some(attempt) = by_hand(&play) {
            play.resolve(attempt, Resolution::Succeeded).unwrap();
            play.succeed_all();
        }
        let order = &play.order;
        prop_assert_ne!(order.state, State::Cancelling);
        prop_assert!(!order.payments.iter().any(Payment::is_unresolved), "{order:?}");
        prop_assert!(order.sum(Payment::kept) <= order.payable().minor, "{order:?}");
        if order.state == State::Completed {
            prop_assert_eq!(order.sum(Payment::held), 0, "{:?}", order);
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
