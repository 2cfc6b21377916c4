use axum::body::Body;
use insta::assert_json_snapshot;
use serde_json::json;

use crate::shop::{Shop, json_body, long, order, order_with, post};

/// The example of the document: every field that a create takes, but for the reference, which would
/// be taken at the second try.
fn example() -> serde_json::Value {
    let document =
        serde_json::to_value(orders_api::http::openapi::<orders_testkit::World>()).unwrap();
    document["components"]["schemas"]["CreateOrder"]["examples"][0].clone()
}

#[tokio::test]
async fn a_placed_order_is_told_whole() {
    let shop = Shop::new();
    let answer = shop.create("a", &example()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("/v1/orders/{id}"));
    assert_eq!(answer.header("etag"), "\"v1\"");
    assert_eq!(answer.header("idempotent-replayed"), "");
    assert_json_snapshot!("created", answer.redacted());
}

#[tokio::test]
async fn a_validated_order_is_priced_and_not_stored() {
    let shop = Shop::new();
    let answer = shop.send(json_body(post("/v1/orders?validate_only=true"), &example())).await;
    assert_eq!(answer.status, 200);
    assert_json_snapshot!("validated", answer.redacted());
    assert_eq!(shop.get("/v1/orders").await.json(), json!({ "orders": [] }));
}

#[tokio::test]
async fn the_same_key_replays_quoted_or_bare() {
    let shop = Shop::new();
    let first = shop.create("a", &order()).await;
    let quoted = post("/v1/orders").header("idempotency-key", format!("\"{}\"", long("a")));
    let second = shop.send(json_body(quoted, &order())).await;
    assert_eq!(second.status, 201);
    assert_eq!(second.header("idempotent-replayed"), "true");
    assert_eq!(second.header("location"), first.header("location"));
    assert_eq!(second.json(), first.json());
}

#[tokio::test]
async fn a_key_is_needed_and_must_be_one() {
    let shop = Shop::new();
    let answer = shop.send(json_body(post("/v1/orders"), &order())).await;
    answer.problem(400, "idempotency-key-missing");
    for key in ["short", "has a space in it !!", "\"unterminated-quote", &"k".repeat(129)] {
        let request = post("/v1/orders").header("idempotency-key", key);
        let problem = shop.send(json_body(request, &order())).await.problem(400, "malformed");
        assert_eq!(problem["errors"][0]["parameter"], "Idempotency-Key", "{key}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_pointed_at() {
    let shop = Shop::new();
    let with = |fields| order_with(&fields).to_string();
    let line = |field: &str, value: serde_json::Value| {
        let mut order = order();
        order["lines"][0][field] = value;
        order.to_string()
    };
    for (body, pointer) in [
        (with(json!({ "state": "CONFIRMED" })), "/state"),
        (with(json!({ "tenant": "rival" })), "/tenant"),
        (with(json!({ "customer_id": 5 })), "/customer_id"),
        (with(json!({ "metadata": { "a/b~c": 1 } })), "/metadata/a~1b~0c"),
        (with(json!({ "personal": { "card": "4111" } })), "/personal/card"),
        (
            with(json!({ "discount": { "amount_minor": 5, "currency": "EUR" } })),
            "/discount/amount_minor",
        ),
        (line("quantity", json!("2")), "/lines/0/quantity"),
        (line("quantity", json!(1.5)), "/lines/0/quantity"),
        (line("price", json!(1)), "/lines/0/price"),
        (line("tax", json!({ "inclusive": true })), "/lines/0/tax"),
        (line("tax", json!({ "rate": 19 })), "/lines/0/tax/rate"),
        ("{}".to_owned(), ""),
        ("{\"customer_id\":".to_owned(), "/customer_id"),
        (String::new(), ""),
        ("[]".to_owned(), ""),
        (r#"["c-1", null, [], null, null, null, {}, null]"#.to_owned(), ""),
        (with(json!({ "discount": ["5", "EUR"] })), "/discount"),
        (with(json!({ "personal": [] })), "/personal"),
        ("null".to_owned(), ""),
        (format!("{} {{}}", order()), ""),
        ("[".repeat(100_000), ""),
        ("{\"customer_id\":\"\u{0}\"}".to_owned(), "/customer_id"),
    ] {
        let request =
            post("/v1/orders?validate_only=true").header("content-type", "application/json");
        let answer = shop.send(request.body(Body::from(body.clone())).unwrap()).await;
        let problem = answer.problem(400, "malformed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body:.80}: {problem}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_told_in_words() {
    let shop = Shop::new();
    let line = |field: &str, value: serde_json::Value| {
        let mut order = order();
        order["lines"][0][field] = value;
        order.to_string()
    };
    let price = |amount: serde_json::Value| {
        line("unit_price", json!({ "amount_minor": amount, "currency": "EUR" }))
    };
    let amount = "/lines/0/unit_price/amount_minor: must be a string";
    for (body, status, told) in [
        (price(json!(499)), 400, format!("{amount}: write it as \"499\".")),
        (price(json!(4.99)), 400, format!("{amount} of minor units: write \"499\" for 4.99 EUR.")),
        (
            line("quantity", json!("2")),
            400,
            "/lines/0/quantity: must be a whole number, not a string.".to_owned(),
        ),
        ("[]".to_owned(), 400, "Must be an object, not a list.".to_owned()),
        ("{}".to_owned(), 400, "The field customer_id is missing.".to_owned()),
        (String::new(), 400, "There is nothing where JSON is wanted.".to_owned()),
        (price(json!("4,99")), 422, "The request breaks 1 rule.".to_owned()),
    ] {
        let request =
            post("/v1/orders?validate_only=true").header("content-type", "application/json");
        let answer = shop.send(request.body(Body::from(body.clone())).unwrap()).await;
        let problem = answer.json();
        assert_eq!((answer.status.as_u16(), &problem["detail"]), (status, &json!(told)), "{body}");
        if status == 422 {
            let detail = problem["errors"][0]["detail"].as_str().unwrap();
            assert!(detail.contains("\"4.99\" would be 4.99 cents"), "{detail}");
        }
    }
}

#[tokio::test]
async fn every_broken_rule_is_told_at_once() {
    let shop = Shop::new();
    let order = json!({
        "customer_id": "",
        "lines": [
            { "sku": "", "quantity": 0, "unit_price": { "amount_minor": "01", "currency": "EUR" } },
            { "sku": "a", "quantity": 1, "unit_price": { "amount_minor": "-1", "currency": "eur" },
              "discount": { "amount_minor": "1.5", "currency": "EUR" } },
            { "sku": "b", "quantity": 1, "unit_price": { "amount_minor": "1", "currency": "EUR" },
              "discount": { "amount_minor": "-5", "currency": "EUR" } },
        ],
        "shipping": { "amount_minor": "99999999999999999999", "currency": "EUR" },
        "metadata": { "no spaces": "x" },
        "personal": { "email": "nobody", "shipping_address": { "line1": "1", "city": "X", "country": "Germany" } },
    });
    let problem = shop.create("a", &order).await.problem(422, "invalid");
    assert_json_snapshot!("violations", problem["errors"]);
}

#[tokio::test]
async fn currencies_are_not_mixed() {
    let order = order_with(&json!({ "shipping": { "amount_minor": "1", "currency": "USD" } }));
    let problem = Shop::new().create("a", &order).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "/shipping/currency");
    assert_eq!(problem["errors"][0]["code"], "mixed-currencies");
}

#[tokio::test]
async fn bodies_have_a_limit_and_a_type() {
    let shop = Shop::new();
    let large = " ".repeat(256 * 1024 + 1);
    let request = post("/v1/orders").header("content-type", "application/json");
    shop.send(request.body(Body::from(large.clone())).unwrap())
        .await
        .problem(413, "payload-too-large");
    // Without a Content-Length the limit is found while reading.
    let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(large)]);
    let request = post("/v1/orders").header("content-type", "application/json");
    let request = request.body(Body::from_stream(chunks)).unwrap();
    shop.send(request).await.problem(413, "payload-too-large");
    for kind in ["text/plain", "application/x-ndjson", "application/jsonx", ""] {
        let request = post("/v1/orders").header("content-type", kind);
        let answer = shop.send(request.body(Body::from(order().to_string())).unwrap()).await;
        answer.problem(415, "unsupported-media-type");
    }
    let request = post("/v1/orders?validate_only=true")
        .header("content-type", "Application/JSON; charset=utf-8");
    let answer = shop.send(request.body(Body::from(order().to_string())).unwrap()).await;
    assert_eq!(answer.status, 200);
}
