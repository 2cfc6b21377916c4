//! SIGTERM: whoever is being served is served to the end, whoever comes later is told early.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use gateway_sim::Fault;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::pay::{authorizations, pay, placed, shop};
use crate::support::{Client, Home, Line, Ran, Told, Watcher, order, soon, text, until};

/// A request whose header is sent, and half of its body.
struct Held {
    stream: TcpStream,
    rest: String,
}

impl Held {
    async fn begin(client: &Client, key: &str) -> Self {
        let body = order().to_string();
        let (half, rest) = body.split_at(body.len() / 2);
        let head = format!(
            "POST /v1/orders HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             idempotency-key: {key}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nx-request-timeout-ms: 10000\r\n\r\n{half}",
            client.api,
            client.key,
            body.len()
        );
        let mut stream = TcpStream::connect(client.api).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { stream, rest: rest.to_owned() }
    }

    /// Sends the other half, and reads until the service closes the connection.
    async fn finish(mut self) -> String {
        let mut answer = String::new();
        self.stream.write_all(self.rest.as_bytes()).await.unwrap();
        soon(self.stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }
}

/// Places orders over one connection until the service says that it is the last one; tells how
/// many.
async fn write_on(client: Client, name: usize, placed: Arc<AtomicUsize>) -> usize {
    let mut line = Line::open(client.api).await.unwrap();
    for number in 0.. {
        let request = client.placing(&format!("drain-{name}-{number:08}"), &order());
        // A connection may be closed between two answers; what the service did is counted later.
        let Ok(answer) = line.send(request).await else { return number };
        answer.placed();
        placed.fetch_add(1, Relaxed);
        if answer.header("connection") == "close" {
            return number + 1;
        }
    }
    0
}

/// The positions that a live feed told, and what it said at its end.
async fn read_on(mut feed: Watcher) -> (Vec<u64>, Told) {
    let mut seen = Vec::new();
    loop {
        let told = feed.next().await.expect("a feed that says where to go on");
        if told.event == "drain" {
            assert!(feed.next().await.is_none(), "nothing comes after the end");
            return (seen, told);
        }
        assert_eq!(text(&told.data["position"]), told.id.to_string());
        seen.push(told.id);
    }
}

/// The line of the log with this message.
fn logged(ran: &Ran, message: &str) -> Value {
    let lines = ran.err.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found = lines.filter(|line| line["message"] == message);
    found.next().unwrap_or_else(|| panic!("no line says {message:?}: {}", ran.err))
}

fn phases(ran: &Ran) -> Vec<String> {
    let lines = ran.err.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["message"] == "phase entered")
        .map(|line| text(&line["phase"]))
        .collect()
}

async fn refuses_connections(api: SocketAddr) -> Option<()> {
    TcpStream::connect(api).await.is_err().then_some(())
}

#[tokio::test]
async fn sigterm_under_load_loses_nothing() {
    let home = Home::new().set("lifecycle.lame_duck=200ms");
    let service = home.serve().await;
    let client = service.client();
    let mut tasks = JoinSet::new();
    let feed = client.watch(0).await;
    tasks.spawn(read_on(feed));
    let mut held = Vec::new();
    for number in 0..3 {
        held.push(Held::begin(&client, &format!("held-{number:016}")).await);
    }
    // Three and the feed.
    until("they are in flight", async || (service.in_flight().await == 4).then_some(())).await;
    let placed = Arc::new(AtomicUsize::new(0));
    let mut load = JoinSet::new();
    for name in 0..4 {
        load.spawn(write_on(client.clone(), name, Arc::clone(&placed)));
    }
    until("orders are placed", async || (placed.load(Relaxed) >= 20).then_some(())).await;

    service.sigterm();
    until("readiness fails", async || (!service.reasons().await.is_empty()).then_some(())).await;
    until("no more connections", async || refuses_connections(client.api).await).await;
    let (seen, drain) = soon(tasks.join_next()).await.unwrap().unwrap();
    for held in held {
        let answer = held.finish().await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    let placed: usize = soon(load.join_all()).await.iter().sum::<usize>() + 3;
    let ran = service.end().await;

    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(phases(&ran), ["ready", "lame-duck", "draining", "flushing", "stopped"]);
    let report = logged(&ran, "stopped");
    assert_eq!((&report["connections_cut"], &report["tasks_cut"]), (&json!(0), &json!("")));
    for (took, least, most) in
        [("lame_duck_ms", 200, 10_000), ("drain_ms", 0, 10_000), ("flush_ms", 0, 5_000)]
    {
        assert!((least..=most).contains(&report[took].as_u64().unwrap()), "{report}");
    }
    assert_eq!(home.sound().await["orders"], placed, "orders, and acknowledgements");

    let position = seen.last().copied().unwrap_or_default();
    assert_eq!((drain.id, text(&drain.data["next"])), (position, position.to_string()));
    let service = home.serve().await;
    let mut feed = service.client().watch(drain.id).await;
    let mut all = seen;
    while all.len() < placed {
        all.push(feed.next().await.unwrap().id);
    }
    assert!(all.iter().copied().eq(1..=all.len() as u64), "every event once: {all:?}");
}

#[tokio::test]
async fn a_service_that_was_told_to_stop_is_unready_and_still_serves() {
    let home = Home::new().set("lifecycle.lame_duck=1h");
    let mut service = home.serve().await;
    service.sigterm();
    until("readiness fails", async || (!service.reasons().await.is_empty()).then_some(())).await;
    assert_eq!(service.reasons().await, ["phase: lame-duck"]);
    let answer = service.client().create("lame-duck-0000001").await;
    answer.placed();
    assert_eq!(answer.header("connection"), "close");

    // Signals within half a second count as one with the first.
    until("a second signal ends it", async || {
        service.sigterm();
        service.has_ended().then_some(())
    })
    .await;
    let ran = service.end().await;
    assert_eq!(ran.code, Some(130), "asked twice, it ends at once");
    assert_eq!(logged(&ran, "stopped")["failure"], "stopped twice");
    assert_eq!(home.sound().await["orders"], 1);
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_when_the_time_for_it_is_over() {
    let home = Home::new().set("lifecycle.drain=100ms");
    let service = home.serve().await;
    let held = Held::begin(&service.client(), "held-for-ever-001").await;
    until("it is in flight", async || (service.in_flight().await == 1).then_some(())).await;
    service.sigterm();
    let ran = service.end().await;
    assert_eq!(ran.code, Some(0));
    assert_eq!(logged(&ran, "stopped")["connections_cut"], 1);
    assert_eq!(home.sound().await["orders"], 0);
    drop(held);
}

#[tokio::test]
async fn a_call_that_the_worker_has_under_way_is_answered_before_the_end() {
    let (sim, home) = shop().await;
    let home = home.set("gateway.client.try_timeout=9s");
    let service = home.serve().await;
    let client = service.client();
    let id = placed(&client, "in-hand").await;
    // Done at once, and told 3 s later.
    sim.faults().next(Fault::Hang, 1);
    pay(&client, &id, "in-hand", "tok_ok").await;
    until("it is done", async || (authorizations(&sim) == [1]).then_some(())).await;
    service.stop().await;

    let service = home.clone().set("gateway.client.base_url=http://127.0.0.1:1").serve().await;
    let order = service.client().get(&format!("/v1/orders/{id}")).await.json();
    assert_eq!(order["payment_state"], "AUTHORIZED", "{order}");
    service.stop().await;
    sim.stop().await;
}
