use crate::{
    logs,
    support::{Client, Service, get, soon, until},
};
use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::Response,
    routing::get as on_get,
};
use futures_util::FutureExt;
use mainstay::{
    http::{ClientAddr, Cx, Failure, Record, Stack, TimeoutHeader, inbound, set_principal},
    metrics::{Format, Metrics},
    server::Network,
};
use mainstay_context::{Cause, Context, Principal};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

struct World {
    service: Service,
    metrics: Metrics,
    /// The contexts of the requests that a handler holds, in order.
    contexts: mpsc::Receiver<Context>,
}

/// A service behind the stack with every kind of handler.
async fn world() -> World {
    logs::collect();
    let (sender, contexts) = mpsc::channel(16);
    let (hold, open) = (sender.clone(), sender);
    let routes = Router::new()
        .route("/hello/{name}", on_get(async || "hello"))
        .route("/panic", on_get(async || -> &'static str { panic!("on purpose") }))
        .route("/who", on_get(async |Cx(cx): Cx| cx.principal().map(ToString::to_string).unwrap()))
        .route(
            "/named",
            on_get(async || [("x-request-id", "of the handler"), ("traceparent", "no")]),
        )
        .route("/left", on_get(async |Cx(cx): Cx| left(&cx)))
        .route(
            "/client",
            on_get(async |Extension(client): Extension<ClientAddr>| client.ip().to_string()),
        )
        .route(
            "/hold",
            on_get(async move |Cx(cx): Cx| {
                hold.send(cx).await.unwrap();
                std::future::pending::<()>().await;
            }),
        )
        .route(
            "/stream",
            on_get(async move |Cx(cx): Cx| {
                open.send(cx.clone()).await.unwrap();
                stream(cx)
            }),
        )
        .route("/failing", on_get(async |Extension(record): Extension<Record>| failing(record)))
        .layer(from_fn(authenticate));
    let metrics = Metrics::new("test");
    let stack = Stack::new(&metrics).with_stream("/stream");
    let stack = stack.with_trusted_proxies(Network::loopback());
    let service = Service::start(inbound(routes, &stack), 0, 1_000).await;
    World { service, metrics, contexts }
}

fn left(cx: &Context) -> String {
    let left = cx.remaining(tokio::time::Instant::now().into_std());
    left.map_or("unlimited".to_owned(), |left| left.as_millis().to_string())
}

/// One line, and then nothing for ever.
fn stream(cx: Context) -> Body {
    let lines = futures_util::stream::unfold(Some(cx), async |cx| match cx {
        Some(cx) => Some((Ok::<_, std::io::Error>(Bytes::from(left(&cx) + "\n")), None)),
        None => std::future::pending().await,
    });
    Body::from_stream(lines)
}

/// One line, with which the answer fails.
fn failing(record: Record) -> Body {
    let lines = futures_util::stream::unfold(Some(record), async |record| {
        record?.set_failed("store-unavailable", StatusCode::SERVICE_UNAVAILABLE);
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b"the store is away\n")), None))
    });
    Body::from_stream(lines)
}

async fn authenticate(mut request: Request, next: Next) -> Response {
    set_principal(request.extensions_mut(), Principal::new("shop", "till-1"));
    let record = request.extensions().get::<Record>().cloned().unwrap();
    let refused = request.uri().path() == "/hello/nobody";
    if refused {
        record.set_code("unknown-name");
    }
    next.run(request).await
}

#[tokio::test]
async fn request_ids_and_traces_are_echoed_or_made() {
    let world = world().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = format!("x-request-id: echo-1\r\ntraceparent: {parent}\r\n");
    let named = get(world.service.addr, "/hello/ann", &headers).await;
    assert_eq!(named.header("x-request-id"), Some("echo-1"));
    let trace = named.header("traceparent").unwrap();
    assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{trace}");
    assert_ne!(trace, parent, "the span is ours");

    let mut client = Client::connect(world.service.addr).await;
    client
        .send(
            "GET /named HTTP/1.1\r\nhost: test\r\nx-request-id: ours\r\nconnection: close\r\n\r\n",
        )
        .await;
    let overruled = client.rest().await;
    assert!(overruled.contains("\r\nx-request-id: ours\r\n"), "{overruled}");
    assert!(!overruled.contains("of the handler") && !overruled.contains("traceparent: no"));
    let unnamed = get(world.service.addr, "/nowhere", "x-request-id: not valid\r\n").await;
    assert_eq!(unnamed.status(), 404);
    assert_eq!(unnamed.header("x-request-id").unwrap().len(), 32);
    assert_eq!(unnamed.header("traceparent").unwrap().len(), 55);
}

#[tokio::test]
async fn a_handler_knows_for_whom_a_trusted_proxy_speaks() {
    let world = world().await;
    let direct = get(world.service.addr, "/client", "").await;
    assert_eq!(direct.body, "127.0.0.1");
    let headers = "x-forwarded-for: 198.51.100.1, 203.0.113.9\r\nx-forwarded-for: 127.0.0.2\r\n";
    let behind = get(world.service.addr, "/client", headers).await;
    assert_eq!(behind.body, "203.0.113.9");
}

#[tokio::test]
async fn a_request_is_logged_once_with_all_that_is_known() {
    let world = world().await;
    let headers = "x-request-id: line-1\r\n";
    let answer = get(world.service.addr, "/hello/nobody?token=secret", headers).await;
    until(|| !logs::access("line-1").is_empty()).await;
    world.service.lifecycle.stop();
    world.service.report().await;

    let lines = logs::access("line-1");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!(line["method"], "GET");
    assert_eq!(line["route"], "/hello/{name}");
    assert_eq!(line["path"], "/hello/nobody");
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes"], 5);
    assert_eq!(line["principal"], "shop/till-1");
    assert_eq!(line["code"], "unknown-name");
    assert!(line["duration_ms"].as_f64().unwrap() >= 0.0);
    let trace_id = line["trace_id"].as_str().unwrap();
    assert!(answer.header("traceparent").unwrap().contains(trace_id));
    assert_eq!(line.get("cut"), None);
}

#[tokio::test]
async fn requests_are_measured_by_route() {
    let world = world().await;
    get(world.service.addr, "/hello/ann", "").await;
    get(world.service.addr, "/hello/bob", "").await;
    get(world.service.addr, "/nowhere", "").await;
    let seen = |text: &str| world.metrics.render(Format::Text).contains(text);
    let count = "test_http_request_duration_seconds_count";
    until(|| {
        seen(&format!("{count}{{method=\"GET\",route=\"/hello/{{name}}\",code=\"200\"}} 2\n"))
    })
    .await;
    until(|| seen(&format!("{count}{{method=\"GET\",route=\"none\",code=\"404\"}} 1\n"))).await;
    until(|| seen("test_http_requests_in_flight{} 0.0\n")).await;
}

#[tokio::test]
async fn an_answer_that_fails_after_its_head_is_counted_and_logged_as_failed() {
    let world = world().await;
    let mut client = Client::connect(world.service.addr).await;
    let headers = "host: test\r\nx-request-id: failing-1\r\nconnection: close\r\n";
    client.send(&format!("GET /failing HTTP/1.1\r\n{headers}\r\n")).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    until(|| !logs::access("failing-1").is_empty()).await;
    let lines = logs::access("failing-1");
    assert_eq!(lines[0]["status"], 503);
    assert_eq!(lines[0]["code"], "store-unavailable");
    assert_eq!(lines[0].get("cut"), None);
    let count = "test_http_request_duration_seconds_count";
    let counted = format!("{count}{{method=\"GET\",route=\"/failing\",code=\"503\"}} 1\n");
    until(|| world.metrics.render(Format::Text).contains(&counted)).await;
}

#[tokio::test]
async fn a_method_that_a_route_does_not_have_is_measured_as_other() {
    let world = world().await;
    let mut client = Client::connect(world.service.addr).await;
    client.send("PATCH /who HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 405);
    let labels = "{method=\"OTHER\",route=\"/who\",code=\"405\"}";
    until(|| world.metrics.render(Format::Text).contains(labels)).await;
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_service_lives() {
    let world = world().await;
    let mut client = Client::connect(world.service.addr).await;
    let answer = client.get("/panic", "x-request-id: panic-1\r\n").await;
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["code"], "internal");
    assert_eq!(problem["request_id"], "panic-1");
    assert_eq!(problem["retryable"], false);
    assert!(!answer.body.contains("on purpose"));
    assert_eq!(client.get("/hello/ann", "").await.status(), 200);
    until(|| logs::access("panic-1").iter().any(|line| line["code"] == "internal")).await;
}

#[tokio::test]
async fn a_spent_deadline_is_a_504_and_the_context_says_so() {
    let mut world = world().await;
    let headers = "x-request-id: late-1\r\nx-request-timeout-ms: 50\r\n";
    let answer = get(world.service.addr, "/hold", headers).await;
    assert_eq!(answer.status(), 504);
    let problem = answer.json();
    assert_eq!(problem["type"], "about:blank");
    assert_eq!(problem["title"], "Gateway Timeout");
    assert_eq!(problem["status"], 504);
    assert_eq!(problem["code"], "deadline-exceeded");
    assert_eq!(problem["retryable"], true);
    assert_eq!(problem["request_id"], "late-1");
    assert!(answer.header("traceparent").unwrap().contains(problem["trace_id"].as_str().unwrap()));
    let cx = soon(world.contexts.recv()).await.unwrap();
    assert_eq!(soon(cx.cancelled()).await, Cause::DeadlineExceeded);
}

#[tokio::test]
async fn a_request_whose_time_is_spent_already_starts_nothing() {
    let mut world = world().await;
    for path in ["/hold", "/stream"] {
        let answer = get(world.service.addr, path, "x-request-timeout-ms: 0\r\n").await;
        assert_eq!(
            (answer.status(), answer.json()["code"].as_str()),
            (504, Some("deadline-exceeded"))
        );
    }
    assert!(world.contexts.try_recv().is_err(), "no handler was called");
}

#[tokio::test]
async fn the_deadline_is_the_smaller_of_the_callers_and_ours() {
    let world = world().await;
    let left = async |headers: &str| -> u64 {
        get(world.service.addr, "/left", headers).await.body.parse().unwrap()
    };
    assert!((1..=2_000).contains(&left("").await));
    assert!((1..=500).contains(&left("x-request-timeout-ms: 500\r\n").await));
    assert!((5_000..=10_000).contains(&left("x-request-timeout-ms: 60000\r\n").await));
}

#[tokio::test]
async fn a_malformed_timeout_is_a_400() {
    let world = world().await;
    for value in ["soon", "-5", "1.5", "5000000000000"] {
        let headers = format!("x-request-timeout-ms: {value}\r\n");
        let answer = get(world.service.addr, "/hello/ann", &headers).await;
        assert_eq!(answer.status(), 400, "{value}");
        assert_eq!(answer.json()["code"], "invalid-timeout");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_its_context() {
    let mut world = world().await;
    let mut client = Client::connect(world.service.addr).await;
    client.send("GET /hold HTTP/1.1\r\nhost: test\r\nx-request-id: gone-1\r\n\r\n").await;
    let cx = soon(world.contexts.recv()).await.unwrap();
    drop(client);
    assert_eq!(soon(cx.cancelled()).await, Cause::CallerGone);
    until(|| logs::access("gone-1").iter().any(|line| line["status"] == 499)).await;
}

#[tokio::test]
async fn a_stream_outlives_the_deadline_and_its_end_cancels_the_context() {
    let mut world = world().await;
    let mut client = Client::connect(world.service.addr).await;
    client.send("GET /stream HTTP/1.1\r\nhost: test\r\nx-request-id: stream-1\r\n\r\n").await;
    let cx = soon(world.contexts.recv()).await.unwrap();
    assert_eq!(cx.deadline(), None);
    let head = client.answer().await;
    assert_eq!((head.status(), logs::access("stream-1").len()), (200, 0));
    drop(client);
    assert_eq!(soon(cx.cancelled()).await, Cause::CallerGone);
    until(|| logs::access("stream-1").iter().any(|line| line["cut"] == true)).await;
}

#[tokio::test]
async fn the_deadline_of_a_stream_ends_with_the_head_of_its_answer() {
    let mut world = world().await;
    let mut client = Client::connect(world.service.addr).await;
    let head = client.get("/stream", "x-request-timeout-ms: 10000\r\n").await;
    let cx = soon(world.contexts.recv()).await.unwrap();
    assert_eq!((head.status(), cx.deadline()), (200, None));
    assert!(cx.cancelled().now_or_never().is_none());
}

#[tokio::test]
async fn a_stream_that_does_not_begin_in_the_callers_time_is_a_504() {
    let (sender, mut contexts) = mpsc::channel(1);
    let hold = async move |Cx(cx): Cx| {
        sender.send(cx).await.unwrap();
        std::future::pending::<()>().await;
    };
    let stack = Stack::new(&Metrics::new("test")).with_stream("/");
    let app = inbound(Router::new().route("/", on_get(hold)), &stack);
    let service = Service::start(app, 0, 1_000).await;
    let answer = get(service.addr, "/", "x-request-timeout-ms: 50\r\n").await;
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (504, Some("deadline-exceeded")));
    let cx = soon(contexts.recv()).await.unwrap();
    assert_eq!(soon(cx.cancelled()).await, Cause::DeadlineExceeded);
}

#[tokio::test]
async fn a_service_writes_the_failures_of_the_stack_and_the_log_line_names_them() {
    logs::collect();
    let failures = |failure: Failure, cx: &Context| {
        let text = format!("{} of {}", failure.code(), cx.request_id());
        Response::builder().status(failure.status()).body(Body::from(text)).unwrap()
    };
    let routes = Router::new()
        .route("/panic", on_get(async || -> &'static str { panic!("on purpose") }))
        .route("/hold", on_get(async || std::future::pending::<&str>().await));
    let stack = Stack::new(&Metrics::new("test")).with_failures(failures);
    let service = Service::start(inbound(routes, &stack), 0, 1_000).await;
    for (path, timeout, failure) in [
        ("/panic", "1000", Failure::Internal),
        ("/hold", "50", Failure::DeadlineExceeded),
        ("/hold", "soon", Failure::InvalidTimeout(TimeoutHeader::RequestTimeout)),
    ] {
        let (code, id) = (failure.code(), format!("own-{}", failure.code()));
        let headers = format!("x-request-id: {id}\r\nx-request-timeout-ms: {timeout}\r\n");
        let answer = get(service.addr, path, &headers).await;
        assert_eq!(answer.status(), failure.status().as_u16());
        assert_eq!(answer.body, format!("{code} of {id}"));
        assert_eq!(answer.header("x-request-id"), Some(id.as_str()));
        until(|| logs::access(&id).iter().any(|line| line["code"] == code)).await;
    }
}

#[tokio::test]
async fn the_principal_reaches_handlers() {
    let world = world().await;
    assert_eq!(get(world.service.addr, "/who", "").await.body, "shop/till-1");
}

#[tokio::test]
async fn a_handler_outside_the_stack_has_no_context() {
    let app = Router::new().route("/", on_get(async |Cx(_): Cx| "never"));
    let service = Service::start(app, 0, 1_000).await;
    let answer = get(service.addr, "/", "").await;
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (500, Some("internal")));
}

#[tokio::test]
async fn an_answer_in_full_does_not_cancel_its_context() {
    let (sender, mut contexts) = mpsc::channel(1);
    let entered = Arc::new(Notify::new());
    let done = Arc::clone(&entered);
    let app = Router::new().route(
        "/",
        on_get(async move |Cx(cx): Cx| {
            sender.send(cx).await.unwrap();
            done.notify_one();
            "whole"
        }),
    );
    let metrics = Metrics::new("test");
    let service = Service::start(inbound(app, &Stack::new(&metrics)), 0, 1_000).await;
    assert_eq!(get(service.addr, "/", "").await.body, "whole");
    let cx = soon(contexts.recv()).await.unwrap();
    until(|| metrics.render(Format::Text).contains("in_flight{} 0.0")).await;
    assert!(cx.cancelled().now_or_never().is_none());
}
