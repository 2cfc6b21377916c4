//! The contract as a table: what is asked, and the status and code it is answered with.

use bytes::Bytes;
use gateway_sim::operation::Id;
use http::header;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{Answer, Shop, amounted, authorization, eur, id, key, request, send, void};

const PATH: &str = "/v1/authorizations";

#[tokio::test]
async fn an_operation_is_answered_with_all_that_the_contract_names() {
    let shop = Shop::new().await;
    let (reference, payment, key) = (id(), id(), key());
    let answer = shop.operate(PATH, &key, &authorization(reference, payment, "tok_ok")).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.is_replayed());
    let mut body = answer.json();
    let made = body["created_at"].take();
    assert!(made.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{made}");
    assert!(body["gateway_id"].take().as_str().unwrap().starts_with("sim_"));
    let expected = json!({
        "reference": reference.to_string(),
        "payment": payment.to_string(),
        "kind": "authorization",
        "status": "succeeded",
        "amount": eur(2_000),
        "gateway_id": null,
        "idempotency_key": key,
        "created_at": null,
        "totals": {
            "authorized": eur(2_000), "captured": eur(0), "voided": eur(0), "refunded": eur(0),
        },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_payment_goes_its_way() {
    let shop = Shop::new().await;
    let payment = shop.authorized().await;
    let capture = shop.operate("/v1/captures", &key(), &amounted(id(), payment, 1_500)).await;
    assert_eq!(capture.json()["totals"]["captured"], eur(1_500));
    let void = shop.operate("/v1/voids", &key(), &void(id(), payment)).await;
    assert_eq!((&void.json()["kind"], &void.json()["amount"]), (&json!("void"), &eur(500)));
    let refund = shop.operate("/v1/refunds", &key(), &amounted(id(), payment, 300)).await;
    let totals = json!({
        "authorized": eur(2_000), "captured": eur(1_500), "voided": eur(500), "refunded": eur(300),
    });
    assert_eq!(refund.json()["totals"], totals);
    assert_eq!(serde_json::to_value(shop.payment(payment).totals).unwrap(), totals);
}

#[tokio::test]
async fn what_a_payment_does_not_allow_is_declined_and_changes_nothing() {
    let shop = Shop::new().await;
    let payment = shop.authorized().await;
    let (captures, refunds, voids) = ("/v1/captures", "/v1/refunds", "/v1/voids");
    let operate = async |path: &str, body: Value| shop.operate(path, &key(), &body).await;
    operate(captures, amounted(id(), payment, 2_001)).await.declined("exceeds-authorized");
    operate(refunds, amounted(id(), payment, 1)).await.declined("exceeds-captured");
    let mut dollars = amounted(id(), payment, 100);
    dollars["amount"]["currency"] = "USD".into();
    operate(captures, dollars).await.declined("currency-mismatch");
    assert_eq!(shop.payment(payment).totals.captured.minor, 0);

    operate(captures, amounted(id(), payment, 500)).await;
    operate(refunds, amounted(id(), payment, 501)).await.declined("exceeds-captured");
    operate(voids, void(id(), payment)).await;
    operate(voids, void(id(), payment)).await.declined("already-voided");
    operate(captures, amounted(id(), payment, 1)).await.declined("already-voided");
    operate(PATH, authorization(id(), payment, "tok_ok")).await.declined("already-voided");

    let used_up = shop.authorized().await;
    operate(captures, amounted(id(), used_up, 2_000)).await;
    operate(voids, void(id(), used_up)).await.declined("nothing-to-void");
}

#[tokio::test]
async fn a_payment_that_is_unknown_has_no_currency_to_void() {
    let shop = Shop::new().await;
    for path in ["/v1/captures", "/v1/refunds"] {
        shop.operate(path, &key(), &amounted(id(), id(), 1)).await.declined("unknown-payment");
    }
    let answer = shop.operate("/v1/voids", &key(), &void(id(), id())).await;
    answer.declined("unknown-payment");
    let none = json!({ "amount_minor": "0", "currency": "XXX" });
    assert_eq!(answer.json()["amount"], none);
    assert_eq!(answer.json()["totals"]["authorized"], none);
}

#[tokio::test]
async fn instruments_steer() {
    let shop = Shop::new().await;
    for (instrument, code) in [
        ("tok_decline", "card-declined"),
        ("tok_decline_visa", "card-declined"),
        ("tok_insufficient", "insufficient-funds"),
        ("pm_card_visa", "unknown-instrument"),
    ] {
        let payment = id();
        let body = authorization(id(), payment, instrument);
        shop.operate(PATH, &key(), &body).await.declined(code);
        let capture = amounted(id(), payment, 1);
        shop.operate("/v1/captures", &key(), &capture).await.declined("unknown-payment");
    }
    let body = authorization(id(), id(), "tok_fault_gremlins");
    shop.operate(PATH, &key(), &body).await.problem(400, "malformed");
}

#[tokio::test]
async fn a_declined_payment_may_be_authorized_in_another_currency() {
    let shop = Shop::new().await;
    let payment = id();
    shop.operate(PATH, &key(), &authorization(id(), payment, "tok_decline")).await;
    let mut dollars = authorization(id(), payment, "tok_ok");
    dollars["amount"]["currency"] = "USD".into();
    let answer = shop.operate(PATH, &key(), &dollars).await;
    assert_eq!(answer.json()["status"], "succeeded");
    assert_eq!(answer.json()["totals"]["authorized"]["currency"], "USD");
}

#[tokio::test]
async fn what_cannot_be_read_is_malformed() {
    let shop = Shop::new().await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = authorization(id(), id(), "tok_ok");
        change(&mut body);
        body
    };
    let wrong = [
        with(&|body| body["reference"] = "order-1".into()),
        with(&|body| {
            body["reference"] = body["reference"].as_str().unwrap().replace('-', "").into();
        }),
        with(&|body| body["payment"] = Value::Null),
        with(&|body| body["amount"]["amount_minor"] = 2_000.into()),
        with(&|body| body["amount"]["amount_minor"] = "20.00".into()),
        with(&|body| body["amount"]["amount_minor"] = "0".into()),
        with(&|body| body["amount"]["amount_minor"] = "-1".into()),
        with(&|body| body["amount"]["amount_minor"] = "1000000000000000000".into()),
        with(&|body| body["amount"]["currency"] = "eur".into()),
        with(&|body| body["amount"]["scale"] = 2.into()),
        with(&|body| body["amount"] = json!(["2000", "EUR"])),
        with(&|body| body["instrument"] = "".into()),
        with(&|body| body["instrument"] = "tok ok".into()),
        with(&|body| body["instrument"] = "t".repeat(256).into()),
        with(&|body| body["capture"] = true.into()),
        json!([id().to_string(), id().to_string(), eur(1), "tok_ok"]),
        json!({}),
        Value::Null,
    ];
    for body in wrong {
        shop.operate(PATH, &key(), &body).await.problem(400, "malformed");
    }
    assert_eq!(shop.summary().operations, 0);
}

#[tokio::test]
async fn keys_are_16_to_128_visible_characters() {
    let shop = Shop::new().await;
    let body = authorization(id(), id(), "tok_ok");
    for wrong in ["short", &"k".repeat(15), &"k".repeat(129), "sixteen or more but blanks"] {
        shop.operate(PATH, wrong, &body).await.problem(400, "malformed");
    }
    let none = json_request(PATH).body(Full::from(body.to_string())).unwrap();
    send(shop.sim.address(), none).await.unwrap().problem(400, "idempotency-key-missing");
    let two = json_request(PATH).header("idempotency-key", key()).header("idempotency-key", key());
    let two = two.body(Full::from(body.to_string())).unwrap();
    send(shop.sim.address(), two).await.unwrap().problem(400, "malformed");
    for right in ["k".repeat(16), "~".repeat(128)] {
        let body = authorization(id(), id(), "tok_ok");
        assert_eq!(shop.operate(PATH, &right, &body).await.status, 200);
    }
}

fn json_request(path: &str) -> http::request::Builder {
    request("POST", path).header(header::CONTENT_TYPE, "application/json")
}

#[tokio::test]
async fn a_body_must_be_json_and_small() {
    let shop = Shop::new().await;
    let plain = request("POST", PATH).header("idempotency-key", key());
    let plain = plain.header(header::CONTENT_TYPE, "text/plain").body(Full::from("{}")).unwrap();
    let answer = send(shop.sim.address(), plain).await.unwrap();
    answer.problem(415, "unsupported-media-type");
    let mut large = authorization(id(), id(), "tok_ok");
    large["instrument"] = "t".repeat(17_000).into();
    shop.operate(PATH, &key(), &large).await.problem(413, "payload-too-large");
}

#[tokio::test]
async fn only_the_secret_opens() {
    let shop = Shop::new().await;
    for (method, path) in gateway_sim::CONTRACT.iter().copied().chain([
        ("get", "/sim/ledger"),
        ("get", "/sim/faults"),
        ("post", "/sim/reset"),
    ]) {
        for authorization in
            [None, Some("Bearer wrong"), Some("Basic Z2F0ZXdheQ=="), Some("Bearer ")]
        {
            let answer = ask(&shop, method, path, authorization).await;
            answer.problem(401, "unauthenticated");
            assert!(answer.headers.contains_key(header::WWW_AUTHENTICATE), "{path}");
        }
    }
}

async fn ask(shop: &Shop, method: &str, path: &str, authorization: Option<&str>) -> Answer {
    let path = path.replace("{reference}", &id().to_string());
    let request = http::Request::builder().method(method.to_uppercase().as_str()).uri(path);
    let request =
        authorization.into_iter().fold(request.header(header::HOST, "x"), |request, value| {
            request.header(header::AUTHORIZATION, value)
        });
    send(shop.sim.address(), request.body(Full::new(Bytes::new())).unwrap()).await.unwrap()
}

#[tokio::test]
async fn other_addresses_and_methods_are_told_so() {
    let shop = Shop::new().await;
    for path in ["/v1", "/v1/payments", "/v2/authorizations", "/sim"] {
        shop.get(path).await.unwrap().problem(404, "not-found");
    }
    for (method, path) in gateway_sim::CONTRACT {
        let other = if *method == "post" { "GET" } else { "DELETE" };
        let request = request(other, path).body(Full::default()).unwrap();
        let answer = send(shop.sim.address(), request).await.unwrap();
        answer.problem(405, "method-not-allowed");
        let allowed = answer.headers[header::ALLOW].to_str().unwrap().to_lowercase();
        assert!(allowed.split(',').any(|one| one == *method), "{path}: {allowed}");
    }
}

#[tokio::test]
async fn a_lookup_finds_what_was_answered_and_nothing_else() {
    let shop = Shop::new().await;
    let (reference, body) = authorized();
    let answer = shop.operate(PATH, &key(), &body).await;
    let found = shop.lookup(reference).await;
    assert_eq!((found.status.as_u16(), found.json()), (200, answer.json()));
    shop.lookup(id()).await.problem(404, "not-found");
    for wrong in ["x", "01936F5E-7C2A-7B3E-9A41-0C8F2D6E5B10"] {
        let answer = shop.get(&format!("/v1/operations/{wrong}")).await.unwrap();
        answer.problem(400, "malformed");
    }
}

fn authorized() -> (Id, Value) {
    let reference = id();
    (reference, authorization(reference, id(), "tok_ok"))
}

#[tokio::test]
async fn capabilities_are_as_configured() {
    let shop = Shop::with(|config| {
        config.ledger.idempotency_window = std::time::Duration::from_mins(90);
    })
    .await;
    let expected = json!({
        "contract": "1", "idempotency_window_seconds": 5_400, "webhooks": false, "lookup": true,
    });
    assert_eq!(shop.get("/v1/capabilities").await.unwrap().json(), expected);
    let url = Some("http://127.0.0.1:9/hooks".to_owned());
    let shop = Shop::with(|config| config.webhooks.url = url).await;
    assert_eq!(shop.get("/v1/capabilities").await.unwrap().json()["webhooks"], true);
}
