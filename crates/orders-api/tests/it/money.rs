//! Money and goods of an order, by the API.

use orders_testkit::GatewayFault;
use serde_json::{Value, json};

use crate::shop::{Shop, json_body, long, order, order_with, post};

fn minor(money: &Value) -> &str {
    money["amount_minor"].as_str().unwrap()
}

/// An order of 2 teas at 1.995 EUR and one cup at 10 EUR that is paid for as it is placed.
fn paid() -> Value {
    order_with(&json!({
        "lines": [
            { "sku": "tea", "quantity": 2, "unit_price": { "amount_minor": "199.5", "currency": "EUR" } },
            { "sku": "cup", "quantity": 1, "unit_price": { "amount_minor": "1000", "currency": "EUR" } },
        ],
        "payment": { "instrument": "tok_ok" },
    }))
}

#[tokio::test]
async fn an_order_is_paid_as_it_is_placed_and_taken_as_it_is_handed_over() {
    let shop = Shop::new();
    let placed = shop.create("a", &paid()).await.json();
    let id = placed["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&placed["state"], &placed["payment_state"]),
        (&json!("PENDING"), &json!("PENDING"))
    );
    assert_eq!(shop.create("a", &paid()).await.header("idempotent-replayed"), "true");
    let other = order_with(&json!({ "payment": { "instrument": "tok_other" } }));
    shop.create("a", &other).await.problem(422, "idempotency-key-reused");
    shop.work().await;

    let some = json!({ "lines": [{ "line_no": 1, "quantity": 1 }], "reason": "parcel 1" });
    let handed = shop.tell(&id, "fulfillments", "f-1", &some).await;
    assert_eq!(handed.status, 200, "{}", handed.text());
    assert_eq!(handed.json()["fulfillment_state"], "PARTIALLY_FULFILLED");
    assert_eq!(handed.json()["lines"][0]["fulfilled"], 1);
    let again = shop.tell(&id, "fulfillments", "f-1", &some).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.json()["version"], handed.json()["version"]);
    shop.work().await;
    let problem = shop.tell(&id, "cancel", "c-1", &json!({})).await;
    problem.problem(409, "handed-over");
    let cup = json!({ "lines": [{ "line_no": 2, "quantity": 1 }] });
    let rest = shop.tell(&id, "cancel", "c-2", &cup).await.json();
    assert_eq!((&rest["state"], &rest["lines"][1]["cancelled"]), (&json!("CONFIRMED"), &json!(1)));
    shop.tell(&id, "fulfillments", "f-2", &json!({})).await;
    shop.work().await;

    let whole = shop.get(&format!("/v1/orders/{id}")).await.json();
    assert_eq!(
        (&whole["state"], &whole["payment_state"]),
        (&json!("COMPLETED"), &json!("CAPTURED"))
    );
    let payment = &whole["payments"][0];
    assert_eq!((minor(&payment["captured"]), minor(&payment["voided"])), ("399", "1000"));
    assert_eq!((minor(&whole["payable"]), minor(&whole["due"])), ("399", "0"));
    let back = shop.tell(&id, "return", "r-1", &json!({})).await.json();
    assert_eq!(back["fulfillment_state"], "RETURNED");
}

#[tokio::test]
async fn a_refund_by_line_gives_back_what_was_paid_for_the_pieces() {
    let shop = Shop::new();
    let id = shop.create("a", &paid()).await.json()["id"].as_str().unwrap().to_owned();
    shop.work().await;
    shop.tell(&id, "fulfillments", "handed-over", &json!({})).await;
    shop.work().await;
    let one = json!({ "lines": [{ "line_no": 1, "quantity": 1 }] });
    for (key, amount) in [("r-1", "199"), ("r-2", "200")] {
        let accepted = shop.tell(&id, "refund", key, &one).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text());
        shop.work().await;
        let order = shop.get(&format!("/v1/orders/{id}")).await.json();
        let operation =
            order["payments"][0]["operations"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(
            (minor(&operation["amount"]), &operation["state"]),
            (amount, &json!("SUCCEEDED"))
        );
    }
    shop.tell(&id, "refund", "r-3", &one).await.problem(409, "pieces-not-left");
    let none = json!({ "lines": [{ "line_no": 9, "quantity": 1 }] });
    shop.tell(&id, "refund", "r-4", &none).await.problem(409, "no-such-line");
    let both = json!({ "lines": [{ "line_no": 2, "quantity": 1 }],
        "amount": { "amount_minor": "1", "currency": "EUR" } });
    let problem = shop.tell(&id, "refund", "r-5", &both).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["code"], "amount-or-lines");
}

#[tokio::test]
async fn pieces_that_cannot_be_are_told_each_by_its_place() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let wrong =
        json!({ "lines": [{ "line_no": 0, "quantity": 1 }, { "line_no": 1, "quantity": 0 }] });
    let problem = shop.tell(&id, "cancel", "c-1", &wrong).await.problem(422, "invalid");
    let pointers: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| &e["pointer"]).collect();
    assert_eq!(pointers, ["/lines/0/line_no", "/lines/1/quantity"]);
    let empty = json!({ "lines": [] });
    shop.tell(&id, "cancel", "c-2", &empty).await.problem(422, "invalid");
    for verb in ["cancel", "fulfillments", "return", "refund"] {
        let null = shop.tell(&id, verb, "null", &json!({ "lines": null })).await;
        assert_eq!(null.status, 400, "null is not all of it: {}", null.text());
    }
    let unkeyed = post(&format!("/v1/orders/{id}/cancel"));
    let one = json!({ "lines": [{ "line_no": 1, "quantity": 1 }] });
    let unkeyed = shop.send(json_body(unkeyed, &one)).await;
    unkeyed.problem(400, "idempotency-key-missing");
    let many = json!({ "lines": [{ "line_no": 1, "quantity": 3 }] });
    let problem = shop.tell(&id, "cancel", "c-3", &many).await.problem(409, "pieces-not-left");
    assert_eq!(problem["detail"], "At most 2 of line 1 can be named for that.");
}

#[tokio::test]
async fn what_is_parked_is_settled_by_a_person_who_says_why() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let cash = json!({ "amount": { "amount_minor": "399", "currency": "EUR" }, "reason": "cash" });
    shop.tell(&id, "payments", "cash", &cash).await;
    let cancelled = shop.tell(&id, "cancel", "cancel", &json!({})).await.json();
    assert_eq!(cancelled["state"], "CANCELLING");
    let operation = cancelled["payments"][0]["operations"][2]["id"].clone();
    let say = |outcome: &str, reason: Value| json!({ "operation_id": operation, "outcome": outcome, "reason": reason });
    let none = shop.tell(&id, "resolve", "r-0", &say("succeeded", Value::Null)).await;
    assert_eq!(none.status, 400, "a reason is a must: {}", none.text());
    shop.tell(&id, "resolve", "r-1", &say("succeeded", json!(""))).await.problem(422, "invalid");
    shop.tell(&id, "resolve", "r-2", &say("maybe", json!("x"))).await.problem(422, "invalid");
    shop.tell(&id, "resolve", "r-3", &say("send-again", json!("x")))
        .await
        .problem(409, "moved-elsewhere");
    let done =
        shop.tell(&id, "resolve", "r-4", &say("succeeded", json!("handed over at the till"))).await;
    assert_eq!((done.status.as_u16(), &done.json()["state"]), (200, &json!("CANCELLED")));
    shop.tell(&id, "resolve", "r-5", &say("succeeded", json!("x")))
        .await
        .problem(409, "not-parked");
    let history = shop.get(&format!("/v1/orders/{id}/history")).await.json();
    let last = history["entries"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["reason"], &last["actor"]),
        (&json!("handed over at the till"), &json!("till"))
    );
}

#[tokio::test]
async fn a_declined_payment_says_why_in_the_history() {
    let shop = Shop::new();
    shop.world.gateway_fails_next(GatewayFault::Declined);
    let id = shop.create("a", &paid()).await.json()["id"].as_str().unwrap().to_owned();
    shop.work().await;
    let history = shop.get(&format!("/v1/orders/{id}/history")).await.json();
    assert_eq!(history["entries"][1]["reason"], "declined: card-declined");
}

#[tokio::test]
async fn without_a_gateway_nothing_is_placed_that_is_to_be_paid() {
    let shop = Shop::without_gateway();
    shop.create("a", &paid()).await.problem(501, "no-gateway");
    let items = json!({ "orders": [
        { "idempotency_key": long("b"), "order": paid() },
        { "idempotency_key": long("c"), "order": order() },
    ] });
    let answer = shop.send(json_body(post("/v1/orders/batch"), &items)).await.json();
    assert_eq!(answer["results"][0]["problem"]["code"], "no-gateway", "{answer}");
    assert_eq!(answer["results"][1]["status"], 201, "{answer}");
}
