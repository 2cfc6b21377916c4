//! What a person decides, and money that moved elsewhere.

use super::*;

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
