//! What the gateway tells unasked: it ends the same however often and when it is told.

use orders::{
    Error, Orders,
    domain::{
        AttemptId, Money, OrderId, Outcome, PaymentId, PaymentOperation, PaymentState, State,
    },
    ports::OrderRef,
    usecase::{Action, Heard, Notification, Part, Policy},
};
use orders_testkit::{
    Fault, GatewayFault, World,
    builders::{cancel, context},
};

use crate::pay::{act, charges, pay, placed, states, turn, work, worker};

/// What the gateway would tell of the newest attempt: that it has succeeded.
async fn told(orders: &Orders<World>, order: OrderId) -> Notification {
    let order = orders.get(&context("acme"), OrderRef::Id(order)).await.unwrap().order;
    let payment = order.payments.last().unwrap();
    let attempt = payment.attempts.last().unwrap();
    Notification {
        attempt: attempt.id,
        payment: payment.id,
        operation: attempt.operation,
        amount: Some(attempt.amount),
        outcome: Outcome::Succeeded,
    }
}

async fn hear(orders: &Orders<World>, told: &Notification) -> Heard {
    orders.hear(&worker(), told).await.unwrap()
}

async fn version(orders: &Orders<World>, order: OrderId) -> u64 {
    let record = orders.get(&context("acme"), OrderRef::Id(order)).await.unwrap();
    record.order.version.get()
}

#[tokio::test(start_paused = true)]
async fn a_notification_ends_the_same_however_often_and_late() {
    let (world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    world.gateway_fails_next(GatewayFault::ReplyLost);
    turn(&orders).await;
    let told = told(&orders, id).await;
    for _ in 0..3 {
        hear(&orders, &told).await;
        assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Authorized));
    }
    work(&orders, 5).await;
    assert_eq!(hear(&orders, &told).await, Heard::NoNews, "nothing is owed any more");
    assert_eq!((version(&orders, id).await, charges(&world)), (4, vec!["authorize 399".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_notification_may_come_before_the_answer() {
    let (world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    assert_eq!(hear(&orders, &told(&orders, id).await).await, Heard::News);
    assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Authorized));
    turn(&orders).await;
    assert_eq!((version(&orders, id).await, turn(&orders).await), (3, Vec::new()));
    assert_eq!(charges(&world), [""; 0], "an attempt that has its outcome is not sent");
}

#[tokio::test(start_paused = true)]
async fn a_notification_of_anything_else_than_was_asked_changes_nothing() {
    let (_world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    let right = told(&orders, id).await;
    let eur = "EUR".parse().unwrap();
    for (what, wrong) in [
        ("operation", Notification { operation: PaymentOperation::Refund, ..right.clone() }),
        ("payment", Notification { payment: PaymentId(id.0), ..right.clone() }),
        ("amount", Notification { amount: Some(Money::new(398, eur)), ..right.clone() }),
        (
            "amount",
            Notification { amount: Some(Money::new(399, "USD".parse().unwrap())), ..right.clone() },
        ),
        ("amount", Notification { amount: None, ..right.clone() }),
    ] {
        assert_eq!(hear(&orders, &wrong).await, Heard::Misfit { what });
        assert_eq!(version(&orders, id).await, 2, "{what}");
    }
    assert_eq!(hear(&orders, &right).await, Heard::News);
}

#[tokio::test(start_paused = true)]
async fn a_void_that_was_declined_has_no_amount() {
    let (_world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    turn(&orders).await;
    orders.act(&context("acme"), cancel(id, "changed their mind")).await.unwrap();
    let succeeded = told(&orders, id).await;
    assert_eq!(succeeded.operation, PaymentOperation::Void);
    let declined = Outcome::Declined("already-voided".parse().unwrap());
    let declined = Notification { amount: None, outcome: declined, ..succeeded.clone() };
    let without = Notification { amount: None, ..succeeded };
    assert_eq!(hear(&orders, &without).await, Heard::Misfit { what: "amount" });
    assert_eq!(hear(&orders, &declined).await, Heard::News);
    assert_eq!(states(&orders, id).await, (State::Cancelling, PaymentState::Authorized));
}

#[tokio::test(start_paused = true)]
async fn a_notification_of_what_we_never_asked_for_is_no_news() {
    let (_world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    let nobody = Notification { attempt: AttemptId(id.0), ..told(&orders, id).await };
    assert_eq!(hear(&orders, &nobody).await, Heard::NoNews);
    assert_eq!(version(&orders, id).await, 2);
}

#[tokio::test(start_paused = true)]
async fn an_older_notification_after_a_newer_one_is_no_news() {
    let (_world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    let authorized = told(&orders, id).await;
    turn(&orders).await;
    act(&orders, id, Action::Capture(Part::default()), "capture").await;
    assert_eq!(hear(&orders, &told(&orders, id).await).await, Heard::News);
    assert_eq!(hear(&orders, &authorized).await, Heard::NoNews);
    let declined = Outcome::Declined("card-declined".parse().unwrap());
    let declined = Notification { outcome: declined, ..authorized };
    assert_eq!(hear(&orders, &declined).await, Heard::NoNews, "an outcome is final");
    assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Captured));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_has_heard_nothing() {
    let (world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    let told = told(&orders, id).await;
    for fault in [Fault::ReadUnavailable, Fault::Unavailable] {
        world.fail_next(fault);
        let error = orders.hear(&worker(), &told).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        assert_eq!(version(&orders, id).await, 2);
    }
    assert_eq!(hear(&orders, &told).await, Heard::News);
}
