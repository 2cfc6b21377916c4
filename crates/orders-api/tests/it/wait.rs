//! `Prefer: wait=N`: the answer comes when the payments have settled, and never later than asked.

use std::{future::Future, time::Duration};

use mainstay::lifecycle::Phase;
use orders_testkit::{Fault, GatewayFault};
use tokio::time::{Instant, sleep};

use crate::shop::{Answer, Shop, json_body, long, order, post};

const WAIT: &[(&str, &str)] = &[("prefer", "wait=5"), ("x-request-timeout-ms", "8000")];

/// The answer, with the worker at work so many milliseconds after it was asked for, and how long it
/// took.
async fn worked_after(
    shop: &Shop,
    millis: u64,
    ask: impl Future<Output = Answer>,
) -> (Answer, Duration) {
    let began = Instant::now();
    let work = async {
        sleep(Duration::from_millis(millis)).await;
        shop.work().await;
    };
    let timed = async { (ask.await, began.elapsed()) };
    tokio::join!(timed, work).0
}

/// Asserts a status, whether a wait was followed, and where the money is.
#[track_caller]
fn says(answer: &Answer, status: u16, applied: &str, payment_state: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("preference-applied"), applied);
    assert_eq!(answer.json()["payment_state"], payment_state);
    assert_eq!(answer.header("etag"), format!("\"v{}\"", answer.json()["version"]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_until_the_payment_has_settled() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let (paid, took) = worked_after(&shop, 700, shop.pay(&id, WAIT)).await;
    says(&paid, 202, "wait=5", "AUTHORIZED");
    assert_eq!(paid.json()["state"], "CONFIRMED");
    assert!((700..800).contains(&took.as_millis()), "{took:?}");
    for (verb, state) in [("capture", "CAPTURED"), ("refund", "REFUNDED")] {
        let key = long(verb);
        let headers = [("idempotency-key", key.as_str()), WAIT[0], WAIT[1]];
        let (answer, _) = worked_after(&shop, 700, shop.verb(&id, verb, &headers)).await;
        says(&answer, 202, "wait=5", state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_waits_until_the_money_is_back() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    worked_after(&shop, 100, shop.pay(&id, WAIT)).await;
    let (cancelled, _) = worked_after(&shop, 100, shop.verb(&id, "cancel", WAIT)).await;
    says(&cancelled, 200, "wait=5", "VOIDED");
    assert_eq!(cancelled.json()["state"], "CANCELLED");
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_open_nothing_waits() {
    let shop = Shop::new();
    let began = Instant::now();
    let request =
        post("/v1/orders").header("idempotency-key", long("a")).header("prefer", "wait=5");
    says(&shop.send(json_body(request, &order())).await, 201, "wait=5", "NONE");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_after_the_time_whatever_the_payment_does() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let began = Instant::now();
    says(&shop.pay(&id, WAIT).await, 202, "wait=5", "PENDING");
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_in_time_for_the_deadline() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    for (deadline, least, most) in [("", 1_800, 1_950), ("1000", 800, 950), ("50", 0, 50)] {
        let began = Instant::now();
        let headers = [("prefer", "wait=60"), ("x-request-timeout-ms", deadline)];
        let headers = if deadline.is_empty() { &headers[..1] } else { &headers };
        says(&shop.pay(&id, headers).await, 202, "wait=60", "PENDING");
        let took = began.elapsed().as_millis();
        assert!((least..=most).contains(&took), "{deadline}: {took}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_waits_too() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    assert_eq!(shop.pay(&id, &[]).await.header("preference-applied"), "");
    let (again, _) = worked_after(&shop, 300, shop.pay(&id, WAIT)).await;
    says(&again, 202, "wait=5", "AUTHORIZED");
    assert_eq!(again.header("idempotent-replayed"), "true");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_in_doubt_is_waited_for_and_one_for_a_person_is_not() {
    let shop = Shop::new();
    shop.world.clock().run();
    let id = shop.created("a").await;
    shop.world.gateway_fails_next(GatewayFault::RequestLost);
    let began = Instant::now();
    let (unknown, _) = worked_after(&shop, 100, shop.pay(&id, WAIT)).await;
    says(&unknown, 202, "wait=5", "UNKNOWN");
    assert_eq!(began.elapsed().as_secs(), 5);
    shop.world.clock().jump(jiff::SignedDuration::from_hours(24));
    let (parked, took) = worked_after(&shop, 100, shop.pay(&id, WAIT)).await;
    says(&parked, 202, "wait=5", "PARKED");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_a_wait_at_once() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let began = Instant::now();
    let drain = async {
        sleep(Duration::from_secs(1)).await;
        shop.phase.send_replace(Phase::LameDuck);
        sleep(Duration::from_secs(1)).await;
        shop.phase.send_replace(Phase::Draining);
    };
    let (answer, ()) = tokio::join!(shop.pay(&id, WAIT), drain);
    says(&answer, 202, "", "PENDING");
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_costs_a_wait_and_no_change() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let fail = async {
        sleep(Duration::from_millis(100)).await;
        // Another order's event wakes the wait, and it finds the store away.
        shop.created("b").await;
        shop.world.fail_next(Fault::ReadUnavailable);
        shop.world.fail_next(Fault::ReadBusy);
        sleep(Duration::from_secs(1)).await;
        shop.work().await;
    };
    let (answer, ()) = tokio::join!(shop.pay(&id, WAIT), fail);
    says(&answer, 202, "wait=5", "AUTHORIZED");
    let capture = [("idempotency-key", "capture-00000000"), WAIT[0], WAIT[1]];
    let break_off = async {
        sleep(Duration::from_millis(100)).await;
        for _ in 0..100 {
            shop.world.fail_next(Fault::ReadUnavailable);
        }
        shop.phase.send_replace(Phase::Draining);
    };
    let (answer, ()) = tokio::join!(shop.verb(&id, "capture", &capture), break_off);
    says(&answer, 202, "", "AUTHORIZED");
}

#[tokio::test(start_paused = true)]
async fn others_events_do_not_end_a_wait() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let others = async {
        for number in 0..250 {
            sleep(Duration::from_millis(3)).await;
            shop.created(&format!("other-{number}")).await;
        }
        shop.work().await;
    };
    let began = Instant::now();
    let (answer, ()) = tokio::join!(shop.pay(&id, WAIT), others);
    says(&answer, 202, "wait=5", "AUTHORIZED");
    assert!((750..1_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_no_seat_is_answered_at_once() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    shop.pay(&id, &[]).await;
    let all = (0..257).map(|_| shop.pay(&id, WAIT));
    let answers = futures_util::future::join_all(all).await;
    let at_once = answers.iter().filter(|answer| answer.header("preference-applied").is_empty());
    assert_eq!(at_once.count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 202));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_or_is_not_known_is_ignored() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let began = Instant::now();
    for prefer in ["wait=soon", "respond-async", "wait", "x=\"wait=5", "return=minimal"] {
        says(&shop.pay(&id, &[("prefer", prefer)]).await, 202, "", "PENDING");
    }
    shop.verb(&id, "capture", WAIT).await.problem(400, "idempotency-key-missing");
    assert_eq!(began.elapsed(), Duration::ZERO, "nor does a problem wait");
}
