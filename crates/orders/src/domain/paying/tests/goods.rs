//! Money that follows the goods: what is handed over, called off and brought back.

use super::*;
use crate::domain::FulfillmentState;

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
fn a_part_that_covers_what_is_left_of_the_order_confirms_it() {
    let mut play = Play::of(placed_with(&[(2, "50")], 0));
    let part = play.pay(Some(50)).unwrap();
    play.succeed(part);
    play.cancel_lines(&[pieces(1, 1)]).unwrap();
    assert_eq!(play.order.state, State::Confirmed);
}
