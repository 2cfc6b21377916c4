//! kill -9: what was acknowledged is there, and a key makes one order. The short form of
//! `make check-crash`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use serde_json::json;
use tokio::{
    sync::{Barrier, watch},
    task::JoinSet,
};

use crate::support::{Answer, Client, Home, order, soon, text, until};

/// One that places and confirms orders, and goes on with the same key after a crash.
struct Writer {
    name: usize,
    /// Orders that were acknowledged, each by a key of its own.
    placed: usize,
    /// The version of each order that was acknowledged last.
    acknowledged: BTreeMap<String, u64>,
    /// Acknowledgements of all writers.
    count: Arc<AtomicUsize>,
}

impl Writer {
    /// Writes until an answer is lost.
    async fn write(mut self, client: Client) -> Self {
        while self.place_one(&client).await {}
        self
    }

    /// Places one order and confirms every other one; tells whether all was answered.
    async fn place_one(&mut self, client: &Client) -> bool {
        let key = format!("crash-{}-{:08}", self.name, self.placed);
        let Ok(answer) = client.try_send(client.placing(&key, &order())).await else {
            return false;
        };
        let id = answer.placed();
        self.acknowledge(&id, &answer);
        self.placed += 1;
        if self.placed.is_multiple_of(2) {
            return true;
        }
        let request = client.request("POST", &format!("/v1/orders/{id}/confirm"));
        let request = request.header("idempotency-key", key).body(<_>::default()).unwrap();
        let Ok(answer) = client.try_send(request).await else { return false };
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.acknowledge(&id, &answer);
        true
    }

    fn acknowledge(&mut self, id: &str, answer: &Answer) {
        let version = answer.json()["version"].as_u64().unwrap();
        self.acknowledged.insert(id.to_owned(), version);
        self.count.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn an_acknowledged_order_survives_kill_9() {
    let home = Home::new();
    let count = Arc::new(AtomicUsize::new(0));
    let writer =
        |name| Writer { name, placed: 0, acknowledged: BTreeMap::new(), count: Arc::clone(&count) };
    let mut writers: Vec<Writer> = (0..4).map(writer).collect();
    for round in 0..5 {
        let service = home.serve().await;
        let enough = count.load(Relaxed) + 10 + 7 * round;
        let mut running = JoinSet::new();
        for writer in writers.drain(..) {
            running.spawn(writer.write(service.client()));
        }
        until("orders are placed", async || (count.load(Relaxed) >= enough).then_some(())).await;
        service.kill9().await;
        writers = soon(running.join_all()).await;
    }

    let service = home.serve().await;
    let client = service.client();
    for writer in &mut writers {
        // The key whose answer was lost in the last round.
        assert!(writer.place_one(&client).await);
        for (id, version) in &writer.acknowledged {
            let found = client.get(&format!("/v1/orders/{id}")).await.json();
            assert!(found["version"].as_u64() >= Some(*version), "{id} at {version}: {found}");
        }
    }
    let placed: usize = writers.iter().map(|writer| writer.placed).sum();
    assert_eq!(client.all_orders().await.len(), placed, "orders, and keys they were placed by");
    service.kill9().await;
    assert_eq!(home.sound().await["orders"], placed);
}

const TWINS: usize = 16;
const KEYS: usize = 20;

/// Sends a request until it is answered, to whichever service is there.
async fn insist(key: &str, at: &mut watch::Receiver<Client>) -> String {
    loop {
        let client = at.borrow_and_update().clone();
        match client.try_send(client.placing(key, &order())).await {
            Ok(answer) if answer.status < 500 => return answer.placed(),
            Ok(busy) => assert_eq!(busy.json()["retryable"], true, "{}", busy.text()),
            Err(_) => soon(at.changed()).await.unwrap(),
        }
    }
}

#[tokio::test]
async fn concurrent_twins_make_one_order_for_each_key_across_kill_9() {
    let home = Home::new();
    let service = home.serve().await;
    let (current, at) = watch::channel(service.client());
    let answered = Arc::new(AtomicUsize::new(0));
    let together = Arc::new(Barrier::new(TWINS));
    let mut twins = JoinSet::new();
    for _ in 0..TWINS {
        let (mut at, answered, together) =
            (at.clone(), Arc::clone(&answered), Arc::clone(&together));
        twins.spawn(async move {
            let mut orders = Vec::new();
            for key in 0..KEYS {
                together.wait().await;
                orders.push(insist(&format!("twin-{key:016}"), &mut at).await);
                answered.fetch_add(1, Relaxed);
            }
            orders
        });
    }
    let half = TWINS * KEYS / 2 + 3;
    until("half is answered", async || (answered.load(Relaxed) >= half).then_some(())).await;
    service.kill9().await;
    assert!(answered.load(Relaxed) < TWINS * KEYS, "the kill came too late to show anything");
    let service = home.serve().await;
    current.send_replace(service.client());

    let answers: BTreeSet<Vec<String>> = soon(twins.join_all()).await.into_iter().collect();
    assert_eq!(answers.len(), 1, "all twins name the same orders: {answers:?}");
    let orders: BTreeSet<String> = answers.into_iter().flatten().collect();
    assert_eq!(orders.len(), KEYS);
    let stored: BTreeSet<String> = service.client().all_orders().await.into_iter().collect();
    assert_eq!(stored, orders);
    service.stop().await;
    assert_eq!(home.sound().await["orders"], KEYS);
}

#[tokio::test]
async fn a_decision_survives_kill_9() {
    let home = Home::new();
    let service = home.serve().await;
    let client = service.client();
    let id = client.create("decision-00000001").await.placed();
    let body = json!({ "reason": "no longer wanted" });
    assert_eq!(client.verb(&id, "cancel", "decision-00000002", &body).await.status, 200);
    let refused = client.verb(&id, "confirm", "decision-00000003", &json!({})).await;
    refused.refused(409, "illegal-transition");
    service.kill9().await;

    let client = home.serve().await;
    let client = client.client();
    let again = client.verb(&id, "cancel", "decision-00000002", &body).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, "true"));
    assert_eq!(text(&again.json()["state"]), "CANCELLED");
    let again = client.verb(&id, "confirm", "decision-00000003", &json!({})).await;
    again.refused(409, "illegal-transition");
    assert_eq!(again.header("idempotent-replayed"), "true");
}
