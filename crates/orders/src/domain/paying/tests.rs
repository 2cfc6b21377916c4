use jiff::Timestamp;
use mainstay_context::TraceContext;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::{ChangeId, Draft, DraftLine, OrderId, OrderNumber, PaymentState, UnitPrice};

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
    assert_eq!((whole.state, whole.payment_state()), (State::Confirmed, PaymentState::Captured));
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
