use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;
use insta::assert_json_snapshot;
use mainstay::lifecycle::Phase;
use orders_testkit::Fault;
use serde_json::{Value, json};

use crate::shop::{Shop, get, redact};

/// A live feed, frame by frame.
struct Live {
    chunks: BodyDataStream,
    text: String,
}

impl Live {
    async fn open(shop: &Shop, path: &str, last: Option<&str>) -> Self {
        let request = get(path).header("accept", "text/event-stream");
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let response = shop.open(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert!(!response.headers().contains_key("content-encoding"));
        Self { chunks: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next frame's lines; `None` at the end.
    async fn frame(&mut self) -> Option<Vec<String>> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let lines = frame.lines().map(str::to_owned).collect();
                self.text = rest.into();
                return Some(lines);
            }
            let chunk = tokio::time::timeout(Duration::from_mins(1), self.chunks.next()).await;
            self.text += std::str::from_utf8(&chunk.expect("a silent feed")?.unwrap()).unwrap();
        }
    }

    /// The id and the name of the next event.
    async fn event(&mut self) -> (String, String) {
        let frame = self.frame().await.unwrap();
        let field = |name: &str| {
            frame.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
        };
        (field("id: "), field("event: "))
    }
}

#[tokio::test]
async fn the_feed_tells_every_event_in_order() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    shop.verb(&id, "confirm", &[]).await;
    shop.created("b").await;
    let first = shop.get("/v1/events?limit=2").await;
    assert_eq!(first.status, 200);
    assert_json_snapshot!("feed", first.redacted());
    let next = first.json()["next"].as_str().unwrap().to_owned();
    let second = shop.get(&format!("/v1/events?after={next}")).await.json();
    let kinds: Vec<_> =
        second["events"].as_array().unwrap().iter().map(|e| e["type"].clone()).collect();
    assert_eq!(kinds, ["orders.order.placed.v1"]);
    let next = second["next"].as_str().unwrap();
    assert_eq!(
        shop.get(&format!("/v1/events?after={next}")).await.json(),
        json!({ "events": [], "next": next })
    );
}

#[tokio::test]
async fn parameters_of_the_feed_are_checked() {
    let shop = Shop::new();
    for query in
        ["after=-1", "after=x", "after=9223372036854775808", "limit=0", "limit=1001", "from=1"]
    {
        shop.get(&format!("/v1/events?{query}")).await.problem(400, "malformed");
    }
    let request =
        get("/v1/events").header("accept", "text/event-stream").header("last-event-id", "+1");
    shop.send(request.body(Body::empty()).unwrap()).await.problem(400, "malformed");
}

#[tokio::test(start_paused = true)]
async fn a_live_feed_goes_on_where_it_was() {
    let shop = Shop::new();
    for key in ["a", "b", "c"] {
        shop.created(key).await;
    }
    let mut live = Live::open(&shop, "/v1/events?after=1", None).await;
    let placed = |position: &str| (position.to_owned(), "orders.order.placed.v1".to_owned());
    assert_eq!(live.event().await, placed("2"));
    assert_eq!(live.event().await, placed("3"));
    shop.created("d").await;
    assert_eq!(live.event().await, placed("4"));
    drop(live);
    let mut resumed = Live::open(&shop, "/v1/events?after=1", Some("3")).await;
    assert_eq!(resumed.event().await, placed("4"));
}

#[tokio::test(start_paused = true)]
async fn a_live_event_is_a_cloud_event() {
    let shop = Shop::new();
    shop.created("a").await;
    let mut live = Live::open(&shop, "/v1/events", None).await;
    let frame = live.frame().await.unwrap();
    let data = frame.iter().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let mut event: Value = serde_json::from_str(data).unwrap();
    redact(&mut event);
    assert_json_snapshot!("live_event", event);
}

#[tokio::test(start_paused = true)]
async fn a_silent_feed_says_that_it_is_alive() {
    let shop = Shop::new();
    let mut live = Live::open(&shop, "/v1/events", None).await;
    let before = tokio::time::Instant::now();
    let frame = live.frame().await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 15);
    assert_eq!(frame, ["id: 0", ": keep-alive"]);
}

#[tokio::test(start_paused = true)]
async fn a_draining_service_ends_its_feeds_with_a_position() {
    let shop = Shop::new();
    shop.created("a").await;
    let mut live = Live::open(&shop, "/v1/events", None).await;
    live.frame().await.unwrap();
    let drain = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        shop.phase.send_replace(Phase::LameDuck);
        tokio::time::sleep(Duration::from_secs(1)).await;
        shop.phase.send_replace(Phase::Draining);
    };
    let (frame, ()) = tokio::join!(live.frame(), drain);
    let frame = frame.unwrap();
    for line in ["id: 1", "event: drain", r#"data: {"next":"1"}"#] {
        assert!(frame.iter().any(|l| l == line), "{frame:?}");
    }
    let retry = frame.iter().find_map(|line| line.strip_prefix("retry: ")).unwrap();
    assert!((1_000..2_000).contains(&retry.parse().unwrap()), "{retry}");
    assert_eq!(live.frame().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_fails_says_so_and_ends() {
    let shop = Shop::new();
    let mut live = Live::open(&shop, "/v1/events", None).await;
    shop.world.fail_next(Fault::ReadUnavailable);
    let (_, name) = live.event().await;
    assert_eq!(name, "problem");
    assert_eq!(live.frame().await, None);
    drop(live);
    assert!(shop.counts("/v1/events", 503), "though its head said 200");
}

#[tokio::test(start_paused = true)]
async fn a_feed_outlasts_a_busy_store() {
    let shop = Shop::new();
    let mut live = Live::open(&shop, "/v1/events", None).await;
    for _ in 0..5 {
        shop.world.fail_next(Fault::ReadBusy);
    }
    let before = tokio::time::Instant::now();
    assert_eq!(live.frame().await.unwrap(), ["id: 0", ": keep-alive"], "no problem");
    assert_eq!(before.elapsed().as_secs(), 15);
    shop.created("a").await;
    assert_eq!(live.event().await.0, "1");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_busy_ends_a_feed_but_not_at_once() {
    let shop = Shop::new();
    let mut live = Live::open(&shop, "/v1/events", None).await;
    for _ in 0..1_000 {
        shop.world.fail_next(Fault::ReadBusy);
    }
    let before = tokio::time::Instant::now();
    let mut frame = live.frame().await.unwrap();
    // The two times are the same: whether a sign of life comes first is left to chance.
    if frame == ["id: 0", ": keep-alive"] {
        frame = live.frame().await.unwrap();
    }
    assert!(frame.iter().any(|line| line.contains("store-busy")), "{frame:?}");
    let waited = before.elapsed();
    assert!((15..17).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(live.frame().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_ends_with_its_step() {
    let shop = Shop::new();
    let hang = || shop.world.fail_next(Fault::ReadSlow(Duration::from_hours(1)));
    let before = tokio::time::Instant::now();
    hang();
    shop.get("/v1/events").await.problem(504, "deadline-exceeded");
    assert_eq!(before.elapsed().as_secs(), 2);
    let mut live = Live::open(&shop, "/v1/events", None).await;
    hang();
    let frame = live.frame().await.unwrap();
    assert!(frame.iter().any(|line| line.contains("deadline-exceeded")), "{frame:?}");
    assert_eq!((before.elapsed().as_secs(), live.frame().await), (4, None));
}
