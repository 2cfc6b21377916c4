//! Every error of the core as clients meet it, in one table.

use std::time::Duration;

use jiff::SignedDuration;
use orders_api::problem::Code;
use orders_testkit::Fault;
use serde_json::{Value, json};

use crate::shop::{Answer, Shop, get, json_body, order, order_with, post};

#[tokio::test]
async fn a_fault_of_the_store_says_what_is_known() {
    for (fault, status, code, after) in [
        (Fault::Busy, 503, "store-busy", "1"),
        (Fault::Unavailable, 503, "store-unavailable", "1"),
        (Fault::Full, 507, "store-full", ""),
    ] {
        let shop = Shop::new();
        shop.world.fail_next(fault);
        let answer = shop.create("a", &order()).await;
        assert_eq!(answer.problem(status, code)["retryable"], true);
        assert_eq!(answer.header("retry-after"), after);
        assert_eq!(shop.create("a", &order()).await.status, 201, "{code}: the same request again");
    }
    for (fault, code) in
        [(Fault::ReadBusy, "store-busy"), (Fault::ReadUnavailable, "store-unavailable")]
    {
        let shop = Shop::new();
        shop.world.fail_next(fault);
        shop.get("/v1/orders").await.problem(503, code);
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_said_to_be_unknown() {
    let shop = Shop::new();
    for _ in 0..4 {
        shop.world.fail_next(Fault::RequestLost);
    }
    let answer = shop.create("a", &order()).await;
    let problem = answer.problem(503, "outcome-unknown");
    assert_eq!(problem["retryable"], true);
    assert_eq!(shop.create("a", &order()).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_costs_no_more_than_the_deadline() {
    let shop = Shop::new();
    shop.world.fail_next(Fault::ReadSlow(Duration::from_mins(1)));
    let before = tokio::time::Instant::now();
    shop.get("/v1/orders").await.problem(504, "deadline-exceeded");
    assert!(before.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_taken_reference_leads_to_its_order() {
    let shop = Shop::new();
    let order = order_with(&json!({ "external_reference": "web-1" }));
    let id = shop.create("a", &order).await.json()["id"].as_str().unwrap().to_owned();
    let refused = shop.create("b", &order).await;
    let problem = refused.problem(409, "external-reference-taken");
    assert_eq!(problem["order"], format!("/v1/orders/{id}"));
    assert_eq!(refused.header("idempotent-replayed"), "");
    let again = shop.create("b", &order).await;
    again.problem(409, "external-reference-taken");
    assert_eq!(again.header("idempotent-replayed"), "true");
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let shop = Shop::new();
    shop.created("a").await;
    let other = order_with(&json!({ "customer_id": "c-2" }));
    shop.create("a", &other).await.problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn an_old_key_leads_to_its_order() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    shop.world.clock().jump(SignedDuration::from_hours(8 * 24));
    let problem = shop.create("a", &order()).await.problem(409, "idempotency-key-expired");
    assert_eq!(problem["order"], format!("/v1/orders/{id}"));
}

#[tokio::test]
async fn a_wrong_total_is_told_with_both() {
    let shop = Shop::new();
    let order =
        order_with(&json!({ "expected_total": { "amount_minor": "400", "currency": "EUR" } }));
    let problem = shop.create("a", &order).await.problem(422, "total-mismatch");
    assert_eq!(problem["expected_total"], json!({ "amount_minor": "400", "currency": "EUR" }));
    assert_eq!(
        problem["computed_totals"]["total"],
        json!({ "amount_minor": "399", "currency": "EUR" })
    );
}

#[tokio::test]
async fn notes_have_an_end() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let note = async || -> Answer {
        let request = post(&format!("/v1/orders/{id}/notes"));
        shop.send(json_body(request, &json!({ "text": "again" }))).await
    };
    for _ in 0..100 {
        assert_eq!(note().await.status, 200);
    }
    note().await.problem(409, "notes-full");
}

#[tokio::test]
async fn a_forgotten_position_leads_to_the_oldest() {
    let shop = Shop::new();
    shop.created("a").await;
    shop.created("b").await;
    shop.world.clock().jump(SignedDuration::from_hours(91 * 24));
    shop.created("c").await;
    let cx = orders_testkit::builders::context("shop");
    while shop.world.orders().forget(&cx).await.unwrap().events > 0 {}
    for request in
        [get("/v1/events?after=1"), get("/v1/events?after=1").header("accept", "text/event-stream")]
    {
        let answer = shop.send(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(answer.problem(410, "cursor-too-old")["oldest_position"], "3");
    }
}

/// The rest of the table needs no world: what the core says is what the client gets.
#[test]
fn every_error_of_the_core_has_its_code() {
    use orders::{Error, domain::State, ports::NotWritten};
    let cx = orders_testkit::builders::context("shop");
    let id = orders::domain::OrderId(uuid::Uuid::from_u128(7));
    let refused = |refusal| Error::Refused { refusal, replayed: false };
    let illegal = orders::Refusal::IllegalTransition {
        state: State::Expired,
        command: orders::domain::Command::Confirm,
    };
    for (error, code) in [
        (Error::Unauthenticated, Code::Unauthenticated),
        (Error::Invalid(Vec::new()), Code::Invalid),
        (Error::NotFound, Code::NotFound),
        (refused(illegal), Code::IllegalTransition),
        (refused(orders::Refusal::NotesFull), Code::NotesFull),
        (
            refused(orders::Refusal::ExternalReferenceTaken { order: id }),
            Code::ExternalReferenceTaken,
        ),
        (Error::KeyReused, Code::KeyReused),
        (Error::KeyExpired { order: id }, Code::KeyExpired),
        (
            Error::VersionMismatch { current: orders_testkit::builders::version(3) },
            Code::VersionMismatch,
        ),
        (Error::Contended, Code::Contended),
        (Error::CursorTooOld { oldest: orders::domain::Position(3) }, Code::CursorTooOld),
        (Error::NotWritten(NotWritten::Busy), Code::StoreBusy),
        (Error::NotWritten(NotWritten::Expired), Code::DeadlineExceeded),
        (Error::NotWritten(NotWritten::Full), Code::StoreFull),
        (Error::DeadlineExceeded, Code::DeadlineExceeded),
        (Error::Unavailable(Some("secret address".into())), Code::StoreUnavailable),
        (Error::OutcomeUnknown, Code::OutcomeUnknown),
    ] {
        let problem = orders_api::problem::Problem::from(error);
        assert_eq!(problem.code, code);
        let body: Value = serde_json::to_value(problem.body(&cx)).unwrap();
        assert_eq!(body["retryable"], code.retryable());
        assert!(!body.to_string().contains("secret"), "a cause is for the log: {body}");
    }
}
