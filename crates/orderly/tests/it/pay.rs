//! Paying: the real binary against a provider with a ledger of its own, which is the judge.

use std::time::Duration;

use gateway_sim::{Config, Fault, Sim};
use serde_json::{Value, json};

use crate::support::{Client, Home, Service, text, until};

/// A provider, and a home whose service pays through it.
pub(crate) async fn shop() -> (Sim, Home) {
    let home = Home::new();
    let mut config = Config::default();
    config.http.listen = ([127, 0, 0, 1], 0).into();
    config.ledger.path = home.path("gateway.db");
    config.faults.hang = Duration::from_secs(3);
    config.faults.late = Duration::from_millis(300);
    let sim = Sim::start(config).await.unwrap();
    std::fs::write(home.path("gateway-secret"), gateway_sim::DEVELOPMENT_SECRET).unwrap();
    let home = home
        .set(&format!("gateway.client.base_url={}", sim.url()))
        .set("gateway.client.try_timeout=1s")
        .set("gateway.secret_file=gateway-secret");
    (sim, home)
}

/// An order that is paid although the first answer of the provider is lost, so that all is counted
/// that can be.
pub(crate) async fn one_order(client: &Client, sim: &Sim) {
    let id = placed(client, "counted").await;
    sim.faults().next(Fault::AnswerLost, 1);
    pay(client, &id, "counted", "tok_ok").await;
    reaches(client, &id, "AUTHORIZED").await;
}

pub(crate) async fn placed(client: &Client, key: &str) -> String {
    client.create(&format!("{key}-place-0000000")).await.placed()
}

pub(crate) async fn pay(client: &Client, id: &str, key: &str, instrument: &str) {
    let body = json!({ "instrument": instrument });
    let answer = client.verb(id, "pay", &format!("{key}-pay-000000000"), &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// Waits until the order's money is where it is expected.
pub(crate) async fn reaches(client: &Client, id: &str, payment_state: &str) -> Value {
    let path = format!("/v1/orders/{id}");
    until(&format!("{id} is {payment_state}"), async || {
        let order = client.get(&path).await.json();
        (order["payment_state"] == payment_state).then_some(order)
    })
    .await
}

pub(crate) fn authorizations(sim: &Sim) -> Vec<u64> {
    sim.ledger().all().unwrap().iter().map(|payment| payment.successful.authorization).collect()
}

#[tokio::test]
async fn an_order_is_paid_captured_and_refunded_in_part() {
    let (sim, home) = shop().await;
    let service = home.serve().await;
    let client = service.client();
    let id = placed(&client, "one").await;
    pay(&client, &id, "one", "tok_ok").await;
    let order = reaches(&client, &id, "AUTHORIZED").await;
    assert_eq!(order["state"], "CONFIRMED");
    assert_eq!(
        order["allowed_transitions"],
        json!([
            "cancel",
            "fulfillments",
            "return",
            "pay",
            "payments",
            "capture",
            "refund",
            "notes"
        ])
    );

    let captured = client.verb(&id, "capture", "one-capture-00000", &json!({})).await;
    assert_eq!(captured.status, 202, "{}", captured.text());
    let total = reaches(&client, &id, "CAPTURED").await["totals"]["total"].clone();
    let part = json!({ "amount": { "amount_minor": "1", "currency": total["currency"] } });
    let refunded = client.verb(&id, "refund", "one-refund-000000", &part).await;
    assert_eq!(refunded.status, 202, "{}", refunded.text());
    let order = reaches(&client, &id, "PARTIALLY_REFUNDED").await;
    assert_eq!(order["payments"][0]["refunded"]["amount_minor"], "1");
    assert_eq!(order["payments"][0]["captured"], total);
    assert!(!service.log().contains("tok_ok"));
    service.stop().await;
    assert_eq!(home.sound().await["orders"], 1);
    sim.stop().await;
}

#[tokio::test]
async fn a_pay_sent_again_is_accepted_again_and_paid_once() {
    let (sim, home) = shop().await;
    let service = home.serve().await;
    let client = service.client();
    let id = placed(&client, "twin").await;
    for _ in 0..5 {
        pay(&client, &id, "twin", "tok_ok").await;
    }
    reaches(&client, &id, "AUTHORIZED").await;
    let status = crate::support::get(service.admin, "/status").await.json();
    assert_eq!(status["gateway"]["breaker"], "closed", "{status}");
    let other = json!({ "instrument": "tok_ok_2" });
    let other = client.verb(&id, "pay", "twin-pay-000000000", &other).await;
    other.refused(422, "idempotency-key-reused");
    let card = json!({ "instrument": "4242424242424242" });
    client.verb(&id, "pay", "twin-card-00000000", &card).await.refused(422, "invalid");
    let unkeyed = client.request("POST", &format!("/v1/orders/{id}/capture"));
    client
        .send(unkeyed.body(http_body_util::Full::default()).unwrap())
        .await
        .refused(400, "idempotency-key-missing");
    assert_eq!(authorizations(&sim), [1]);
    service.stop().await;
    sim.stop().await;
}

#[tokio::test]
async fn whatever_the_gateway_does_an_order_is_charged_once_and_its_state_is_true() {
    let (sim, home) = shop().await;
    let service = home.serve().await;
    let client = service.client();
    let faults = [
        Fault::AnswerLost,
        Fault::EffectLost,
        Fault::Reset,
        Fault::ErrorAfterSuccess,
        Fault::LateApply,
        Fault::Hang,
        Fault::LieAmount,
        Fault::LieCurrency,
        Fault::LieKey,
        Fault::Redirect,
        Fault::HugeAnswer,
        Fault::Burst429,
    ];
    let mut ids = Vec::new();
    for (number, fault) in faults.into_iter().enumerate() {
        let key = format!("fault-{number}");
        let id = placed(&client, &key).await;
        sim.faults().next(fault, 1);
        pay(&client, &id, &key, "tok_ok").await;
        until(&format!("{fault:?} struck"), async || {
            (sim.faults().struck(fault) > 0).then_some(())
        })
        .await;
        ids.push(id);
    }
    sim.faults().clear();
    for id in &ids {
        assert_eq!(reaches(&client, id, "AUTHORIZED").await["state"], "CONFIRMED");
    }
    assert_eq!(authorizations(&sim), vec![1; ids.len()]);
    assert_eq!(sim.ledger().summary().unwrap().references_doubled, 0);
    service.stop().await;
    home.sound().await;
    sim.stop().await;
}

#[tokio::test]
async fn a_kill_while_it_is_paid_charges_once() {
    let (sim, home) = shop().await;
    let mut service = home.serve().await;
    let mut ids = Vec::new();
    for round in 0..6 {
        let client = service.client();
        let key = format!("kill-{round}");
        let id = placed(&client, &key).await;
        // Every other answer is lost, so that the kill finds attempts of all kinds.
        if round % 2 == 0 {
            sim.faults().next(Fault::AnswerLost, 1);
        }
        pay(&client, &id, &key, "tok_ok").await;
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        service.kill9().await;
        ids.push(id);
        service = home.serve().await;
    }
    sim.faults().clear();
    let client = service.client();
    for id in &ids {
        reaches(&client, id, "AUTHORIZED").await;
    }
    assert_eq!(authorizations(&sim), vec![1; ids.len()]);
    service.stop().await;
    home.sound().await;
    sim.stop().await;
}

#[tokio::test]
async fn without_a_gateway_a_payment_made_elsewhere_can_be_recorded_and_no_other() {
    let home = Home::new();
    let service: Service = home.serve().await;
    let client = service.client();
    let id = placed(&client, "cash").await;
    let body = json!({ "instrument": "tok_ok" });
    client.verb(&id, "pay", "cash-pay-000000000", &body).await.refused(501, "no-gateway");
    let total = client.get(&format!("/v1/orders/{id}")).await.json()["totals"]["total"].clone();
    let body = json!({ "amount": total, "reason": "cash at the counter" });
    let paid = client.verb(&id, "payments", "cash-record-000000", &body).await;
    assert_eq!(paid.status, 200, "{}", paid.text());
    let order = paid.json();
    assert_eq!(
        (text(&order["state"]), text(&order["payment_state"])),
        ("CONFIRMED".to_owned(), "CAPTURED".to_owned())
    );
    assert_eq!(order["payments"][0]["means"], "ELSEWHERE");
    let again = client.verb(&id, "payments", "cash-again-0000000", &body).await;
    again.refused(409, "amount-not-left");
    service.stop().await;
}

#[tokio::test]
async fn what_nobody_pays_expires_and_what_is_held_too_long_is_let_go_of() {
    let (sim, home) = shop().await;
    let home = home.set("expiry.unpaid=2s").set("expiry.authorizations=1s");
    let service = home.serve().await;
    let client = service.client();
    let held = placed(&client, "held").await;
    pay(&client, &held, "held", "tok_ok").await;
    let unpaid = placed(&client, "unpaid").await;
    let order = reaches(&client, &held, "VOIDED").await;
    assert_eq!(order["state"], "CONFIRMED");
    pay(&client, &held, "again", "tok_ok").await;
    let order = until("the unpaid order expires", async || {
        let order = client.get(&format!("/v1/orders/{unpaid}")).await.json();
        (order["state"] == "EXPIRED").then_some(order)
    })
    .await;
    assert_eq!(order["payment_state"], "NONE");
    service.stop().await;
    home.sound().await;
    sim.stop().await;
}
