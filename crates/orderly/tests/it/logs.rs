//! The log never stands in the way.

use std::process::Stdio;

use http_body_util::Full;
use tokio::task::JoinSet;

use crate::support::{Client, Home, Line, until};

/// Sends requests whose log lines are long, over one connection, until told to stop.
async fn chatter(client: Client) {
    let mut line = Line::open(client.api).await.unwrap();
    let path = format!("/v1/orders/{}", "x".repeat(250));
    loop {
        let request = client.request("GET", &path).header("x-request-id", "y".repeat(128));
        let answer = line.send(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status, 404);
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_neither_requests_nor_the_end() {
    let (unread, log) = std::io::pipe().unwrap();
    let home = Home::new().set("log.flush=100ms");
    let service = home.serve_logging_to(Stdio::from(log)).await;
    let mut chatting = JoinSet::new();
    for _ in 0..4 {
        chatting.spawn(chatter(service.client()));
    }
    // By then the pipe and the queue before it are full.
    until("lines are dropped", async || {
        (service.metric("order_service_log_lines_dropped_total ").await >= 1_000.0).then_some(())
    })
    .await;
    chatting.shutdown().await;
    service.client().create("after-the-flood-1").await.placed();
    service.stop().await;
    drop(unread);
}

#[tokio::test]
async fn a_word_that_is_no_level_is_refused() {
    let ran = Home::new().set("log.level=inof").run(&["config", "check"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("\"inof\" is not a log level: it must be \"error\", \"warn\""),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn a_collector_that_cannot_be_used_is_refused() {
    let home = Home::new().set("log.traces.endpoint=https://collector:4318/v1/traces");
    let ran = home.run(&["config", "check"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("must be a plain HTTP address"), "{}", ran.err);
}
