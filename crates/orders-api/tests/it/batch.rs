use std::time::Duration;

use axum::{BoxError, body::Body};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Request;
use insta::assert_json_snapshot;
use mainstay::{lifecycle::Phase, server::BodyIdle};
use orders_testkit::Fault;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use crate::shop::{Answer, Shop, json_body, long, order, order_with, post};

fn ndjson(lines: &str, key: Option<&str>) -> Request<Body> {
    let request = post("/v1/orders/batch").header("content-type", "application/x-ndjson");
    let request = match key {
        Some(key) => request.header("idempotency-key", long(key)),
        None => request,
    };
    request.body(Body::from(lines.to_owned())).unwrap()
}

fn answers(answer: &Answer) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn outcome(result: &Value) -> (u64, u64, &str) {
    let code = result["problem"]["code"].as_str().unwrap_or("");
    (result["index"].as_u64().unwrap(), result["status"].as_u64().unwrap(), code)
}

/// What the last line says of a batch that ended too early.
fn end(result: &Value) -> (u64, &str) {
    assert_eq!(result.get("index"), None, "{result}");
    (result["status"].as_u64().unwrap(), result["problem"]["code"].as_str().unwrap())
}

#[tokio::test]
async fn each_order_of_a_batch_is_answered_by_itself() {
    let shop = Shop::new();
    let mut bad = order();
    bad["lines"][0]["quantity"] = json!(0);
    let batch = json!({ "orders": [
        { "order": order() },
        { "order": bad },
        { "idempotency_key": long("own"), "order": order_with(&json!({ "customer_id": "c-2" })) },
    ] });
    let request = || post("/v1/orders/batch").header("idempotency-key", long("batch"));
    let answer = shop.send(json_body(request(), &batch)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_json_snapshot!("batch", answer.redacted());

    let again = shop.send(json_body(request(), &batch)).await.json();
    let replayed: Vec<_> =
        again["results"].as_array().unwrap().iter().map(|r| r["replayed"].clone()).collect();
    assert_eq!(replayed, [json!(true), Value::Null, json!(true)]);
}

#[tokio::test]
async fn a_batch_is_read_as_a_whole() {
    let shop = Shop::new();
    let send = async |batch: Value| {
        let request = post("/v1/orders/batch").header("idempotency-key", long("batch"));
        shop.send(json_body(request, &batch)).await
    };
    let problem = send(json!({ "orders": [{ "order": order_with(&json!({ "x": 1 })) }] })).await;
    assert_eq!(problem.problem(400, "malformed")["errors"][0]["pointer"], "/orders/0/order/x");
    let problem =
        send(json!({ "orders": [{ "idempotency_key": "short", "order": order() }] })).await;
    assert_eq!(
        problem.problem(400, "malformed")["errors"][0]["pointer"],
        "/orders/0/idempotency_key"
    );
    send(json!({ "orders": [] })).await.problem(422, "invalid");
    send(json!({ "orders": vec![json!({ "order": order() }); 101] })).await.problem(422, "invalid");
    let request = post("/v1/orders/batch").header("content-type", "text/csv");
    shop.send(request.body(Body::empty()).unwrap()).await.problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn lines_are_answered_in_order_with_mixed_outcomes() {
    let shop = Shop::new();
    let good = json!({ "order": order() }).to_string();
    let long_line = format!("{{\"order\":\"{}\"}}", "x".repeat(300 * 1024));
    let other = json!({ "idempotency_key": long("own"), "order": order_with(&json!({ "customer_id": "" })) });
    let lines = format!("{good}\n\n{other}\r\nnot json\n{long_line}\n{{\"order\":{{}}}}\n{good}");
    let answer = shop.send(ndjson(&lines, Some("batch"))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let results = answers(&answer);
    assert_eq!(
        results.iter().map(outcome).collect::<Vec<_>>(),
        [
            (0, 201, ""),
            (1, 422, "invalid"),
            (2, 400, "malformed"),
            (3, 413, "payload-too-large"),
            (4, 400, "malformed"),
            (5, 201, ""),
        ]
    );
    let again = answers(&shop.send(ndjson(&lines, Some("batch"))).await);
    assert_eq!(again[5]["order"]["id"], results[5]["order"]["id"]);
    assert_eq!(again[5]["replayed"], true);
}

#[tokio::test]
async fn an_order_without_any_key_is_not_placed() {
    let shop = Shop::new();
    let line = json!({ "order": order() }).to_string();
    let results = answers(&shop.send(ndjson(&line, None)).await);
    assert_eq!(outcome(&results[0]), (0, 400, "idempotency-key-missing"));
}

#[tokio::test]
async fn an_answer_is_there_before_the_next_order_is() {
    let shop = Shop::new();
    let (orders, pieces) = mpsc::channel::<Bytes>(4);
    let pieces = stream::unfold(pieces, async |mut pieces| Some((pieces.recv().await?, pieces)));
    let body = pieces.map(Ok::<_, std::io::Error>);
    let request = post("/v1/orders/batch").header("content-type", "application/x-ndjson");
    let request = request.header("idempotency-key", long("batch"));
    let response = shop.open(request.body(Body::from_stream(body)).unwrap()).await;
    let mut answers = response.into_body().into_data_stream();
    for index in 0..3 {
        let line = json!({ "order": order() }).to_string();
        // In two pieces: a line need not come in one.
        let (head, tail) = line.split_at(10);
        for piece in [head, tail, "\n"] {
            orders.send(Bytes::from(piece.to_owned())).await.unwrap();
        }
        let answer: Value =
            serde_json::from_slice(&answers.next().await.unwrap().unwrap()).unwrap();
        assert_eq!(outcome(&answer), (index, 201, ""));
    }
    drop(orders);
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told() {
    let shop = Shop::new();
    let line = json!({ "order": order() }).to_string() + "\n";
    let pieces = [Ok(Bytes::from(line)), Err(std::io::Error::other("gone"))];
    let request = post("/v1/orders/batch").header("content-type", "application/x-ndjson");
    let request = request.header("idempotency-key", long("batch"));
    let body = Body::from_stream(stream::iter(pieces));
    let results = answers(&shop.send(request.body(body).unwrap()).await);
    assert_eq!(results.len(), 2, "{results:?}");
    assert_eq!(outcome(&results[0]), (0, 201, ""));
    assert_eq!(end(&results[1]), (400, "malformed"));
    assert!(shop.counts("/v1/orders/batch", 400));
}

#[tokio::test(start_paused = true)]
async fn a_draining_service_answers_what_it_has_taken_and_ends_the_batch() {
    let shop = Shop::new();
    let line = json!({ "order": order() }).to_string() + "\n";
    let open = stream::iter([Ok::<_, std::io::Error>(Bytes::from(line.clone()))]);
    let body = Body::from_stream(open.chain(stream::pending()));
    let request = post("/v1/orders/batch").header("content-type", "application/x-ndjson");
    let request = request.header("idempotency-key", long("batch")).body(body).unwrap();
    shop.world.fail_next(Fault::Slow(Duration::from_secs(1)));
    let drain = async {
        // The order is with the store by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        shop.phase.send_replace(Phase::Draining);
    };
    let (answer, ()) = tokio::join!(shop.send(request), drain);
    let results = answers(&answer);
    assert_eq!(results.len(), 2, "{results:?}");
    assert_eq!(outcome(&results[0]), (0, 201, ""));
    assert_eq!(end(&results[1]), (503, "draining"));
    assert_eq!(results[1]["problem"]["retryable"], true);
    assert!(shop.counts("/v1/orders/batch", 503));
    shop.phase.send_replace(Phase::Ready);
    let again = answers(&shop.send(ndjson(&line.repeat(2), Some("batch"))).await);
    assert_eq!(again[0]["replayed"], true, "the same batch goes on where it was");
    assert_eq!(outcome(&again[1]), (1, 201, ""));
}

#[tokio::test(start_paused = true)]
async fn lines_are_answered_until_the_deadline_of_the_caller() {
    let shop = Shop::new();
    let line = json!({ "order": order() }).to_string() + "\n";
    let open = stream::iter([Ok::<_, std::io::Error>(Bytes::from(line.repeat(2)))]);
    let body = Body::from_stream(open.chain(stream::pending()));
    let request = post("/v1/orders/batch").header("content-type", "application/x-ndjson");
    let request = request.header("idempotency-key", long("batch"));
    // More than a request that does not stream may have.
    let request = request.header("x-request-timeout-ms", "12000").body(body).unwrap();
    let start = Instant::now();
    let results = answers(&shop.send(request).await);
    assert_eq!((start.elapsed().as_secs(), results.len()), (12, 3), "{results:?}");
    assert_eq!((outcome(&results[0]), outcome(&results[1])), ((0, 201, ""), (1, 201, "")));
    assert_eq!(end(&results[2]), (504, "deadline-exceeded"));
    assert!(shop.counts("/v1/orders/batch", 504), "though its head said 200");
}

/// How many orders there are, up to a page of them.
async fn stored(shop: &Shop) -> usize {
    shop.get("/v1/orders").await.json()["orders"].as_array().unwrap().len()
}

/// `work`, or a failed test when it hangs.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.unwrap()
}

#[tokio::test]
async fn what_is_begun_is_not_left_half_way_when_nobody_reads_the_answers() {
    let shop = Shop::new();
    shop.world.fail_next(Fault::Slow(Duration::from_millis(50)));
    let lines = format!("not json\n{}", json!({ "order": order() }));
    let response = shop.open(ndjson(&lines, Some("batch"))).await;
    let mut answers = response.into_body().into_data_stream();
    let answer: Value = serde_json::from_slice(&answers.next().await.unwrap().unwrap()).unwrap();
    assert_eq!(outcome(&answer), (0, 400, "malformed"));
    // The order is with the store, and nobody asks for its answer.
    soon(async {
        while stored(&shop).await == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let answer: Value = serde_json::from_slice(&answers.next().await.unwrap().unwrap()).unwrap();
    assert_eq!(outcome(&answer), (1, 201, ""));
    assert!(answers.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn no_more_is_read_ahead_of_the_answers_than_may_be_in_flight() {
    let shop = Shop::new();
    let (orders, pieces) = mpsc::channel::<Bytes>(1);
    let pieces = stream::unfold(pieces, async |mut pieces| Some((pieces.recv().await?, pieces)));
    let body = Body::from_stream(pieces.map(Ok::<_, std::io::Error>));
    let request = post("/v1/orders/batch").header("content-type", "application/x-ndjson");
    let mut answers = shop.open(request.body(body).unwrap()).await.into_body().into_data_stream();
    let sent = async {
        // Each is answered at once, for want of a key.
        let line = json!({ "order": order() }).to_string() + "\n";
        for sent in 0..1_000 {
            let taken = orders.send(Bytes::from(line.clone()));
            if tokio::time::timeout(Duration::from_secs(1), taken).await.is_err() {
                return sent;
            }
        }
        1_000
    };
    let sent = sent.await;
    assert!((64..100).contains(&sent), "{sent}");
    // Whoever leaves leaves nothing behind.
    assert!(answers.next().await.is_some());
    drop(answers);
    soon(orders.closed()).await;
}

#[tokio::test]
async fn a_thousand_lines_are_all_answered() {
    let shop = Shop::new();
    let lines = (json!({ "order": order() }).to_string() + "\n").repeat(1_000);
    let results = answers(&shop.send(ndjson(&lines, Some("batch"))).await);
    let placed = results.iter().map(outcome).eq((0..1_000).map(|index| (index, 201, "")));
    assert!(placed);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let shop = Shop::new();
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let request = post("/v1/orders/batch").header("content-type", "application/json");
    let answer = shop.send(request.body(never).unwrap()).await;
    answer.problem(504, "deadline-exceeded");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_hangs_in_the_store_costs_its_step_alone() {
    let shop = Shop::new();
    let line = json!({ "order": order() }).to_string() + "\n";
    let batch = json!({ "orders": [{ "order": order() }, { "order": order() }] });
    let whole = post("/v1/orders/batch").header("idempotency-key", long("whole"));
    for (request, key) in
        [(json_body(whole, &batch), "whole"), (ndjson(&line.repeat(2), Some("lines")), "lines")]
    {
        shop.world.fail_next(Fault::Slow(Duration::from_hours(1)));
        let before = Instant::now();
        let answer = shop.send(request).await;
        assert_eq!(before.elapsed(), Duration::from_secs(2), "{key}");
        let results = match key {
            "whole" => answer.json()["results"].as_array().unwrap().clone(),
            _ => answers(&answer),
        };
        assert_eq!(
            results.iter().map(outcome).collect::<Vec<_>>(),
            [(0, 504, "deadline-exceeded"), (1, 201, "")]
        );
        assert_eq!(results[0]["problem"]["retryable"], true, "an item always has a key");
    }
}

#[tokio::test(start_paused = true)]
async fn what_takes_effect_late_is_found_by_the_same_batch() {
    let shop = Shop::new();
    let line = json!({ "order": order() }).to_string();
    for _ in 0..4 {
        shop.world.fail_next(Fault::Late(Duration::from_secs(3)));
    }
    let results = answers(&shop.send(ndjson(&line, Some("batch"))).await);
    assert_eq!(outcome(&results[0]), (0, 503, "outcome-unknown"));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let results = answers(&shop.send(ndjson(&line, Some("batch"))).await);
    assert_eq!((outcome(&results[0]), &results[0]["replayed"]), ((0, 201, ""), &json!(true)));
}

const IDLE: BodyIdle = BodyIdle(Duration::from_secs(5));

/// The answers to these pieces of a body that then fails with `error`.
async fn answers_to(pieces: Vec<String>, error: impl Into<BoxError>) -> Vec<Value> {
    let pieces = stream::iter(pieces).map(|piece| Ok(Bytes::from(piece)));
    let broken = stream::iter([Err(error.into())]);
    let body = Body::from_stream(pieces.chain(broken).chain(stream::pending()));
    let request = post("/v1/orders/batch").header("content-type", "application/x-ndjson");
    let request = request.header("idempotency-key", long("batch"));
    answers(&Shop::new().send(request.body(body).unwrap()).await)
}

#[tokio::test(start_paused = true)]
async fn lines_that_stop_coming_are_not_waited_for() {
    let line = json!({ "order": order() }).to_string();
    let results = answers_to(vec![format!("{line}\n"), line], IDLE).await;
    assert_eq!(results.len(), 2, "{results:?}");
    assert_eq!(outcome(&results[0]), (0, 201, ""));
    assert_eq!(end(&results[1]), (400, "malformed"));
    let detail = results[1]["problem"]["detail"].as_str().unwrap();
    assert_eq!(detail, "The body broke off: nothing of it came for 5s.");
}

#[tokio::test(start_paused = true)]
async fn a_long_line_that_breaks_off_is_told_once() {
    let long_line = || vec!["x".repeat(300 * 1024), "x".to_owned()];
    for error in [BoxError::from("gone"), IDLE.into()] {
        let results = answers_to(long_line(), error).await;
        assert_eq!(results.iter().map(end).collect::<Vec<_>>(), [(400, "malformed")]);
    }
}
