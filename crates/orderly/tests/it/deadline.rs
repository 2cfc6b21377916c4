//! Deadlines of the real service: what callers bring holds, and the log says where the time went.

use http_body_util::Full;
use serde_json::Value;

use crate::support::{Client, Home, Service, until};

/// The log line of the request of this id, once it is there.
async fn logged(service: &Service, id: &str) -> Value {
    until("the request is logged", async || {
        let log = service.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["target"] == "http.access" && line["request_id"] == id)
    })
    .await
}

/// The status of a list under this id, with this header.
async fn list(client: &Client, id: &str, name: &str, value: &str) -> u16 {
    let request = client.request("GET", "/v1/orders").header("x-request-id", id);
    client.send(request.header(name, value).body(Full::default()).unwrap()).await.status
}

#[tokio::test]
async fn the_log_tells_the_time_of_a_change_and_of_a_read_in_the_store() {
    let home = Home::new();
    let service = home.serve().await;
    let client = service.client();
    let placed = client.create("a-key-for-the-log").await;
    let change = logged(&service, placed.header("x-request-id")).await;
    assert_eq!(list(&client, "read-1", "x-envoy-attempt-count", "1").await, 200);
    let read = logged(&service, "read-1").await;
    for line in [change, read] {
        let time = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name}: {line}"));
        assert!(time("queue_ms") + time("store_ms") <= time("duration_ms"), "{line}");
    }
    service.stop().await;
}

#[tokio::test]
async fn deadlines_hold_however_they_are_brought() {
    let home = Home::new();
    let service = home.serve().await;
    let client = service.client();
    for (id, name, value, status) in [
        ("own", "x-request-timeout-ms", "0", 504),
        ("grpc", "grpc-timeout", "0n", 504),
        ("time-left", "x-envoy-expected-rq-timeout-ms", "5000", 200),
        ("no-time", "grpc-timeout", "5 S", 400),
    ] {
        assert_eq!(list(&client, id, name, value).await, status, "{name}: {value}");
    }
    let late = logged(&service, "own").await;
    assert_eq!((&late["status"], &late["code"]), (&504.into(), &"deadline-exceeded".into()));
    assert_eq!(late.get("store_ms"), None, "no work was done for it");
    service.stop().await;
}
