//! Calls of gRPC to services that answer, push back, refuse, hang, and end in the middle.

mod dial;
mod ends;

use crate::{
    client::Peer,
    support::{serve, serve_with, soon, until},
};
use axum::{Router, body::Body as Sent, extract::Request as Asked};
use bytes::Bytes;
use futures_util::{StreamExt as _, future::join_all, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use mainstay::{
    client::grpc::{
        Body, Breaker, Channel, Config, Error, NotSent, Safety, Tries, Unknown, unanswered,
    },
    metrics::{Format, Metrics},
    server::{self, Tls},
    tasks::Tasks,
};
use mainstay_context::{Context, TraceContext};
use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tonic::{Code, Status};
use tower::ServiceExt as _;

const MS: Duration = Duration::from_millis(1);
/// A message of no bytes, as it goes over a connection.
const EMPTY: &[u8] = &[0; 5];

type Headers = &'static [(&'static str, &'static str)];

const OK: Headers = &[("grpc-status", "0")];
const UNAVAILABLE: Headers = &[("grpc-status", "14")];

fn context() -> Context {
    Context::new("r-1".parse().unwrap())
}

fn at(addr: SocketAddr) -> Config {
    Config::new(format!("http://{addr}").parse().unwrap())
}

fn channel(config: &Config) -> (Channel, Metrics) {
    let metrics = Metrics::new("test");
    (Channel::new("shop", config, &metrics).unwrap(), metrics)
}

fn request(cx: &Context, safety: Option<Safety>) -> Request<Full<Bytes>> {
    let request = Request::post("/shop.v1.Shop/Call").extension(cx.clone());
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let request = safety.into_iter().fold(request, http::request::Builder::extension);
    request.body(Full::new(Bytes::from_static(EMPTY))).unwrap()
}

async fn open(
    channel: &Channel,
    cx: &Context,
    safety: Option<Safety>,
) -> Result<Response<Body>, Status> {
    soon(channel.clone().oneshot(request(cx, safety))).await
}

/// One call without a deadline; the code that it was answered with.
async fn ask(channel: &Channel, safety: Safety) -> Result<Code, Status> {
    let (head, body) = open(channel, &context(), Some(safety)).await?.into_parts();
    let trailers = body.collect().await?.trailers().cloned();
    let code = |headers: &HeaderMap| Some(Code::from_bytes(headers.get("grpc-status")?.as_bytes()));
    Ok(code(&head.headers).or_else(|| code(&trailers?)).unwrap())
}

/// A service that gives its answers one by one, the last of them again and again, and keeps what it was
/// asked with.
struct Script {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<HeaderMap>>>,
    _tasks: Tasks,
}

impl Script {
    async fn start(answers: &'static [Headers]) -> Self {
        let asked: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let answer = async move |request: Asked| {
            let mut seen = seen.lock().unwrap();
            seen.push(request.headers().clone());
            let headers = answers[(seen.len() - 1).min(answers.len() - 1)];
            let answer = Response::builder().header("content-type", "application/grpc");
            let answer =
                headers.iter().fold(answer, |answer, &(name, value)| answer.header(name, value));
            answer.body(Sent::empty()).unwrap()
        };
        let app = Router::new().fallback(answer);
        let (addr, tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
        Self { addr, asked, _tasks: tasks }
    }

    fn calls(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[tokio::test]
async fn what_is_unavailable_is_tried_again_and_nothing_else_is() {
    let rows: [(Headers, usize, Code); 8] = [
        (UNAVAILABLE, 2, Code::Ok),
        // A proxy between has made one try of it, and more than one.
        (&[("grpc-status", "14"), ("x-envoy-attempt-count", "1")], 2, Code::Ok),
        (&[("grpc-status", "14"), ("x-envoy-attempt-count", "2")], 1, Code::Unavailable),
        (&[("grpc-status", "4")], 1, Code::DeadlineExceeded),
        (&[("grpc-status", "1")], 1, Code::Cancelled),
        (&[("grpc-status", "8")], 1, Code::ResourceExhausted),
        (&[("grpc-status", "9")], 1, Code::FailedPrecondition),
        (&[("grpc-status", "13")], 1, Code::Internal),
    ];
    for (first, calls, code) in rows {
        let answers: &'static [Headers] = Box::leak(Box::new([first, OK]));
        let script = Script::start(answers).await;
        let (channel, _) = channel(&at(script.addr));
        assert_eq!(ask(&channel, Safety::Safe).await.unwrap(), code);
        assert_eq!(script.calls(), calls, "{code:?}");
    }
}

#[tokio::test]
async fn a_call_with_an_effect_of_its_own_is_made_once() {
    let script = Script::start(&[UNAVAILABLE]).await;
    let (channel, _) = channel(&at(script.addr));
    assert_eq!(ask(&channel, Safety::Once).await.unwrap(), Code::Unavailable);
    assert_eq!(script.calls(), 1);
    // Nor is one that streams, whatever it is.
    assert!(open(&channel, &context(), None).await.is_ok());
    assert_eq!(script.calls(), 2);
}

#[tokio::test]
async fn a_pushback_is_waited_for_or_ends_the_call() {
    const LATER: Headers = &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "300")];
    const LESS: Headers = &[("grpc-status", "8"), ("grpc-retry-pushback-ms", "300")];
    const NEVER: Headers = &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")];
    const MUCH_LATER: Headers = &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "6000")];
    for (answers, calls, code) in [
        (&[LATER, OK], 2, Code::Ok),
        (&[LESS, OK], 2, Code::Ok),
        (&[NEVER, OK], 1, Code::Unavailable),
        (&[MUCH_LATER, OK], 1, Code::Unavailable),
    ] {
        let script = Script::start(answers).await;
        let (channel, _) = channel(&at(script.addr));
        let began = Instant::now();
        assert_eq!(ask(&channel, Safety::Keyed).await.unwrap(), code);
        assert_eq!(script.calls(), calls, "{answers:?}");
        assert!(calls == 1 || began.elapsed() >= 300 * MS, "{answers:?}");
    }
}

#[tokio::test]
async fn the_circumstances_of_the_request_go_out_with_every_try() {
    let script = Script::start(&[UNAVAILABLE, OK]).await;
    let (channel, _) = channel(&Config { try_timeout: 500 * MS, ..at(script.addr) });
    let trace = TraceContext::new([1; 16], [2; 8]);
    let deadline = (Instant::now() + Duration::from_secs(5)).into_std();
    let cx = context().with_trace(trace).with_deadline(deadline);
    let answer = open(&channel, &cx, Some(Safety::Safe)).await.unwrap();
    assert_eq!(answer.extensions().get(), Some(&Tries(2)));
    let asked = script.asked.lock().unwrap();
    for (headers, attempt) in asked.iter().zip(["1", "2"]) {
        assert_eq!(headers["x-envoy-attempt-count"], attempt);
        assert_eq!(headers["x-request-id"], "r-1");
        assert!(headers["traceparent"].to_str().unwrap().contains(&trace.trace_id_hex()));
        let time = headers["grpc-timeout"].to_str().unwrap().strip_suffix('m').unwrap();
        let time: u64 = time.parse().unwrap();
        assert!((1..=490).contains(&time), "the limit of the try, less the way back: {time}");
    }
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn calls_share_one_connection_until_it_rests_too_long() {
    let script = Script::start(&[OK]).await;
    let to = script.addr;
    let counted = Peer::start(move |mut near: TcpStream| async move {
        let mut far = TcpStream::connect(to).await.unwrap();
        drop(copy_bidirectional(&mut near, &mut far).await);
    });
    let counted = counted.await;
    let (channel, _) = channel(&Config { idle_timeout: 200 * MS, ..at(counted.addr) });
    let calls = join_all((0..20).map(|_| ask(&channel, Safety::Once))).await;
    assert!(calls.into_iter().all(|code| code.unwrap() == Code::Ok));
    assert_eq!((counted.accepted(), script.calls()), (1, 20));
    until(|| channel.status().idle_connections == 1).await;
    tokio::time::sleep(200 * MS).await;
    assert_eq!(ask(&channel, Safety::Once).await.unwrap(), Code::Ok);
    assert_eq!(counted.accepted(), 2);
}

#[tokio::test]
async fn the_breaker_opens_on_what_is_wrong_with_the_service_only() {
    let refusing = Script::start(&[&[("grpc-status", "5")]]).await;
    let (well, _) = channel(&at(refusing.addr));
    for _ in 0..10 {
        assert_eq!(ask(&well, Safety::Safe).await.unwrap(), Code::NotFound);
    }
    assert_eq!(well.status().breaker, "closed");

    let failing = Script::start(&[UNAVAILABLE]).await;
    let (ill, metrics) = channel(&Config { tries: 1, ..at(failing.addr) });
    for _ in 0..5 {
        assert_eq!(ask(&ill, Safety::Safe).await.unwrap(), Code::Unavailable);
    }
    for safety in [Some(Safety::Safe), None] {
        let status = open(&ill, &context(), safety).await.unwrap_err();
        let error = unanswered(&status).unwrap();
        assert!(matches!(error, Error::NotSent(NotSent::BreakerOpen { .. })), "{error:?}");
        assert_eq!(status.code(), Code::Unavailable);
    }
    assert_eq!((failing.calls(), ill.status().breaker), (5, "open"));
    let text = metrics.render(Format::Text);
    for line in [
        "test_client_breaker_state{dependency=\"shop\"} 2.0\n",
        "test_client_requests_total{dependency=\"shop\",outcome=\"failed\"} 5\n",
        "test_client_requests_total{dependency=\"shop\",outcome=\"not_sent\"} 2\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test]
async fn permits_bound_the_calls_and_a_stream_keeps_none() {
    let app = Router::new().fallback(async || {
        let told = stream::iter([message()]).chain(stream::pending());
        Sent::new(StreamBody::new(told))
    });
    let (addr, _tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
    let (channel, _) = channel(&Config { max_in_flight: 1, max_queue: 0, ..at(addr) });
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut told = open(&channel, &context(), None).await.unwrap().into_body();
        assert_eq!(soon(told.frame()).await.unwrap().unwrap().into_data().unwrap(), EMPTY);
        streams.push(told);
    }
    assert_eq!(channel.status().in_flight, 0);
    // One whose answer does not end has its permit until its try does.
    let (endless, other) = (channel.clone(), channel.clone());
    let cx = context();
    let mut endless = pin!(endless.oneshot(request(&cx, Some(Safety::Once))));
    let waits = poll_fn(|task| Poll::Ready(endless.as_mut().poll(task).is_pending())).await;
    assert!(waits && channel.status().in_flight == 1);
    let status = open(&other, &context(), Some(Safety::Once)).await.unwrap_err();
    assert!(matches!(unanswered(&status), Some(Error::NotSent(NotSent::Full(_)))), "{status:?}");
}

#[expect(clippy::unnecessary_wraps, reason = "it is an item of a stream")]
fn message() -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(Bytes::from_static(EMPTY)))
}

#[tokio::test]
async fn a_stream_is_told_as_it_comes_and_ends_with_its_request() {
    let app = Router::new().fallback(async || {
        let told = stream::iter([message(), message()]).chain(stream::pending());
        Sent::new(StreamBody::new(told))
    });
    let (addr, _tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
    // A stream has no limit of a try.
    let (channel, _) = channel(&Config { try_timeout: 50 * MS, ..at(addr) });
    let cx = context().with_deadline((Instant::now() + 300 * MS).into_std());
    let began = Instant::now();
    let mut told = open(&channel, &cx, None).await.unwrap().into_body();
    for _ in 0..2 {
        assert_eq!(soon(told.frame()).await.unwrap().unwrap().into_data().unwrap(), EMPTY);
    }
    let status = soon(told.frame()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(began.elapsed() >= 290 * MS);
    assert!(soon(told.frame()).await.is_none());
}

#[tokio::test]
async fn an_answer_with_too_much_in_it_is_not_kept() {
    let app = Router::new().fallback(async || Sent::from(vec![0_u8; 1_001]));
    let (addr, _tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
    let (channel, _) = channel(&Config { reply_limit: 1_000, ..at(addr) });
    let status = open(&channel, &context(), Some(Safety::Safe)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(unanswered(&status).is_some_and(|error| !error.is_not_sent()));
}

#[tokio::test]
async fn an_answer_without_a_status_is_none() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let app = Router::new().fallback(async move || {
        counted.fetch_add(1, SeqCst);
        EMPTY
    });
    let (addr, _tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
    let (channel, _) = channel(&Config { retry_floor: 10, ..at(addr) });
    for (safety, calls_by_then) in [(Safety::Once, 1), (Safety::Keyed, 4)] {
        let status = open(&channel, &context(), Some(safety)).await.unwrap_err();
        let error = unanswered(&status).unwrap();
        assert!(!error.is_not_sent(), "{error:?}");
        assert_eq!(calls.load(SeqCst), calls_by_then, "{safety:?}");
    }
}

#[tokio::test]
async fn a_stream_that_is_over_without_a_status_has_broken_off() {
    let app = Router::new().fallback(async || EMPTY);
    let (addr, _tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
    let (channel, _) = channel(&at(addr));
    let mut told = open(&channel, &context(), None).await.unwrap().into_body();
    assert_eq!(soon(told.frame()).await.unwrap().unwrap().into_data().unwrap(), EMPTY);
    let status = soon(told.frame()).await.unwrap().unwrap_err();
    let error = unanswered(&status).unwrap();
    assert!(matches!(error, Error::Unknown(Unknown::Lost(_))), "{error:?}");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(soon(told.frame()).await.is_none());
}

#[tokio::test]
async fn the_page_of_a_proxy_is_the_code_that_stands_for_it() {
    for (status, code) in [
        (StatusCode::BAD_GATEWAY, Code::Unavailable),
        (StatusCode::NOT_FOUND, Code::Unimplemented),
        (StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown),
    ] {
        let app = Router::new().fallback(async move || (status, "<html>Sorry!</html>"));
        let (addr, _tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
        let (channel, _) = channel(&Config { tries: 1, ..at(addr) });
        for safety in [Some(Safety::Safe), None] {
            let (head, mut body) = open(&channel, &context(), safety).await.unwrap().into_parts();
            let said = Status::from_header_map(&head.headers).unwrap();
            assert_eq!(said.code(), code, "{status}");
            assert!(said.message().contains(status.as_str()), "{said:?}");
            assert!(soon(body.frame()).await.is_none(), "it has no messages");
        }
    }
}

#[tokio::test]
async fn answers_that_nobody_reads_keep_no_other_from_coming() {
    const UNREAD: usize = 8;
    const CHUNK: usize = 16 << 10;
    let (came, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&told);
    let app = Router::new().fallback(async move || {
        if came.fetch_add(1, SeqCst) >= UNREAD {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let answer = [message(), Ok(Frame::trailers(trailers))];
            return Sent::new(StreamBody::new(stream::iter(answer)));
        }
        let counted = Arc::clone(&counted);
        let chunks = stream::repeat_with(move || {
            counted.fetch_add(CHUNK, SeqCst);
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; CHUNK])))
        });
        Sent::new(StreamBody::new(chunks))
    });
    let (addr, _tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
    let (channel, _) = channel(&at(addr));
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        unread.push(open(&channel, &context(), None).await.unwrap());
    }
    // As much as may be sent of each.
    until(|| told.load(SeqCst) >= UNREAD << 20).await;
    assert_eq!(ask(&channel, Safety::Once).await.unwrap(), Code::Ok);
}

#[tokio::test]
async fn a_service_over_tls_speaks_http_2() {
    let folder = tempfile::tempdir().unwrap();
    let pair = crate::client::pair(folder.path());
    let tls = Tls::load(&pair).unwrap();
    let app = Router::new().fallback(async || [("grpc-status", "0")]);
    let (addr, _tasks) =
        serve_with(app, server::Config::default(), |server| server.with_tls(tls)).await;
    let base = format!("https://localhost:{}", addr.port()).parse().unwrap();
    let config = Config { ca_file: Some(pair.cert_file), ..Config::new(base) };
    let (channel, _) = channel(&config);
    assert_eq!(ask(&channel, Safety::Once).await.unwrap(), Code::Ok);
}

#[tokio::test]
async fn nobody_there_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let (channel, _) = channel(&Config { breaker: never(), ..at(nobody) });
    for safety in [Some(Safety::Once), None] {
        let status = open(&channel, &context(), safety).await.unwrap_err();
        let error = unanswered(&status).unwrap();
        assert!(matches!(error, Error::NotSent(NotSent::Connect(_))), "{error:?}");
        assert_eq!(status.code(), Code::Unavailable);
    }
}

/// A breaker that does not open.
fn never() -> Breaker {
    Breaker { consecutive_failures: 0, failure_ratio: 2.0, slow_ratio: 2.0, ..Breaker::default() }
}
