//! Paying: what a worker makes of it, whatever the gateway and the process do.

use std::time::Duration;

use jiff::SignedDuration;
use mainstay_context::Context;
use orders::{
    Error, Orders, Refusal,
    domain::{OrderId, PaymentOperation, PaymentState, State},
    ports::{OrderRef, Page},
    usecase::{Action, Came, Part, Policy, Verb},
};
use orders_testkit::{
    Effect, Faults, GatewayFault, GatewayFaults, World,
    builders::{cancel, context, draft, key},
};

/// A world whose clock runs, with one order of 3.99 EUR.
pub(crate) async fn placed(policy: Policy) -> (World, Orders<World>, OrderId) {
    let world = World::new(1);
    world.clock().run();
    let orders = world.orders_with(policy);
    let id = orders.create(&context("acme"), draft(), key("a")).await.unwrap().record.order.id;
    (world, orders, id)
}

fn verb(order: OrderId, action: Action, name: &str) -> Verb {
    Verb { order: OrderRef::Id(order), action, key: Some(key(name)), if_match: None }
}

pub(crate) fn pay() -> Action {
    Action::Pay { instrument: "tok_ok".parse().unwrap(), amount: None }
}

pub(crate) async fn act(orders: &Orders<World>, order: OrderId, action: Action, name: &str) {
    orders.act(&context("acme"), verb(order, action, name)).await.unwrap();
}

/// The worker's own context.
pub(crate) fn worker() -> Context {
    Context::new("worker".parse().unwrap())
}

/// Takes every task that is due, once.
pub(crate) async fn turn(orders: &Orders<World>) -> Vec<Came> {
    let mut came = Vec::new();
    for leased in orders.take_tasks(&worker(), 100).await.unwrap() {
        came.push(orders.carry_on(&worker(), &leased).await.unwrap());
    }
    came
}

/// Works for this long, once a second.
pub(crate) async fn work(orders: &Orders<World>, seconds: u64) {
    for _ in 0..seconds {
        turn(orders).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

pub(crate) async fn states(orders: &Orders<World>, order: OrderId) -> (State, PaymentState) {
    let order = orders.get(&context("acme"), OrderRef::Id(order)).await.unwrap().order;
    (order.state, order.payment_state())
}

/// What really happened, as `authorize 399`.
pub(crate) fn charges(world: &World) -> Vec<String> {
    world.charges().iter().map(|effect| format!("{} {}", effect.operation, effect.minor)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_order_is_paid_captured_and_refunded() {
    let (world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    assert_eq!(states(&orders, id).await, (State::Pending, PaymentState::Pending));
    assert_eq!(turn(&orders).await, [Came::Finished]);
    assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Authorized));
    act(&orders, id, Action::Capture(Part::default()), "capture").await;
    turn(&orders).await;
    assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Captured));
    act(&orders, id, Action::Refund(Part::default()), "refund").await;
    turn(&orders).await;
    assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Refunded));
    assert_eq!(charges(&world), ["authorize 399", "capture 399", "refund 399"]);
    assert_eq!(turn(&orders).await, []);
    let page = Page { after: None, limit: 100 };
    let history = orders.history(&context("acme"), OrderRef::Id(id), page).await.unwrap();
    let commands: Vec<_> = history.iter().map(|entry| entry.command.as_str()).collect();
    assert_eq!(
        commands,
        ["place", "pay", "confirm", "capture", "settle-payment", "refund", "settle-payment"]
    );
    let feed = orders.feed(&context("acme"), Page { after: None, limit: 99 }).await.unwrap();
    assert_eq!(feed.events.len(), commands.len());
    assert!(feed.events.iter().all(|event| !event.data.contains("tok_ok")));
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_a_pay_is_the_same_pay_and_another_card_is_another_command() {
    let (world, orders, id) = placed(Policy::default()).await;
    let cx = context("acme");
    act(&orders, id, pay(), "pay").await;
    let again = orders.act(&cx, verb(id, pay(), "pay")).await.unwrap();
    assert!(again.replayed);
    let other = Action::Pay { instrument: "tok_other".parse().unwrap(), amount: None };
    let error = orders.act(&cx, verb(id, other.clone(), "pay")).await.unwrap_err();
    assert!(matches!(error, Error::KeyReused), "{error:?}");
    let error = orders.act(&cx, verb(id, other, "pay-2")).await.unwrap_err();
    let refused = |refusal| matches!(error, Error::Refused { refusal: r, .. } if r == refusal);
    assert!(refused(Refusal::PaymentInProgress), "{error:?}");
    work(&orders, 5).await;
    assert_eq!(charges(&world), ["authorize 399"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_out_and_never_guessed() {
    for fault in [
        GatewayFault::ReplyLost,
        GatewayFault::RequestLost,
        GatewayFault::Late(Duration::from_secs(20)),
    ] {
        let (world, orders, id) = placed(Policy::default()).await;
        act(&orders, id, pay(), "pay").await;
        world.gateway_fails_next(fault);
        assert!(matches!(turn(&orders).await[..], [Came::Kept(_)]), "{fault:?}");
        assert_eq!(states(&orders, id).await, (State::Pending, PaymentState::Unknown));
        work(&orders, 40).await;
        assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Authorized));
        assert_eq!(charges(&world), ["authorize 399"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_decline_leaves_the_order_to_be_paid_otherwise() {
    let (world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    world.gateway_fails_next(GatewayFault::Declined);
    turn(&orders).await;
    assert_eq!(states(&orders, id).await, (State::Pending, PaymentState::Declined));
    act(&orders, id, pay(), "pay-2").await;
    turn(&orders).await;
    assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Authorized));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_away_is_tried_until_it_is_back() {
    let (world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    for _ in 0..4 {
        world.gateway_fails_next(GatewayFault::NotSent);
    }
    assert!(matches!(turn(&orders).await[..], [Came::Kept(_)]));
    assert_eq!(
        states(&orders, id).await,
        (State::Pending, PaymentState::Pending),
        "surely not sent"
    );
    work(&orders, 40).await;
    assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Authorized));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_found_out_in_the_keys_time_waits_for_a_person() {
    let (world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    world.gateway_fails_next(GatewayFault::RequestLost);
    turn(&orders).await;
    world.clock().jump(SignedDuration::from_hours(24));
    assert_eq!(turn(&orders).await, [Came::Parked]);
    assert_eq!(states(&orders, id).await, (State::Pending, PaymentState::Parked));
    assert_eq!(turn(&orders).await, []);
    assert_eq!(charges(&world), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_gateway_contradicts_waits_for_a_person_until_it_tells_the_truth() {
    let (world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    world.gateway_fails_next(GatewayFault::ReplyLost);
    for _ in 0..11 {
        world.gateway_fails_next(GatewayFault::LookUpContradicts);
    }
    work(&orders, 120).await;
    assert_eq!(states(&orders, id).await, (State::Pending, PaymentState::Unknown));
    work(&orders, 480).await;
    assert_eq!(states(&orders, id).await, (State::Pending, PaymentState::Parked));
    let page = Page { after: None, limit: 100 };
    let history = orders.history(&context("acme"), OrderRef::Id(id), page).await.unwrap();
    let reason = history.last().unwrap().reason.as_ref().map(ToString::to_string);
    assert_eq!(reason.as_deref(), Some("another amount"));
    work(&orders, 2 * 3_600).await;
    assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Authorized));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_too_long_is_let_go_of_and_asked_again_while_the_gateway_declines() {
    let hold_for = Some(SignedDuration::from_mins(1));
    let (world, orders, id) = placed(Policy { hold_for, ..Policy::default() }).await;
    act(&orders, id, pay(), "pay").await;
    work(&orders, 50).await;
    assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Authorized));
    world.set_gateway_faults(GatewayFaults { declined_later: 1_000, ..GatewayFaults::default() });
    work(&orders, 20).await;
    let order = orders.get(&context("acme"), OrderRef::Id(id)).await.unwrap().order;
    assert_eq!(order.payments[0].attempts.len(), 2, "it is declined for now");
    world.set_gateway_faults(GatewayFaults::default());
    work(&orders, 2 * 3_600).await;
    assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Voided));
    assert_eq!(charges(&world), ["authorize 399", "void 399"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_is_not_sent_for_an_order_that_is_called_off() {
    let (world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    world.gateway_fails_next(GatewayFault::NotSent);
    turn(&orders).await;
    orders.act(&context("acme"), cancel(id, "changed their mind")).await.unwrap();
    work(&orders, 10).await;
    assert_eq!(states(&orders, id).await, (State::Cancelled, PaymentState::Declined));
    assert_eq!(charges(&world), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_holds_no_task_up() {
    let (world, orders, id) = placed(Policy::default()).await;
    world.clock().jump(SignedDuration::from_hours(10 * 365 * 24));
    act(&orders, id, pay(), "pay").await;
    world.gateway_fails_next(GatewayFault::NotSent);
    turn(&orders).await;
    world.clock().jump(-SignedDuration::from_hours(10 * 365 * 24));
    work(&orders, 10).await;
    assert_eq!(states(&orders, id).await, (State::Confirmed, PaymentState::Authorized));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_too_slow_writes_nothing() {
    let (world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    let [slow] = &orders.take_tasks(&worker(), 9).await.unwrap()[..] else { panic!() };
    world.clock().jump(SignedDuration::from_secs(31));
    let [quick] = &orders.take_tasks(&worker(), 9).await.unwrap()[..] else { panic!() };
    assert_eq!((slow.epoch, quick.epoch), (1, 2));
    assert_eq!(orders.carry_on(&worker(), slow).await.unwrap(), Came::Lost);
    assert_eq!(charges(&world), [""; 0], "it did not even send");
    assert_eq!(orders.carry_on(&worker(), quick).await.unwrap(), Came::Finished);
    assert_eq!(orders.carry_on(&worker(), slow).await.unwrap(), Came::Lost);
    assert_eq!(charges(&world), ["authorize 399"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_gives_back_what_is_out_and_waits_for_what_may_be() {
    let (world, orders, id) = placed(Policy::default()).await;
    act(&orders, id, pay(), "pay").await;
    world.gateway_fails_next(GatewayFault::ReplyLost);
    turn(&orders).await;
    orders.act(&context("acme"), cancel(id, "changed their mind")).await.unwrap();
    assert_eq!(states(&orders, id).await, (State::Cancelling, PaymentState::Unknown));
    work(&orders, 10).await;
    assert_eq!(states(&orders, id).await, (State::Cancelled, PaymentState::Voided));
    assert_eq!(charges(&world), ["authorize 399", "void 399"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_nobody_pays_expires_and_a_paid_one_does_not() {
    let within = SignedDuration::from_mins(15);
    let policy = || Policy { pay_within: Some(within), ..Policy::default() };
    let (world, orders, unpaid) = placed(policy()).await;
    let paid = orders.create(&context("acme"), draft(), key("b")).await.unwrap().record.order.id;
    let slow = orders.create(&context("acme"), draft(), key("c")).await.unwrap().record.order.id;
    act(&orders, paid, pay(), "pay").await;
    turn(&orders).await;
    act(&orders, slow, pay(), "pay-slow").await;
    world.gateway_fails_next(GatewayFault::RequestLost);
    for _ in 0..60 {
        world.gateway_fails_next(GatewayFault::LookUpFails);
    }
    turn(&orders).await;
    world.clock().jump(within);
    turn(&orders).await;
    assert_eq!(states(&orders, unpaid).await.0, State::Expired);
    assert_eq!(states(&orders, paid).await.0, State::Confirmed);
    assert_eq!(states(&orders, slow).await, (State::Pending, PaymentState::Unknown));
    work(&orders, 6_000).await;
    assert_eq!(states(&orders, slow).await.0, State::Confirmed, "its money came after all");
}

/// Faults of every kind on both sides.
fn make_trouble(world: &World) {
    world.set_gateway_faults(GatewayFaults {
        latency: Duration::from_millis(500),
        not_sent: 200,
        lost: 300,
        look_ups: 200,
        ..GatewayFaults::default()
    });
    world.set_faults(Faults {
        latency: Duration::from_millis(20),
        busy: 50,
        unavailable: 50,
        lost: 100,
        late: 50,
        reads: 50,
        ..Faults::default()
    });
}

/// Works for 40 s; every fourth round dies in the middle, as the process would.
async fn work_and_die(orders: &Orders<World>) {
    for round in 0..40_u64 {
        for leased in orders.take_tasks(&worker(), 3).await.unwrap_or_default() {
            let cx = worker();
            let work = orders.carry_on(&cx, &leased);
            if round % 4 == 0 {
                let dies = Duration::from_millis((round * 37) % 400);
                let _died = tokio::time::timeout(dies, work).await.is_err();
            } else {
                let _tried_again = work.await.is_err();
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// P3, in small: whatever is lost on either side, and whenever the process dies, an order is charged
/// once and ends known.
#[tokio::test(start_paused = true)]
async fn nothing_is_charged_twice_and_nothing_stays_unknown() {
    for seed in 0..60 {
        let world = World::new(seed);
        world.clock().run();
        let (orders, cx) = (world.orders(), context("acme"));
        let mut ids = Vec::new();
        for n in 0..10 {
            let done = orders.create(&cx, draft(), key(&format!("{n}"))).await.unwrap();
            ids.push(done.record.order.id);
            act(&orders, done.record.order.id, pay(), &format!("pay-{n}")).await;
        }
        make_trouble(&world);
        work_and_die(&orders).await;
        world.set_faults(Faults::default());
        world.set_gateway_faults(GatewayFaults::default());
        work(&orders, 200).await;
        for id in ids {
            let order = orders.get(&cx, OrderRef::Id(id)).await.unwrap().order;
            let charged = |effect: &&Effect| {
                effect.payment == order.payments[0].id
                    && effect.operation == PaymentOperation::Authorize
            };
            assert_eq!(world.charges().iter().filter(charged).count(), 1, "seed {seed}");
            let known = (State::Confirmed, PaymentState::Authorized);
            assert_eq!((order.state, order.payment_state()), known, "seed {seed}");
        }
    }
}
