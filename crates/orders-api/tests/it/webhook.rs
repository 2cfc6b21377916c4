//! What the payment gateway tells unasked, over HTTP.

use axum::{
    body::Body,
    http::{Request, header, request},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mainstay::metrics::Format;
use orders::ports::Clock as _;
use orders_testkit::{Fault, GatewayFault};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::shop::{Answer, OWN, SECRET, Shop, get, long, order, post};

pub(crate) const PATH: &str = "/webhooks/gateway";
/// What a stranger signs with.
pub(crate) const OTHER: &str = "whsec_Z2F0ZXdheS1zaW0tZGV2ZWxvcG1lbnQtc2VjcmV0";

fn sign(secret: &str, id: &str, seconds: i64, body: &str) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let mac = mac.chain_update(format!("{id}.{seconds}.{body}")).finalize();
    format!("v1,{}", STANDARD.encode(mac.into_bytes()))
}

/// A webhook that is signed with this secret so many seconds from now.
pub(crate) fn signed(shop: &Shop, secret: &str, later: i64, body: &str) -> request::Builder {
    let seconds = shop.world.clock().now().as_second() + later;
    Request::post(PATH)
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", "evt-1")
        .header("webhook-timestamp", seconds)
        .header("webhook-signature", sign(secret, "evt-1", seconds, body))
}

async fn send(shop: &Shop, request: request::Builder, body: &str) -> Answer {
    shop.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// Tells an event as an honest gateway does.
async fn tell(shop: &Shop, event: &Value) -> Answer {
    let body = event.to_string();
    send(shop, signed(shop, SECRET, 0, &body), &body).await
}

async fn order_of(shop: &Shop, id: &str) -> Value {
    shop.get(&format!("/v1/orders/{id}")).await.json()
}

/// The event of the order's newest attempt, with this status.
async fn event(shop: &Shop, id: &str, status: &str) -> Value {
    let order = order_of(shop, id).await;
    let payment = order["payments"].as_array().unwrap().last().unwrap();
    let attempt = payment["operations"].as_array().unwrap().last().unwrap();
    let kind = match attempt["operation"].as_str().unwrap() {
        "AUTHORIZE" => "authorization".to_owned(),
        other => other.to_lowercase(),
    };
    let mut operation = json!({
        "reference": attempt["id"],
        "payment": payment["id"],
        "kind": kind,
        "status": status,
        "amount": attempt["amount"],
        "gateway_id": "op-1",
        "idempotency_key": "orderly-1",
    });
    if status == "declined" {
        operation["decline_code"] = "card-declined".into();
    }
    json!({ "id": "evt-1", "type": format!("operation.{status}"), "operation": operation })
}

/// An order that is to be paid, and the event that its payment succeeded.
pub(crate) async fn paying(shop: &Shop) -> (String, Value) {
    let id = shop.created("a").await;
    assert_eq!(shop.pay(&id, &[]).await.status, 202);
    let event = event(shop, &id, "succeeded").await;
    (id, event)
}

fn counted(shop: &Shop, outcome: &str) -> bool {
    let line = format!("test_gateway_webhooks_total{{outcome=\"{outcome}\"}} 1\n");
    shop.metrics.render(Format::Text).contains(&line)
}

#[tokio::test(start_paused = true)]
async fn only_the_webhook_tells_when_every_answer_is_lost() {
    let shop = Shop::new();
    let (id, event) = paying(&shop).await;
    shop.world.gateway_fails_next(GatewayFault::ReplyLost);
    shop.work().await;
    assert_eq!(order_of(&shop, &id).await["payment_state"], "UNKNOWN");
    assert_eq!(tell(&shop, &event).await.status, 204);
    let order = order_of(&shop, &id).await;
    assert_eq!(
        (&order["state"], &order["payment_state"]),
        (&"CONFIRMED".into(), &"AUTHORIZED".into())
    );
    assert!(counted(&shop, "news"));
    let history = shop.get(&format!("/v1/orders/{id}/history")).await.json();
    let last = history["entries"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["actor"], &last["command"]),
        (&"gateway".into(), &"confirm".into()),
        "{last}"
    );
}

/// When the webhooks of an order that is paid and captured come.
#[derive(Clone, Copy, Debug)]
enum When {
    Never,
    Early,
    Late,
    Often,
    OutOfOrder,
}

async fn paid_and_captured(when: When) -> Value {
    let shop = Shop::new();
    let (id, authorized) = paying(&shop).await;
    let early = matches!(when, When::Early | When::Often);
    if early {
        assert_eq!(tell(&shop, &authorized).await.status, 204);
    }
    shop.work().await;
    let headers =
        [("idempotency-key", long("capture")), ("content-type", "application/json".into())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(shop.verb(&id, "capture", &headers).await.status, 202);
    let captured = event(&shop, &id, "succeeded").await;
    if early {
        assert_eq!(tell(&shop, &captured).await.status, 204);
    }
    shop.work().await;
    let after: &[&Value] = match when {
        When::Never | When::Early => &[],
        When::Late => &[&authorized, &captured],
        When::Often => &[&authorized, &captured, &captured, &authorized],
        When::OutOfOrder => &[&captured, &authorized],
    };
    for event in after {
        assert_eq!(tell(&shop, event).await.status, 204);
    }
    shop.work().await;
    shop.get(&format!("/v1/orders/{id}")).await.redacted()
}

#[tokio::test(start_paused = true)]
async fn whenever_webhooks_come_it_ends_as_if_none_had() {
    let expected = paid_and_captured(When::Never).await;
    assert_eq!((&expected["payment_state"], &expected["version"]), (&"CAPTURED".into(), &5.into()));
    for when in [When::Early, When::Late, When::Often, When::OutOfOrder] {
        assert_eq!(paid_and_captured(when).await, expected, "{when:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_decline_that_is_told_is_final() {
    let shop = Shop::new();
    let (id, succeeded) = paying(&shop).await;
    let declined = event(&shop, &id, "declined").await;
    assert_eq!(tell(&shop, &declined).await.status, 204);
    tell(&shop, &succeeded).await.problem(409, "webhook-misfit");
    let order = order_of(&shop, &id).await;
    assert_eq!((&order["state"], &order["payment_state"]), (&"PENDING".into(), &"DECLINED".into()));
    assert_eq!(order["payments"][0]["operations"][0]["decline_code"], "card-declined", "{order}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_changes_nothing() {
    let shop = Shop::new();
    let (id, right) = paying(&shop).await;
    for (at, wrong, what) in [
        ("/operation/kind", json!("refund"), "operation"),
        ("/operation/payment", json!(id), "payment"),
        ("/operation/amount/amount_minor", json!("1"), "amount"),
        ("/operation/amount/currency", json!("USD"), "amount"),
        ("/operation/amount/currency", json!("XXX"), "amount"),
    ] {
        let mut event = right.clone();
        *event.pointer_mut(at).unwrap() = wrong;
        let problem = tell(&shop, &event).await.problem(409, "webhook-misfit");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("The {what} is not the one")), "{detail}");
        assert_eq!(order_of(&shop, &id).await["version"], 2, "{at}");
    }
    let mut unknown = right.clone();
    unknown["operation"]["reference"] = id.clone().into();
    assert_eq!(tell(&shop, &unknown).await.status, 204, "nothing of ours");
    assert!(counted(&shop, "no_news"));
    assert_eq!(order_of(&shop, &id).await["version"], 2);
    assert_eq!(tell(&shop, &right).await.status, 204);
    assert_eq!(order_of(&shop, &id).await["state"], "CONFIRMED");
}

/// Asserts that this is refused as unsigned, and tells why.
async fn unsigned(shop: &Shop, request: request::Builder, body: &str) -> String {
    let answer = send(shop, request, body).await;
    assert_eq!(answer.header("www-authenticate"), "Standard-Webhooks realm=\"orderly\"");
    answer.problem(401, "webhook-unsigned")["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn what_is_not_signed_is_not_heard() {
    let shop = Shop::new();
    let (id, event) = paying(&shop).await;
    let (body, other) = (event.to_string(), event.to_string().replace("succeeded", "declined"));
    let by_key = post(PATH).header(header::CONTENT_TYPE, "application/json");
    assert!(
        unsigned(&shop, by_key, &body).await.contains("webhook-signature"),
        "{OWN} opens nothing"
    );
    for (secret, later, signed_body, why) in [
        (OTHER, 0, &body, "No signature"),
        (SECRET, 0, &other, "No signature"),
        (SECRET, -301, &body, "five minutes off"),
        (SECRET, 301, &body, "five minutes off"),
    ] {
        let detail = unsigned(&shop, signed(&shop, secret, later, signed_body), &body).await;
        assert!(detail.contains(why), "{detail}");
    }
    assert_eq!(order_of(&shop, &id).await["version"], 2);
    for later in [-300, 300] {
        let answer = send(&shop, signed(&shop, SECRET, later, &body), &body).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_replaced_without_a_gap() {
    let shop = Shop::with_secrets(Some(&format!("{OTHER}\n{SECRET}\n")));
    let (id, event) = paying(&shop).await;
    let body = event.to_string();
    for secret in [SECRET, OTHER] {
        assert_eq!(send(&shop, signed(&shop, secret, 0, &body), &body).await.status, 204);
    }
    assert_eq!(order_of(&shop, &id).await["state"], "CONFIRMED");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_refused_and_changes_nothing() {
    let shop = Shop::new();
    let (id, event) = paying(&shop).await;
    let contradiction = event.to_string().replace("operation.succeeded", "operation.declined");
    for (body, pointer) in [
        ("{".to_owned(), ""),
        (event.to_string().replace("authorization", "gift"), "/operation/kind"),
        (event.to_string().replace("\"399\"", "\"0399\""), "/operation/amount/amount_minor"),
        (event.to_string().replace("\"399\"", "\"-399\""), "/operation/amount/amount_minor"),
        (event.to_string().replace("EUR", "eur"), "/operation/amount/currency"),
        (contradiction, "/type"),
    ] {
        let answer = send(&shop, signed(&shop, SECRET, 0, &body), &body).await;
        let problem = answer.problem(400, "malformed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let body = event.to_string();
    let mut text = signed(&shop, SECRET, 0, &body);
    text.headers_mut().unwrap().insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
    send(&shop, text, &body).await.problem(415, "unsupported-media-type");
    let large = format!("{body}{}", " ".repeat(64 * 1024));
    send(&shop, signed(&shop, SECRET, 0, &large), &large).await.problem(413, "payload-too-large");
    assert_eq!(order_of(&shop, &id).await["version"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_asks_to_be_told_again() {
    let shop = Shop::new();
    let (id, event) = paying(&shop).await;
    for (fault, code) in [
        (Fault::ReadBusy, "store-busy"),
        (Fault::ReadUnavailable, "store-unavailable"),
        (Fault::Busy, "store-busy"),
        (Fault::Unavailable, "store-unavailable"),
    ] {
        shop.world.fail_next(fault);
        let answer = tell(&shop, &event).await;
        answer.problem(503, code);
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(tell(&shop, &event).await.status, 204);
    assert_eq!(order_of(&shop, &id).await["state"], "CONFIRMED");
}

#[tokio::test]
async fn without_a_secret_there_is_no_such_address() {
    let shop = Shop::with_secrets(None);
    let problem = tell(&shop, &json!({})).await.problem(404, "not-found");
    assert!(
        problem["detail"].as_str().unwrap().contains("gateway.webhook_secret_file"),
        "{problem}"
    );
    assert_eq!(shop.create("a", &order()).await.status, 201);
}

#[tokio::test]
async fn a_webhook_is_posted() {
    let answer = Shop::new().send(get(PATH).body(Body::empty()).unwrap()).await;
    answer.problem(405, "method-not-allowed");
    assert_eq!(answer.header("allow"), "POST");
}
