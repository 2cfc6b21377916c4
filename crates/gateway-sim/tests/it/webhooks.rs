//! Events as their receiver sees them.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use gateway_sim::{Fault, webhooks::DEVELOPMENT_SECRET};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use mainstay::{
    server::{Config, Server},
    tasks::Tasks,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Shop, authorization, id, key, until};

const PATH: &str = "/v1/authorizations";

/// What came, in order, and how the next are answered.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    deliveries: Vec<(HeaderMap, Bytes)>,
    refuse: usize,
}

impl Inbox {
    fn take(&self, headers: HeaderMap, body: Bytes) -> StatusCode {
        let mut kept = self.0.lock().unwrap();
        kept.deliveries.push((headers, body));
        if kept.refuse == 0 {
            return StatusCode::NO_CONTENT;
        }
        kept.refuse -= 1;
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn refuse(&self, count: usize) {
        self.0.lock().unwrap().refuse = count;
    }

    fn deliveries(&self) -> Vec<(HeaderMap, Bytes)> {
        self.0.lock().unwrap().deliveries.clone()
    }

    fn bodies(&self) -> Vec<Value> {
        let parsed = |(_, body): &(HeaderMap, Bytes)| serde_json::from_slice(body).unwrap();
        self.deliveries().iter().map(parsed).collect()
    }

    fn references(&self) -> Vec<String> {
        let reference = |body: Value| body["operation"]["reference"].as_str().unwrap().to_owned();
        self.bodies().into_iter().map(reference).collect()
    }

    fn count(&self) -> usize {
        self.deliveries().len()
    }
}

struct Hooked {
    shop: Shop,
    inbox: Inbox,
    tasks: Tasks,
}

impl Hooked {
    async fn new() -> Self {
        let (inbox, tasks) = (Inbox::default(), Tasks::new());
        let server = Server::bind("127.0.0.1:0", Config::default()).await.unwrap();
        let address = server.local_addr().unwrap();
        let kept = inbox.clone();
        let take = async move |headers: HeaderMap, body: Bytes| kept.take(headers, body);
        let app = Router::new().route("/hooks", post(take));
        tasks.spawn("receiver", async move {
            server.run(app, std::future::pending()).await;
        });
        Self { shop: shop(address).await, inbox, tasks }
    }

    /// One operation that succeeds; tells its reference.
    async fn operate(&self, token: &str) -> String {
        let reference = id();
        let body = authorization(reference, id(), token);
        assert_eq!(self.shop.operate(PATH, &key(), &body).await.status, 200);
        reference.to_string()
    }
}

async fn shop(receiver: SocketAddr) -> Shop {
    Shop::with(|config| {
        config.webhooks.url = Some(format!("http://{receiver}/hooks"));
        config.webhooks.first_retry = Duration::from_millis(5);
        config.webhooks.late = Duration::from_secs(1);
    })
    .await
}

impl Drop for Hooked {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

/// HMAC-SHA256 by its definition (RFC 2104), for a key no longer than a block.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[tokio::test]
async fn an_event_tells_the_operation_and_its_signature_holds() {
    let hooked = Hooked::new().await;
    let reference = id();
    let body = authorization(reference, id(), "tok_ok");
    let answer = hooked.shop.operate(PATH, &key(), &body).await.json();
    until(|| hooked.inbox.count() == 1).await;
    let (headers, body) = hooked.inbox.deliveries().remove(0);
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["type"], "operation.succeeded");
    assert_eq!(event["operation"], answer);
    assert_eq!(event["created_at"], answer["created_at"]);
    let header = |name: &str| headers[name].to_str().unwrap();
    assert_eq!(event["id"], header("webhook-id"));
    assert_eq!(header("content-type"), "application/json");
    let seconds: i64 = header("webhook-timestamp").parse().unwrap();
    assert!((Timestamp::now().as_second() - seconds).abs() < 60, "{seconds}");

    let secret = STANDARD.decode(DEVELOPMENT_SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let mut signed = format!("{}.{seconds}.", header("webhook-id")).into_bytes();
    signed.extend(&body);
    let expected = format!("v1,{}", STANDARD.encode(hmac(&secret, &signed)));
    assert_eq!(header("webhook-signature"), expected);
}

#[tokio::test]
async fn a_decline_has_an_event_and_a_replay_has_none() {
    let hooked = Hooked::new().await;
    let (key, body) = (key(), authorization(id(), id(), "tok_decline"));
    for _ in 0..3 {
        hooked.shop.operate(PATH, &key, &body).await;
    }
    hooked.operate("tok_ok").await;
    until(|| hooked.inbox.count() == 2).await;
    let kinds: Vec<Value> =
        hooked.inbox.bodies().iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["operation.declined", "operation.succeeded"]);
}

#[tokio::test]
async fn an_event_that_is_refused_comes_again_under_its_id() {
    let hooked = Hooked::new().await;
    hooked.inbox.refuse(3);
    hooked.operate("tok_ok").await;
    until(|| hooked.inbox.count() == 4 && hooked.shop.summary().webhooks_left == 0).await;
    let ids: BTreeSet<String> =
        hooked.inbox.bodies().iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn an_event_outlives_the_process() {
    let hooked = Hooked::new().await;
    // Nobody listens at port 9, so the event stays.
    let shop = shop(([127, 0, 0, 1], 9).into()).await;
    shop.authorized().await;
    assert_eq!(shop.summary().webhooks_left, 1);
    let mut shop = shop;
    shop.config.webhooks.url.clone_from(&hooked.shop.config.webhooks.url);
    let shop = shop.restart().await;
    until(|| hooked.inbox.count() == 1 && shop.summary().webhooks_left == 0).await;
}

#[tokio::test]
async fn a_duplicate_comes_three_times_and_the_ledger_shows_it() {
    let hooked = Hooked::new().await;
    let reference = hooked.operate("tok_fault_webhook-duplicate").await;
    until(|| hooked.shop.summary().webhooks_left == 0).await;
    assert_eq!(hooked.inbox.references(), [(); 3].map(|()| reference.clone()));
    let (ids, all) = (hooked.inbox.bodies(), hooked.shop.sim.ledger().all().unwrap());
    assert!(ids.iter().all(|event| event["id"] == ids[0]["id"]), "under one id");
    assert_eq!(all[0].operations[0].webhook.as_ref().unwrap().deliveries, 3);
}

#[tokio::test]
async fn a_late_event_comes_late() {
    let hooked = Hooked::new().await;
    let began = tokio::time::Instant::now();
    let late = hooked.operate("tok_fault_webhook-late").await;
    let next = hooked.operate("tok_ok").await;
    until(|| hooked.inbox.count() == 2).await;
    assert!(began.elapsed() >= hooked.shop.config.webhooks.late);
    assert_eq!(hooked.inbox.references(), [next, late]);
}

#[tokio::test]
async fn an_event_out_of_order_waits_for_a_later_one() {
    let hooked = Hooked::new().await;
    let began = tokio::time::Instant::now();
    let first = hooked.operate("tok_fault_webhook-out-of-order").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(hooked.inbox.count(), 0);
    let second = hooked.operate("tok_ok").await;
    until(|| hooked.inbox.count() == 2).await;
    assert!(began.elapsed() < hooked.shop.config.webhooks.late, "it goes at once then");
    assert_eq!(hooked.inbox.references(), [second, first]);
    // Alone it goes when its time has come.
    hooked.operate("tok_fault_webhook-out-of-order").await;
    until(|| hooked.inbox.count() == 3).await;
}

#[tokio::test]
async fn faults_of_events_can_be_planned() {
    let hooked = Hooked::new().await;
    let plan = json!({ "next": [{ "faults": ["webhook-duplicate"], "count": 1 }] });
    hooked.shop.put("/sim/faults", &plan).await;
    hooked.operate("tok_ok").await;
    hooked.operate("tok_ok").await;
    until(|| hooked.inbox.count() == 4 && hooked.shop.summary().webhooks_left == 0).await;
    assert_eq!(hooked.shop.sim.faults().struck(Fault::WebhookDuplicate), 1);
}
