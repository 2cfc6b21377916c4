//! Webhooks of a provider: the real binary and a simulator that really sends them, and answers that
//! wait for the payment.

use std::{fs, net::TcpListener, time::Duration};

use gateway_sim::{
    Config, Fault, Sim, faults::Target, webhooks::DEVELOPMENT_SECRET as WEBHOOK_SECRET,
};
use serde_json::{Value, json};

use crate::support::{Answer, Client, Home, Service, text, until, with_json};

/// A service that takes webhooks, and a provider that sends it some.
struct Shop {
    sim: Sim,
    home: Home,
    service: Service,
}

impl Shop {
    async fn new() -> Self {
        let home = Home::new();
        fs::write(home.path("gateway-secret"), gateway_sim::DEVELOPMENT_SECRET).unwrap();
        fs::write(home.path("webhook-secret"), format!("{WEBHOOK_SECRET}\n")).unwrap();
        // Free a moment ago; whoever takes it meanwhile makes the test fail and not lie.
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let home = home
            .set(&format!("gateway.client.base_url=http://{at}"))
            .set("gateway.client.try_timeout=1s")
            // An open breaker would only make the tests slower.
            .set("gateway.client.breaker.consecutive_failures=100000")
            .set("gateway.client.breaker.least_calls=100000")
            .set("gateway.secret_file=gateway-secret")
            .set("gateway.webhook_secret_file=webhook-secret");
        let service = home.serve().await;
        let mut config = Config::default();
        config.http.listen = at;
        config.ledger.path = home.path("gateway.db");
        config.webhooks.url = Some(format!("http://{}/webhooks/gateway", service.api));
        config.webhooks.first_retry = Duration::from_millis(20);
        config.webhooks.late = Duration::from_millis(400);
        Self { sim: Sim::start(config).await.unwrap(), home, service }
    }

    /// Waits until every event was taken in.
    async fn all_told(&self) {
        until("every webhook is delivered", async || {
            (self.sim.ledger().summary().unwrap().webhooks_left == 0).then_some(())
        })
        .await;
    }

    /// How many webhooks had this outcome.
    async fn counted(&self, outcome: &str) -> usize {
        let name = format!("order_service_gateway_webhooks_total{{outcome=\"{outcome}\"}} ");
        let metrics = self.service.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().unwrap())
    }

    /// Stops both; the store must be sound, and nothing charged twice.
    async fn end(self) {
        assert!(!self.service.log().contains(WEBHOOK_SECRET));
        self.service.stop().await;
        self.home.sound().await;
        assert_eq!(self.sim.ledger().summary().unwrap().references_doubled, 0);
        self.sim.stop().await;
    }
}

/// Asks for something that moves money.
async fn ask(client: &Client, id: &str, verb: &str, headers: &[(&str, &str)]) -> Answer {
    let body = if verb == "pay" { json!({ "instrument": "tok_ok" }) } else { json!({}) };
    let request = client.request("POST", &format!("/v1/orders/{id}/{verb}"));
    let request = request.header("idempotency-key", format!("{verb}-{id}"));
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = client.send(with_json(request, &body)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer
}

async fn reaches(client: &Client, id: &str, payment_state: &str) -> Value {
    let path = format!("/v1/orders/{id}");
    until(&format!("{id} is {payment_state}"), async || {
        let order = client.get(&path).await.json();
        (order["payment_state"] == payment_state).then_some(order)
    })
    .await
}

#[tokio::test]
async fn only_the_webhooks_tell_where_every_answer_and_every_look_up_is_lost() {
    let shop = Shop::new().await;
    let client = shop.service.client();
    shop.sim.faults().next(Fault::AnswerLost, 100_000);
    shop.sim.faults().next_of(Target::Lookup, Fault::AnswerLost, 100_000);
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(client.create(&format!("deaf-{number}-0000000000")).await.placed());
    }
    for (verb, state) in [("pay", "AUTHORIZED"), ("capture", "CAPTURED"), ("refund", "REFUNDED")] {
        for id in &ids {
            ask(&client, id, verb, &[]).await;
        }
        for id in &ids {
            assert_eq!(reaches(&client, id, state).await["state"], "CONFIRMED");
        }
    }
    shop.all_told().await;
    assert_eq!(shop.counted("news").await, 3 * ids.len());
    for payment in shop.sim.ledger().all().unwrap() {
        let done = &payment.successful;
        assert_eq!((done.authorization, done.capture, done.refund), (1, 1, 1), "{payment:?}");
    }
    shop.end().await;
}

/// What an order that is paid and captured has become, with this fault of its webhooks.
async fn paid_and_captured(shop: &Shop, fault: Option<Fault>, name: &str) -> (Value, Value) {
    let client = shop.service.client();
    let id = client.create(&format!("{name}-0000000000000000")).await.placed();
    if let Some(fault) = fault {
        shop.sim.faults().next(fault, 2);
    }
    ask(&client, &id, "pay", &[]).await;
    reaches(&client, &id, "AUTHORIZED").await;
    ask(&client, &id, "capture", &[]).await;
    reaches(&client, &id, "CAPTURED").await;
    shop.all_told().await;
    let order = reaches(&client, &id, "CAPTURED").await;
    let history = client.get(&format!("/v1/orders/{id}/history")).await.json();
    let entries = history["entries"].as_array().unwrap().iter();
    let commands = entries.map(|entry| entry["command"].clone()).collect();
    (json!([order["state"], order["payment_state"], order["version"]]), commands)
}

#[tokio::test]
async fn duplicate_late_and_disordered_webhooks_end_as_none_do() {
    let shop = Shop::new().await;
    let expected = json!(["CONFIRMED", "CAPTURED", 5]);
    for (name, fault) in [
        ("plain", None),
        ("often", Some(Fault::WebhookDuplicate)),
        ("late", Some(Fault::WebhookLate)),
        ("disordered", Some(Fault::WebhookOutOfOrder)),
    ] {
        let (order, commands) = paid_and_captured(&shop, fault, name).await;
        assert_eq!(order, expected, "{name}");
        let steps = json!(["place", "pay", "confirm", "capture", "settle-payment"]);
        assert_eq!(commands, steps, "{name}");
        assert!(fault.is_none_or(|fault| shop.sim.faults().struck(fault) > 0), "{name}");
    }
    assert_eq!(shop.counted("unsigned").await + shop.counted("misfit").await, 0);
    shop.end().await;
}

#[tokio::test]
async fn one_call_pays_and_tells_that_the_order_is_confirmed() {
    let shop = Shop::new().await;
    let client = shop.service.client();
    let id = client.create("wait-place-00000000").await.placed();
    let wait = [("prefer", "wait=30"), ("x-request-timeout-ms", "10000")];
    let paid = ask(&client, &id, "pay", &wait).await;
    let order = paid.json();
    assert_eq!(
        (&order["state"], &order["payment_state"]),
        (&json!("CONFIRMED"), &json!("AUTHORIZED"))
    );
    assert_eq!(paid.header("preference-applied"), "wait=30");
    let captured = ask(&client, &id, "capture", &wait).await;
    assert_eq!(captured.json()["payment_state"], "CAPTURED");
    let cancel = with_json(
        client.request("POST", &format!("/v1/orders/{id}/cancel")).header("prefer", "wait=30"),
        &json!({}),
    );
    let cancelled = client.send(cancel).await;
    assert_eq!((cancelled.status, text(&cancelled.json()["state"])), (200, "CANCELLED".into()));
    shop.all_told().await;
    shop.end().await;
}

const CHECK: &[&str] =
    &["config", "check", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

#[tokio::test]
async fn secrets_that_cannot_be_used_are_told_at_the_start() {
    let home = Home::new()
        .set("gateway.secret_file=gateway-secret")
        .set("gateway.webhook_secret_file=webhook-secret");
    fs::write(home.path("gateway-secret"), gateway_sim::DEVELOPMENT_SECRET).unwrap();
    for (secrets, why) in [
        (None, "gateway.webhook_secret_file"),
        (Some(""), "there is no secret in it"),
        (Some("whsec_c2VjcmV0LXRvby1zaG9ydA=="), "line 1 is not a secret: it must be whsec_"),
    ] {
        if let Some(secrets) = secrets {
            fs::write(home.path("webhook-secret"), secrets).unwrap();
        }
        for command in [&["serve"][..], CHECK] {
            let ran = home.run(command).await;
            assert!(ran.code != Some(0) && ran.err.contains(why), "{why}: {ran:?}");
            assert!(!ran.err.contains("c2VjcmV0LXRvby1zaG9ydA"), "{ran:?}");
        }
    }
    fs::write(home.path("webhook-secret"), WEBHOOK_SECRET).unwrap();
    let ran = home.run(CHECK).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.out.contains(WEBHOOK_SECRET));
}
