//! How much may be asked.

use std::{num::NonZeroU32, time::Duration};

use axum::body::Body;
use http::{Request, header, request};
use mainstay::{metrics::Format, server::PeerAddr};
use mainstay_resilience::rate_limit::Rate;
use orders_api::limits::{Config, Rates};
use serde_json::{Value, json};
use tokio::time::{Instant, advance};

use crate::shop::{Answer, FOREIGN, NOTHING, Shop, get, json_body, long, order, post};

/// So many in this time, all of which may come at once.
pub(crate) fn rate(count: u32, period: Duration) -> Rate {
    let count = NonZeroU32::new(count).unwrap();
    Rate::new(count, period, count)
}

const HOUR: Duration = Duration::from_hours(1);

/// A shop in which each principal may change two things an hour.
pub(crate) fn two_writes_an_hour() -> Shop {
    let principal = Rates { write: Some(rate(2, HOUR)), ..Rates::default() };
    Shop::with_limits(Config { principal, ..Config::default() })
}

async fn foreign(shop: &Shop, key: &str) -> Answer {
    let mut request = json_body(post("/v1/orders").header("idempotency-key", long(key)), &order());
    request.headers_mut().insert(header::AUTHORIZATION, FOREIGN.parse().unwrap());
    shop.send(request).await
}

#[tokio::test]
async fn what_is_left_is_told_and_one_too_many_is_refused() {
    let shop = two_writes_an_hour();
    let first = shop.create("a", &order()).await;
    assert_eq!((first.status.as_u16(), first.header("ratelimit")), (201, "\"write\";r=1;t=1800"));
    assert_eq!(first.header("ratelimit-policy"), "\"write\";q=2;w=3600");
    let second = shop.create("a", &order()).await;
    assert_eq!(second.header("idempotent-replayed"), "true", "a replay is a request too");
    let refused = shop.create("b", &order()).await;
    let problem = refused.problem(429, "rate-limited");
    assert_eq!((&problem["retryable"], refused.header("retry-after")), (&json!(true), "1800"));
    assert_eq!(refused.header("ratelimit"), "\"write\";r=0;t=3600");
    assert_eq!(foreign(&shop, "b").await.status, 201, "another has a limit of its own");
    let read = shop.get("/v1/orders").await;
    assert_eq!((read.status.as_u16(), read.header("ratelimit")), (200, ""));
}

#[tokio::test]
async fn what_is_left_is_told_beside_every_problem() {
    let principal = Rates { read: Some(rate(2, HOUR)), ..Rates::default() };
    let shop = Shop::with_limits(Config { principal, ..Config::default() });
    let missing = shop.get("/v1/orders/x").await;
    missing.problem(404, "not-found");
    assert_eq!(missing.header("ratelimit"), "\"read\";r=1;t=1800");
    let refused =
        shop.send(get("/v1/orders").header("authorization", "x").body(Body::empty()).unwrap());
    let refused = refused.await;
    refused.problem(401, "unauthenticated");
    assert_eq!(refused.header("ratelimit"), "", "nobody knows whose it would be");
}

#[tokio::test]
async fn who_may_not_do_what_it_asks_is_limited_all_the_same() {
    let shop = two_writes_an_hour();
    let ask = async |path: &str| {
        let request = Request::post(path).header(header::AUTHORIZATION, NOTHING);
        shop.send(request.body(Body::empty()).unwrap()).await
    };
    let denied = ask("/v1/orders").await;
    denied.problem(403, "insufficient-scope");
    assert_eq!(denied.header("ratelimit"), "\"write\";r=1;t=1800");
    // One that is let in costs nothing itself, since each of its orders does.
    ask("/v1/orders/batch").await.problem(403, "insufficient-scope");
    for path in ["/v1/orders", "/v1/orders/batch"] {
        ask(path).await.problem(429, "rate-limited");
    }
}

#[tokio::test(start_paused = true)]
async fn no_key_remembers_that_its_request_was_refused() {
    let second = Duration::from_secs(1);
    let principal = Rates { write: Some(rate(1, second)), ..Rates::default() };
    let shop = Shop::with_limits(Config { principal, ..Config::default() });
    shop.created("a").await;
    shop.create("b", &order()).await.problem(429, "rate-limited");
    advance(second).await;
    let again = shop.create("b", &order()).await;
    assert_eq!((again.status.as_u16(), again.header("idempotent-replayed")), (201, ""));
}

async fn batch(shop: &Shop, count: usize) -> Answer {
    let batch = json!({ "orders": vec![json!({ "order": order() }); count] });
    let request = post("/v1/orders/batch").header("idempotency-key", long("batch"));
    shop.send(json_body(request, &batch)).await
}

fn statuses(answer: &Answer) -> Vec<u64> {
    let answer: Value = answer.json();
    let results = answer["results"].as_array().unwrap();
    results.iter().map(|result| result["status"].as_u64().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn orders_of_a_batch_wait_for_their_turn() {
    let principal = Rates { write: Some(rate(2, Duration::from_millis(200))), ..Rates::default() };
    let shop = Shop::with_limits(Config { principal, ..Config::default() });
    let before = Instant::now();
    let answer = batch(&shop, 5).await;
    assert_eq!(statuses(&answer), [201; 5]);
    assert!(before.elapsed() >= Duration::from_millis(300), "{:?}", before.elapsed());
    assert!(answer.header("ratelimit").starts_with("\"write\";r=2;"));
}

#[tokio::test]
async fn an_order_of_a_batch_that_would_wait_too_long_is_told_so_by_itself() {
    let shop = two_writes_an_hour();
    let answer = batch(&shop, 4).await;
    assert_eq!(statuses(&answer), [201, 201, 429, 429]);
    let problem = answer.json()["results"][2]["problem"].clone();
    assert_eq!((&problem["code"], &problem["retryable"]), (&json!("rate-limited"), &json!(true)));
    shop.create("a", &order()).await.problem(429, "rate-limited");
}

#[tokio::test]
async fn what_cannot_be_read_of_a_batch_counts_as_an_order() {
    let send = async |shop: &Shop, kind: &str, body: &'static str| {
        let request = post("/v1/orders/batch").header("content-type", kind);
        shop.send(request.body(Body::from(body)).unwrap()).await
    };
    let shop = two_writes_an_hour();
    send(&shop, "application/json", "no json").await.problem(400, "malformed");
    send(&shop, "application/json", "{\"orders\":[]}").await.problem(422, "invalid");
    send(&shop, "application/json", "no json").await.problem(429, "rate-limited");

    let answer = send(&two_writes_an_hour(), "application/x-ndjson", "no\njson\nhere\n").await;
    let text = answer.text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let statuses: Vec<_> = lines.map(|line| line["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(400), Some(400), Some(429)]);
}

#[tokio::test]
async fn live_feeds_are_limited_where_they_are_opened() {
    let principal = Rates { watch: Some(rate(1, HOUR)), ..Rates::default() };
    let shop = Shop::with_limits(Config { principal, ..Config::default() });
    let live = || get("/v1/events").header("accept", "text/event-stream").body(Body::empty());
    assert_eq!(shop.open(live().unwrap()).await.status(), 200);
    shop.send(live().unwrap()).await.problem(429, "rate-limited");
    assert_eq!(shop.get("/v1/events").await.status, 200);
}

#[tokio::test]
async fn a_shadow_refuses_nothing_and_counts() {
    let principal = Rates { write: Some(rate(1, HOUR)), ..Rates::default() };
    let shop = Shop::with_limits(Config { shadow: true, principal, ..Config::default() });
    for key in ["a", "b", "c"] {
        shop.created(key).await;
    }
    assert_eq!(statuses(&batch(&shop, 2).await), [201, 201]);
    let metrics = shop.metrics.render(Format::Text);
    // The batch itself costs nothing; each of its orders was over the limit.
    for (outcome, count) in [("allowed", 2), ("shadow", 4)] {
        let line = format!("rate_limit_total{{limit=\"write\",outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert!(metrics.contains("rate_limit_keys 1.0\n"), "{metrics}");
}

#[tokio::test]
async fn what_comes_of_a_limit_is_counted_from_the_start() {
    let shop = two_writes_an_hour();
    let metrics = shop.metrics.render(Format::Text);
    for outcome in ["allowed", "limited", "shadow"] {
        let line = format!("rate_limit_total{{limit=\"write\",outcome=\"{outcome}\"}} 0\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert!(!metrics.contains("limit=\"read\""), "{metrics}");
}

/// A request that comes from there.
fn from(peer: &str, request: request::Builder) -> request::Builder {
    request.extension(PeerAddr(format!("{peer}:4711").parse().unwrap()))
}

#[tokio::test]
async fn an_address_that_guesses_keys_is_refused_before_it_is_asked_who_it_is() {
    let shop = Shop::with_limits(Config { address: Some(rate(40, HOUR)), ..Config::default() });
    let send =
        async |request: request::Builder| shop.send(request.body(Body::empty()).unwrap()).await;
    let guess = || Request::get("/v1/orders").header("authorization", "Bearer own.guess");
    for _ in 0..2 {
        send(from("203.0.113.1", guess())).await.problem(401, "unauthenticated");
    }
    let refused = send(from("203.0.113.1", get("/v1/orders"))).await;
    refused.problem(429, "rate-limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    assert!(refused.header("ratelimit").starts_with("\"address\";r=0;t="));
    assert_eq!(refused.header("ratelimit-policy"), "\"address\";q=40;w=3600");
    send(from("203.0.113.1", Request::get("/nowhere"))).await.problem(429, "rate-limited");
    let behind = get("/v1/orders").header("x-forwarded-for", "203.0.113.1");
    send(from("127.0.0.1", behind)).await.problem(429, "rate-limited");
    // Who is no proxy is not believed, and a proxy that speaks for itself is not counted.
    let claimed = get("/v1/orders").header("x-forwarded-for", "203.0.113.1");
    assert_eq!(send(from("203.0.113.2", claimed)).await.status, 200);
    for _ in 0..5 {
        send(from("127.0.0.1", guess())).await.problem(401, "unauthenticated");
    }
    assert_eq!(send(from("127.0.0.1", get("/v1/orders"))).await.status, 200);
}
