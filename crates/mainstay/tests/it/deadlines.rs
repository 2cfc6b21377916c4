//! Deadlines as callers bring them, and the requests in flight that operators see.

use crate::{
    logs,
    support::{Client, Service, get, soon, until},
};
use axum::{Router, body::Body, extract::Request, response::Response, routing::get as on_get};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use mainstay::{
    http::{Cx, InFlight, Stack, StreamDeadline, inbound, propagate, set_principal},
    metrics::{Format, Metrics},
};
use mainstay_context::{Activity, Cause, Context, Principal};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tower::ServiceExt;

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What is left of its time and which attempt it is, by the handler.
async fn told(Cx(cx): Cx) -> String {
    let left = cx.remaining(now()).map_or("unlimited".to_owned(), |left| format!("{left:?}"));
    format!("{left} {}", cx.attempt())
}

/// When the caller of a stream wants all of it, by the handler.
async fn by(request: Request) -> String {
    let by = request.extensions().get::<StreamDeadline>();
    by.map_or("never".to_owned(), |by| format!("{:?}", by.0.into_std() - now()))
}

async fn ask(app: &Router, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let answer = app.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_smallest_of_all_deadlines_holds() {
    let app = Router::new().route("/", on_get(told));
    let app = inbound(app, &Stack::new(&Metrics::new("test")));
    let (own, envoy, grpc) =
        ("x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms", "grpc-timeout");
    for (headers, left) in [
        (&[][..], "2s"),
        // Less what is kept for the way back.
        (&[(envoy, "750")], "735ms"),
        (&[(grpc, "30m")], "30ms"),
        (&[(grpc, "250000u")], "250ms"),
        (&[(own, "500"), (envoy, "400"), (grpc, "1S")], "392ms"),
        (&[(own, "60000"), (grpc, "1H")], "10s"),
        (&[(grpc, "99999999H")], "10s"),
    ] {
        assert_eq!(ask(&app, "/", headers).await, (200, format!("{left} 1")), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_cannot_be_read_is_a_400_that_names_its_header() {
    let app = inbound(Router::new().route("/", on_get(told)), &Stack::new(&Metrics::new("test")));
    for (header, value) in [
        ("x-request-timeout-ms", "1.5"),
        ("x-envoy-expected-rq-timeout-ms", "soon"),
        ("grpc-timeout", "10s"),
    ] {
        let (status, body) = ask(&app, "/", &[(header, value)]).await;
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, problem["code"].as_str()), (400, Some("invalid-timeout")));
        assert!(problem["detail"].as_str().unwrap().starts_with(header), "{problem}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_attempt_travels() {
    let app = inbound(Router::new().route("/", on_get(told)), &Stack::new(&Metrics::new("test")));
    let (envoy, grpc) = ("x-envoy-attempt-count", "grpc-previous-rpc-attempts");
    for (headers, attempt) in [
        (&[(envoy, "3")][..], "3"),
        (&[(envoy, "0")], "1"),
        (&[(envoy, "many")], "1"),
        (&[(grpc, "1")], "2"),
        (&[(envoy, "1"), (grpc, "2")], "3"),
    ] {
        assert_eq!(ask(&app, "/", headers).await, (200, format!("2s {attempt}")), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_deadline_of_a_stream_is_no_panic() {
    let stack = Stack::new(&Metrics::new("test")).with_stream("/");
    let app = inbound(Router::new().route("/", on_get(told)), &stack);
    let answer = ask(&app, "/", &[("grpc-timeout", "99999999H")]).await;
    assert_eq!(answer, (200, "unlimited 1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_stream_is_there_by_the_largest_deadline_whatever_its_caller_asks() {
    let stack = Stack::new(&Metrics::new("test")).with_stream("/");
    let app = inbound(Router::new().route("/", on_get(std::future::pending::<()>)), &stack);
    for (headers, seconds) in
        [(&[][..], 10), (&[("grpc-timeout", "1H")], 10), (&[("grpc-timeout", "3S")], 3)]
    {
        let start = tokio::time::Instant::now();
        let (status, _) = ask(&app, "/", headers).await;
        assert_eq!((status, start.elapsed().as_secs()), (504, seconds), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_told_by_when_its_caller_wants_all_of_it() {
    let stack = Stack::new(&Metrics::new("test")).with_stream("/stream");
    let routes = Router::new().route("/stream", on_get(by)).route("/whole", on_get(by));
    let app = inbound(routes, &stack);
    let minute = [("grpc-timeout", "1M")];
    for (path, headers, by) in [
        ("/stream", &minute[..], "60s"),
        ("/stream", &[], "never"),
        ("/whole", &minute[..], "never"),
    ] {
        assert_eq!(ask(&app, path, headers).await, (200, by.to_owned()), "{path} {headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_requests_that_all_come_spent_a_fifth_is_rejected_and_the_rest_is_served() {
    let metrics = Metrics::new("test");
    let stack = Stack::new(&metrics);
    let routes = || Router::new().route("/", on_get(told));
    // One service put together twice, as axum does for each route: there is one count.
    let apps = [inbound(routes(), &stack), inbound(routes(), &stack.clone())];
    let (mut rejected, mut served) = (0, 0);
    for n in 0..500 {
        let spent = [("x-request-timeout-ms", "0"), ("grpc-timeout", "999u")][n % 2];
        let (status, body) = ask(&apps[n % 2], "/", &[spent]).await;
        match status {
            504 => rejected += 1,
            200 => {
                assert_eq!(body, "2s 1", "under our own deadline");
                served += 1;
            }
            other => panic!("{other}"),
        }
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert_eq!((rejected, served), (100, 400));
    let text = metrics.render(Format::Text);
    let counter = "test_http_spent_deadlines_total";
    assert!(text.contains(&format!("{counter}{{outcome=\"rejected\"}} 100\n")), "{text}");
    assert!(text.contains(&format!("{counter}{{outcome=\"served\"}} 400\n")), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_skewed_peer_takes_nothing_from_those_in_time() {
    let app = inbound(Router::new().route("/", on_get(told)), &Stack::new(&Metrics::new("test")));
    for n in 0..200 {
        let skewed = n % 2 == 0;
        let time = if skewed { "0" } else { "100" };
        let (status, _) = ask(&app, "/", &[("x-request-timeout-ms", time)]).await;
        assert!(skewed || status == 200, "{n}");
        assert_eq!(ask(&app, "/", &[]).await.0, 200);
    }
}

/// A handler that hands out its context and then never ends.
fn holding() -> (Router, mpsc::Receiver<Context>) {
    let (sender, contexts) = mpsc::channel(16);
    let hold = async move |mut request: Request| -> Response {
        set_principal(request.extensions_mut(), Principal::new("shop", "till-1"));
        sender.send(request.extensions().get().cloned().unwrap()).await.unwrap();
        std::future::pending().await
    };
    (Router::new().route("/hold/{what}", on_get(hold)), contexts)
}

#[tokio::test]
async fn requests_in_flight_are_listed_until_their_end() {
    let (routes, mut contexts) = holding();
    let stack = Stack::new(&Metrics::new("test"));
    let in_flight: InFlight = stack.in_flight();
    let service = Service::start(inbound(routes, &stack), 0, 1_000).await;
    let mut client = Client::connect(service.addr).await;
    client.send("GET /hold/it HTTP/1.1\r\nhost: test\r\nx-request-id: listed-1\r\n\r\n").await;
    let cx = soon(contexts.recv()).await.unwrap();
    cx.enter(Activity::Queued, now());

    let listed = in_flight.list();
    assert_eq!(listed.len(), 1);
    let request = &listed[0];
    assert_eq!(request.request_id, "listed-1");
    assert_eq!((request.method.as_str(), request.route.as_str()), ("GET", "/hold/{what}"));
    assert_eq!(request.principal.as_deref(), Some("shop/till-1"));
    assert_eq!(request.activity, "queued");
    assert!(request.remaining.unwrap() <= Duration::from_secs(2));
    drop(client);
    until(|| in_flight.list().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn the_log_line_tells_where_the_time_went() {
    logs::collect();
    let work = async |Cx(cx): Cx| {
        for (activity, ms) in
            [(Activity::Queued, 20), (Activity::Storing, 30), (Activity::Working, 50)]
        {
            cx.enter(activity, now());
            tokio::time::advance(Duration::from_millis(ms)).await;
        }
        "done"
    };
    let app = Router::new().route("/work", on_get(work)).route("/idle", on_get(told));
    let app = inbound(app, &Stack::new(&Metrics::new("test")));
    let attempt = [("x-request-id", "phases-1"), ("x-envoy-attempt-count", "2")];
    assert_eq!(ask(&app, "/work", &attempt).await.0, 200);
    assert_eq!(ask(&app, "/idle", &[("x-request-id", "phases-2")]).await.0, 200);

    let line = &logs::access("phases-1")[0];
    assert_eq!(line["queue_ms"], 20.0);
    assert_eq!(line["store_ms"], 30.0);
    assert_eq!(line["duration_ms"], 100.0);
    assert_eq!(line["attempt"], 2);
    let line = &logs::access("phases-2")[0];
    for absent in ["queue_ms", "store_ms", "attempt"] {
        assert_eq!(line.get(absent), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_is_told_from_a_deadline_that_passed() {
    logs::collect();
    let metrics = Metrics::new("test");
    let (routes, mut contexts) = holding();
    let app = inbound(routes, &Stack::new(&metrics));
    // Both callers drop their request unanswered: one in time, the other as its deadline passes.
    for (id, stays, cause) in
        [("left-early", 100, Cause::CallerGone), ("left-late", 500, Cause::DeadlineExceeded)]
    {
        let request = Request::get("/hold/it").header("x-request-id", id);
        let request = request.header("x-request-timeout-ms", "500").body(Body::empty()).unwrap();
        let mut call = Box::pin(app.clone().oneshot(request));
        assert!(call.as_mut().now_or_never().is_none());
        tokio::time::advance(Duration::from_millis(stays)).await;
        drop(call);
        let cx = contexts.recv().await.unwrap();
        assert_eq!(cx.ended(now()), Some(cause), "{id}");
    }
    let line = &logs::access("left-early")[0];
    assert_eq!(line["status"], 499);
    assert_eq!(line.get("code"), None);
    let line = &logs::access("left-late")[0];
    assert_eq!(line["status"], 504);
    assert_eq!(line["code"], "deadline-exceeded");
}

/// Two services: the first asks the second.
async fn chain() -> (Service, Service, mpsc::Receiver<Context>) {
    let (routes, contexts) = holding();
    let inner = Service::start(inbound(routes, &Stack::new(&Metrics::new("inner"))), 0, 100).await;
    let addr = inner.addr;
    let pass_on = async move |Cx(cx): Cx| {
        let mut headers = HeaderMap::new();
        propagate(&cx, now(), &mut headers).unwrap();
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}\r\n", value.to_str().unwrap())
        };
        let lines = headers.iter().map(line).collect::<Vec<_>>().concat();
        get(addr, "/hold/it", &lines).await.body
    };
    let routes = Router::new().route("/", on_get(pass_on));
    let outer = Service::start(inbound(routes, &Stack::new(&Metrics::new("outer"))), 0, 100).await;
    (outer, inner, contexts)
}

#[tokio::test]
async fn deadline_ids_and_attempt_reach_the_next_service() {
    let (outer, _inner, mut contexts) = chain().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = format!(
        "x-request-id: chain-1\r\ntraceparent: {parent}\r\nx-request-timeout-ms: 400\r\n\
         x-envoy-attempt-count: 2\r\n"
    );
    let answer = get(outer.addr, "/", &headers).await;
    let cx = soon(contexts.recv()).await.unwrap();
    assert_eq!(cx.request_id().as_str(), "chain-1");
    assert_eq!(cx.trace().trace_id_hex(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(cx.attempt(), 2);
    assert_eq!(soon(cx.cancelled()).await, Cause::DeadlineExceeded);
    // Whoever of the two was first: both say that it was the time, not the caller.
    assert!(answer.body.contains("deadline-exceeded"), "{answer:?}");
}
