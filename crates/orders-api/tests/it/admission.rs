//! What is refused under load, before anything of it is read, and what is not.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, header};
use mainstay_resilience::{
    Jitter,
    admission::{Admission, Config},
    pool::{self, Done, Pool},
};
use orders_testkit::Fault;
use serde_json::json;
use tokio::time::Instant;

use crate::shop::{Answer, FOREIGN, OWN, Shop, get, json_body, long, order, order_with, post};

/// A shop that lets so much in.
pub(crate) fn crowded(limits: Config) -> Shop {
    Shop::set(|config, _| config.admission = Admission::new(limits, Jitter::none()))
}

/// A body that nobody may read.
fn unread() -> Body {
    Body::from_stream(stream::poll_fn(|_| -> Poll<Option<io::Result<Bytes>>> {
        panic!("the body was read")
    }))
}

async fn list(shop: &Shop, key: &str) -> Answer {
    let request = Request::get("/v1/orders").header(header::AUTHORIZATION, key);
    shop.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_change_that_would_wait_too_long_is_refused_before_it_is_read() {
    let shop = crowded(Config::default());
    let id = shop.created("a").await;
    shop.world.expect_wait(Duration::from_secs(5));
    let batch = "/v1/orders/batch".to_owned();
    for path in ["/v1/orders".to_owned(), format!("/v1/orders/{id}/confirm"), batch] {
        let request = post(&path).header("content-type", "application/json");
        let request = request.header("idempotency-key", long("b")).body(unread()).unwrap();
        let refused = shop.send(request).await;
        assert_eq!(refused.problem(503, "overloaded")["retryable"], true);
        // Half a second, the five that it would wait, and the most that is drawn on top.
        assert_eq!(refused.header("retry-after"), "8");
    }
    assert_eq!(shop.get(&format!("/v1/orders/{id}")).await.status, 200);
    let patient = post("/v1/orders").header("x-request-timeout-ms", "9000");
    let patient = patient.header("idempotency-key", long("c"));
    assert_eq!(shop.send(json_body(patient, &order())).await.status, 201);
    shop.world.expect_wait(Duration::ZERO);
    assert_eq!(shop.create("b", &order()).await.status, 201, "the same request again");
}

#[tokio::test]
async fn who_is_not_known_is_told_so_first() {
    let shop = crowded(Config::default());
    shop.world.expect_wait(Duration::from_secs(5));
    let request = Request::post("/v1/orders").header(header::AUTHORIZATION, "Bearer own.wrong");
    let refused = shop.send(request.body(unread()).unwrap()).await;
    refused.problem(401, "unauthenticated");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_waits_for_its_turn_and_what_is_too_much_is_refused_at_once() {
    let shop = crowded(Config { in_service: 1, queue: 2, queue_per_tenant: 1 });
    shop.world.fail_next(Fault::ReadSlow(Duration::from_secs(1)));
    let start = Instant::now();
    let at_once = async |key: &str| {
        let refused = list(&shop, key).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        refused.problem(503, "overloaded")["detail"].as_str().unwrap().to_owned()
    };
    let feed = async || {
        let request = get("/v1/events").header("accept", "text/event-stream");
        let response = shop.open(request.body(Body::empty()).unwrap()).await;
        (response.status(), start.elapsed())
    };
    let (slow, waits, share, other, full, feed) = tokio::join!(
        list(&shop, OWN),
        list(&shop, OWN),
        at_once(OWN),
        list(&shop, FOREIGN),
        at_once(FOREIGN),
        feed(),
    );
    assert_eq!([slow, waits, other].map(|answer| answer.status.as_u16()), [200; 3]);
    assert!(share.contains("of this tenant"), "{share}");
    assert!(full.starts_with("Too many requests wait"), "{full}");
    assert_eq!((feed.0.as_u16(), feed.1), (200, Duration::ZERO), "what streams takes no permit");
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_page_of_the_feed_waits_for_its_turn_for_as_long_as_a_step() {
    let shop = crowded(Config { in_service: 1, queue: 8, queue_per_tenant: 8 });
    shop.world.fail_next(Fault::ReadSlow(Duration::from_secs(3)));
    let start = Instant::now();
    let slow = async || {
        let request = get("/v1/orders").header("x-request-timeout-ms", "9000");
        shop.send(request.body(Body::empty()).unwrap()).await.status
    };
    let hasty = async || {
        shop.get("/v1/events").await.problem(504, "deadline-exceeded");
        start.elapsed()
    };
    let patient = async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        (shop.get("/v1/events").await.status.as_u16(), start.elapsed())
    };
    let (slow, hasty, patient) = tokio::join!(slow(), hasty(), patient());
    assert_eq!((slow.as_u16(), hasty), (200, Duration::from_secs(2)));
    assert_eq!(patient, (200, Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_beyond_its_deadline() {
    let shop = crowded(Config { in_service: 1, queue: 8, queue_per_tenant: 8 });
    shop.world.fail_next(Fault::ReadSlow(Duration::from_secs(1)));
    let start = Instant::now();
    let hasty = async || {
        let request = get("/v1/orders").header("x-request-timeout-ms", "100");
        let answer = shop.send(request.body(Body::empty()).unwrap()).await;
        answer.problem(504, "deadline-exceeded");
        start.elapsed()
    };
    let (slow, ended) = tokio::join!(list(&shop, OWN), hasty());
    assert_eq!((slow.status.as_u16(), ended), (200, Duration::from_millis(100)));
}

#[tokio::test(start_paused = true)]
async fn a_webhook_waits_for_nobody() {
    let shop = crowded(Config { in_service: 1, queue: 0, queue_per_tenant: 0 });
    shop.world.fail_next(Fault::ReadSlow(Duration::from_secs(1)));
    let unsigned = async || {
        let request = Request::post("/webhooks/gateway").body(Body::empty()).unwrap();
        shop.send(request).await
    };
    let (slow, told) = tokio::join!(list(&shop, OWN), unsigned());
    assert_eq!(slow.status, 200);
    told.problem(401, "webhook-unsigned");
}

/// A batch of one order in a body of more than so many bytes.
fn batch(key: &str, bytes: usize) -> Request<Body> {
    let body = json!({ "orders": [{ "order": order() }] }).to_string() + &" ".repeat(bytes);
    let request = post("/v1/orders/batch").header("content-type", "application/json");
    request.header("idempotency-key", long(key)).body(Body::from(body)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_a_deadline_has_its_place_for_no_longer_than_the_largest_one() {
    let admission = Admission::new(Config::default(), Jitter::none());
    let shop = Shop::set(|config, _| {
        config.admission = admission.clone();
        config.step = Duration::from_mins(1);
    });
    shop.world.fail_next(Fault::Slow(Duration::from_hours(1)));
    let start = Instant::now();
    let answer = async {
        shop.send(batch("slow", 0)).await.problem(504, "deadline-exceeded");
        start.elapsed().as_secs()
    };
    let held = async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        admission.snapshot().in_service
    };
    assert_eq!(tokio::join!(answer, held), (10, 1));
    assert_eq!(admission.snapshot().in_service, 0);
}

/// A pool of one thread, and how many jobs it has run.
fn small_pool() -> (Pool, Arc<AtomicUsize>) {
    let run = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&run);
    let pool = Pool::start("test", &pool::Config { threads: 1, queue: 1 }).unwrap();
    let pool = pool.with_listener(move |done: Done| {
        count.fetch_add(usize::from(done.fate.has_run()), Ordering::SeqCst);
    });
    (pool, run)
}

#[tokio::test]
async fn a_large_batch_is_read_by_the_pool() {
    let (pool, run) = small_pool();
    let shop = Shop::set(|config, _| config.pool = Some(pool.clone()));
    for (key, bytes) in [("small", 0), ("large", 70_000)] {
        let answer = shop.send(batch(key, bytes)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["results"][0]["status"]),
            (200, &json!(201))
        );
    }
    let wrong = json!({ "orders": [{ "order": order_with(&json!({ "x": 1 })) }] });
    let wrong = wrong.to_string() + &" ".repeat(70_000);
    let request = post("/v1/orders/batch").header("content-type", "application/json");
    let answer = shop.send(request.body(Body::from(wrong)).unwrap()).await;
    assert_eq!(answer.problem(400, "malformed")["errors"][0]["pointer"], "/orders/0/order/x");
    assert_eq!(pool.shutdown(Duration::from_mins(1)).await, 0);
    assert_eq!(run.load(Ordering::SeqCst), 2);
    shop.send(batch("late", 70_000)).await.problem(503, "overloaded");
    assert_eq!(shop.send(batch("small", 0)).await.status, 200);
}

#[tokio::test]
async fn a_large_batch_that_finds_the_pool_full_is_refused_with_nothing_done() {
    let (pool, _run) = small_pool();
    let shop = Shop::set(|config, _| {
        config.pool = Some(pool.clone());
        config.admission = Admission::new(Config::default(), Jitter::none());
    });
    let (open, gate) = mpsc::channel::<()>();
    let first = pool.try_submit(move || gate.recv().unwrap_or_default()).unwrap();
    while pool.snapshot().running == 0 {
        tokio::task::yield_now().await;
    }
    let second = pool.try_submit(|| ()).unwrap();
    let refused = shop.send(batch("large", 70_000)).await;
    refused.problem(503, "overloaded");
    // Half a second, and the most that is drawn on top.
    assert_eq!(refused.header("retry-after"), "3");
    drop(open);
    assert_eq!((first.await, second.await), (Ok(()), Ok(())));
    let again = shop.send(batch("large", 70_000)).await.json();
    assert_eq!(
        (&again["results"][0]["status"], &again["results"][0]["replayed"]),
        (&json!(201), &json!(null))
    );
}
