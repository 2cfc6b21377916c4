//! What holds whatever clients, the worker and the gateway do.

use proptest::prelude::*;

use super::*;

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
