//! Calls to services that answer, fail, hang, and lie.

mod resilience;

use crate::support::{authority::Authority, serve, serve_with, soon, until};
use axum::{Extension, Router, body::Body, routing::get as on_get};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use mainstay::{
    client::http::{Client, Config, Error, NotSent, Safety, TlsError, Tries, Unknown},
    metrics::{Format, Metrics},
    server::{self, Tls, tls},
    tasks::Tasks,
};
use mainstay_context::{Cause, Context, TraceContext};
use std::{
    convert::Infallible,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Instant,
};

const MS: Duration = Duration::from_millis(1);
const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

fn context() -> Context {
    Context::new("r-1".parse().unwrap())
}

fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).unwrap()
}

fn at(addr: SocketAddr) -> Config {
    Config::new(format!("http://{addr}").parse().unwrap())
}

fn client(config: &Config) -> (Client, Metrics) {
    let metrics = Metrics::new("test");
    (Client::new("shop", config, &metrics).unwrap(), metrics)
}

/// One call without a deadline.
async fn ask(client: &Client, safety: Safety, path: &str) -> Result<Response<Bytes>, Error> {
    soon(client.call(&context(), safety, get(path))).await
}

/// A listener that hands each connection to `peer`; counts them.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Peer {
    pub(crate) async fn start<F>(peer: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, accepted) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (tasks, counted) = (Tasks::new(), Arc::clone(&accepted));
        let handling = tasks.clone();
        tasks.spawn("peer", async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, SeqCst);
                handling.spawn("connection", peer(stream));
            }
        });
        Self { addr, accepted, tasks }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

/// Reads the head of a request; `false` when there is none.
async fn head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

async fn reset_after_the_request(mut stream: TcpStream) {
    head(&mut stream).await;
    // What is closed with bytes unread, or without lingering, is reset.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

async fn hang_after_the_request(mut stream: TcpStream) {
    head(&mut stream).await;
    std::future::pending::<()>().await;
}

async fn say_hello(mut stream: TcpStream) {
    while head(&mut stream).await {
        stream.write_all(HELLO).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_rested_too_long_is_not_used_again() {
    let peer = Peer::start(say_hello).await;
    let (client, _) = client(&Config { idle_timeout: 20 * MS, ..at(peer.addr) });
    for calls in 1..=3 {
        assert!(ask(&client, Safety::Once, "/").await.is_ok());
        assert_eq!((peer.accepted(), client.status().idle_connections), (calls, 1));
        tokio::time::sleep(20 * MS).await;
    }
}

#[tokio::test]
async fn an_answer_is_read_whole_and_its_connection_used_again() {
    let peer = Peer::start(say_hello).await;
    let (client, metrics) = client(&at(peer.addr));
    for _ in 0..10 {
        let answer = ask(&client, Safety::Once, "/").await.unwrap();
        assert_eq!((answer.status(), answer.body().as_ref()), (StatusCode::OK, &b"hello"[..]));
    }
    assert_eq!((peer.accepted(), client.status().idle_connections), (1, 1));
    let text = metrics.render(Format::Text);
    let counted = "test_client_requests_total{dependency=\"shop\",outcome=\"ok\"} 10\n";
    assert!(text.contains(counted), "{text}");
    assert!(text.contains("test_client_request_duration_seconds_count{dependency=\"shop\"} 10\n"));
}

#[tokio::test]
async fn a_connection_that_is_refused_is_a_request_not_sent() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (client, metrics) = client(&at(free));
    let error = ask(&client, Safety::Once, "/").await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
    assert!(matches!(error, Error::NotSent(NotSent::Connect(_))), "{error:?}");
    let text = metrics.render(Format::Text);
    assert!(text.contains("outcome=\"not_sent\"} 1\n"), "{text}");
    assert!(text.contains("test_client_retries_total{dependency=\"shop\"} 1\n"), "{text}");
}

#[tokio::test]
async fn a_reset_after_the_request_is_an_unknown_outcome_and_once_is_once() {
    let peer = Peer::start(reset_after_the_request).await;
    let (client, _) = client(&Config { retry_floor: 10, ..at(peer.addr) });
    let error = ask(&client, Safety::Once, "/").await.unwrap_err();
    assert!(matches!(error, Error::Unknown(Unknown::Lost(_))), "{error:?}");
    assert_eq!(peer.accepted(), 1);

    let error = ask(&client, Safety::Keyed, "/").await.unwrap_err();
    assert!(!error.is_not_sent(), "{error:?}");
    assert_eq!(peer.accepted(), 1 + 3);
}

#[tokio::test]
async fn a_later_try_that_was_not_sent_does_not_hide_one_that_may_have_been() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, _) = client(&at(listener.local_addr().unwrap()));
    let tasks = Tasks::new();
    tasks.spawn("peer", async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        reset_after_the_request(stream).await;
    });
    let error = ask(&client, Safety::Keyed, "/").await.unwrap_err();
    assert!(matches!(error, Error::Unknown(Unknown::Lost(_))), "{error:?}");
}

#[tokio::test]
async fn a_connection_closed_while_it_rested_is_replaced_though_the_call_is_for_once() {
    let (closed, mut ends) = mpsc::channel(10);
    let peer = Peer::start(move |mut stream| {
        let closed = closed.clone();
        async move {
            head(&mut stream).await;
            stream.write_all(HELLO).await.unwrap();
            drop(stream);
            closed.send(()).await.unwrap();
        }
    });
    let peer = peer.await;
    let (client, _) = client(&at(peer.addr));
    for calls in 1..=5 {
        assert!(ask(&client, Safety::Once, "/").await.is_ok());
        assert_eq!(peer.accepted(), calls);
        soon(ends.recv()).await.unwrap();
        // What the kernel knows the reactor has yet to hear.
        tokio::time::sleep(5 * MS).await;
    }
}

#[tokio::test]
async fn hanging_and_dripping_are_bounded_by_the_limit_of_a_try() {
    let drip = async |mut stream: TcpStream| {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(5 * MS).await;
        }
    };
    let (hang, drip) = (Peer::start(hang_after_the_request).await, Peer::start(drip).await);
    for addr in [hang.addr, drip.addr] {
        let (client, _) = client(&Config { try_timeout: 100 * MS, tries: 1, ..at(addr) });
        let start = Instant::now();
        let error = ask(&client, Safety::Safe, "/").await.unwrap_err();
        assert!(matches!(error, Error::Unknown(Unknown::TimedOut { .. })), "{error:?}");
        assert!((100 * MS..2_000 * MS).contains(&start.elapsed()), "{:?}", start.elapsed());
        assert_eq!(client.status().in_flight, 0);
    }
}

#[tokio::test]
async fn a_call_ends_with_its_deadline_or_its_cancellation() {
    let peer = Peer::start(hang_after_the_request).await;
    let (client, _) = client(&Config { try_timeout: Duration::from_mins(1), ..at(peer.addr) });
    let start = Instant::now();
    let cx = context().with_deadline((start + 100 * MS).into_std());
    let error = soon(client.call(&cx, Safety::Safe, get("/"))).await.unwrap_err();
    assert!(matches!(error, Error::Unknown(Unknown::TimedOut { .. })), "{error:?}");
    assert!((100 * MS..2_000 * MS).contains(&start.elapsed()), "{:?}", start.elapsed());

    let cx = context();
    let cancel = async {
        until(|| peer.accepted() == 2).await;
        // Once it is connected, the request follows.
        tokio::time::sleep(20 * MS).await;
        cx.cancel(Cause::CallerGone);
    };
    let (result, ()) = tokio::join!(soon(client.call(&cx, Safety::Safe, get("/"))), cancel);
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Unknown(Unknown::Ended(Cause::CallerGone))), "{error:?}");
}

#[tokio::test]
async fn nothing_is_sent_for_a_request_whose_time_is_spent() {
    let peer = Peer::start(hang_after_the_request).await;
    let (client, _) = client(&at(peer.addr));
    for left in [Duration::ZERO, 4 * MS] {
        let cx = context().with_deadline((Instant::now() + left).into_std());
        let error = soon(client.call(&cx, Safety::Safe, get("/"))).await.unwrap_err();
        let ended = Cause::DeadlineExceeded;
        assert!(matches!(&error, Error::NotSent(NotSent::Ended(c)) if *c == ended), "{error:?}");
    }
    assert_eq!(peer.accepted(), 0);
}

#[tokio::test]
async fn a_gigabyte_is_refused_after_the_limit_and_what_fits_is_read() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let gigabyte = move |told: bool| {
        let counted = Arc::clone(&counted);
        let pieces = stream::iter((0..1 << 16).map(move |_| {
            counted.fetch_add(16 << 10, SeqCst);
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 16 << 10]))
        }));
        let answer = Response::builder();
        let answer = if told { answer.header("content-length", 1 << 30) } else { answer };
        answer.body(Body::from_stream(pieces)).unwrap()
    };
    let chunked = gigabyte.clone();
    let app = Router::new()
        .route("/told", on_get(async move || gigabyte(true)))
        .route("/chunked", on_get(async move || chunked(false)))
        .route("/fits", on_get(async || vec![b'x'; 64 << 10]))
        .route("/just-not", on_get(async || vec![b'x'; (64 << 10) + 1]));
    let (addr, _tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
    let (client, _) = client(&at(addr));
    for path in ["/told", "/chunked", "/just-not"] {
        let error = ask(&client, Safety::Safe, path).await.unwrap_err();
        let Error::Unknown(Unknown::TooLong { status, limit }) = error else { panic!("{error:?}") };
        assert_eq!((status, limit), (StatusCode::OK, 64 << 10));
    }
    // What stood in the buffers of the sockets, twice.
    assert!(taken.load(SeqCst) < 64 << 20, "{} bytes were taken", taken.load(SeqCst));
    assert_eq!(client.status().idle_connections, 0, "what is left unread spoils a connection");
    assert_eq!(ask(&client, Safety::Safe, "/fits").await.unwrap().body().len(), 64 << 10);
}

#[tokio::test]
async fn a_header_without_end_is_a_lost_connection() {
    let peer = Peer::start(async |mut stream: TcpStream| {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        let line = format!("x-more: {}\r\n", "x".repeat(1_000));
        while stream.write_all(line.as_bytes()).await.is_ok() {}
    });
    let peer = peer.await;
    let (client, _) = client(&Config { tries: 1, ..at(peer.addr) });
    let error = ask(&client, Safety::Safe, "/").await.unwrap_err();
    assert!(matches!(error, Error::Unknown(Unknown::Lost(_))), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let hits = Arc::new(AtomicUsize::new(0));
    let target = Arc::clone(&hits);
    let app = Router::new()
        .route("/old", on_get(async || (StatusCode::FOUND, [("location", "/new")])))
        .route("/new", on_get(async move || target.fetch_add(1, SeqCst).to_string()));
    let (addr, _tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
    let (client, _) = client(&at(addr));
    let answer = ask(&client, Safety::Safe, "/old").await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["location"]),
        (StatusCode::FOUND, &"/new".parse().unwrap())
    );
    assert_eq!(hits.load(SeqCst), 0);
}

#[tokio::test]
async fn the_circumstances_of_the_request_go_out_with_every_try() {
    let (seen, mut headers) = mpsc::channel(10);
    let handler = move |headers: http::HeaderMap| {
        let seen = seen.clone();
        async move {
            seen.send(headers).await.unwrap();
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let app = Router::new().route("/v1/pay", on_get(handler));
    let (addr, _tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
    let base = format!("http://{addr}/v1").parse().unwrap();
    let (client, _) = client(&Config { try_timeout: 500 * MS, ..Config::new(base) });
    let trace = TraceContext::new([1; 16], [2; 8]);
    let deadline = (Instant::now() + Duration::from_secs(5)).into_std();
    let cx = context().with_trace(trace).with_deadline(deadline);
    let answer = soon(client.call(&cx, Safety::Safe, get("/pay"))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    for attempt in ["1", "2"] {
        let headers = soon(headers.recv()).await.unwrap();
        assert_eq!(headers["x-envoy-attempt-count"], attempt);
        assert_eq!(headers["x-request-id"], "r-1");
        assert!(headers["traceparent"].to_str().unwrap().contains(&trace.trace_id_hex()));
        let time: u64 = headers["x-request-timeout-ms"].to_str().unwrap().parse().unwrap();
        assert!((1..=490).contains(&time), "the limit of the try, less the way back: {time}");
    }
}

#[tokio::test]
async fn what_a_proxy_has_tried_again_is_asked_for_once_and_counts_as_more_than_one_try() {
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&hits);
    let app = Router::new().route(
        "/",
        on_get(async move || {
            counted.fetch_add(1, SeqCst);
            (StatusCode::SERVICE_UNAVAILABLE, [("x-envoy-attempt-count", "3")])
        }),
    );
    let (addr, _tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
    let (client, _) = client(&at(addr));
    let answer = ask(&client, Safety::Safe, "/").await.unwrap();
    assert_eq!(answer.extensions().get(), Some(&Tries(3)));
    assert_eq!(hits.load(SeqCst), 1);
}

/// A certificate for `localhost` and its key, in files.
pub(crate) fn pair(folder: &Path) -> tls::Config {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    tls::Config::new(folder.join("cert.pem"), folder.join("key.pem"))
}

#[tokio::test]
async fn a_service_over_tls_is_trusted_by_its_authority_only() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (pair(ours.path()), pair(theirs.path()));
    let tls = Tls::load(&ours).unwrap();
    let app = Router::new().route("/", on_get(async || "hello"));
    let (addr, _tasks) =
        serve_with(app, server::Config::default(), |server| server.with_tls(tls)).await;
    let base = || format!("https://localhost:{}", addr.port()).parse().unwrap();
    let trusting = |file| Config { ca_file: Some(file), ..Config::new(base()) };

    let (client_of_ours, _) = client(&trusting(ours.cert_file));
    for _ in 0..2 {
        let answer = ask(&client_of_ours, Safety::Once, "/").await.unwrap();
        assert_eq!(answer.body().as_ref(), b"hello");
    }
    assert_eq!(client_of_ours.status().idle_connections, 1);

    let (client_of_theirs, _) = client(&trusting(theirs.cert_file));
    let error = ask(&client_of_theirs, Safety::Once, "/").await.unwrap_err();
    assert!(matches!(error, Error::NotSent(NotSent::Connect(_))), "{error:?}");
    assert!(Client::new("shop", &trusting("nowhere.pem".into()), &Metrics::new("test")).is_err());
}

#[tokio::test]
async fn a_client_is_let_in_by_the_certificate_that_it_shows() {
    let (folder, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    authority.server().write(folder.path());
    authority.client(&["spiffe://shop.test/till"]).write(own.path());
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, authority.pem()).unwrap();
    let files = tls::Config {
        client_ca_file: Some(ca_file.clone()),
        ..tls::Config::new(folder.path().join("cert.pem"), folder.path().join("key.pem"))
    };
    let tls = Tls::load(&files).unwrap();
    let who = async |Extension(peer): Extension<server::Peer>| String::from(&*peer.spiffe_id);
    let app = Router::new().route("/", on_get(who));
    let (addr, _tasks) =
        serve_with(app, server::Config::default(), |server| server.with_tls(tls)).await;
    let base = format!("https://localhost:{}", addr.port()).parse().unwrap();
    let unknown = Config { ca_file: Some(ca_file), ..Config::new(base) };
    let config = Config {
        cert_file: Some(own.path().join("cert.pem")),
        key_file: Some(own.path().join("key.pem")),
        ..unknown.clone()
    };

    let (shows, _) = client(&config);
    let answer = ask(&shows, Safety::Once, "/").await.unwrap();
    assert_eq!(answer.body().as_ref(), b"spiffe://shop.test/till");

    // It has sent the request by the time that the service looks at what it shows.
    stranger.client(&["spiffe://shop.test/till"]).write(own.path());
    for refused in [&config, &unknown] {
        let (refused, _) = client(refused);
        let error = ask(&refused, Safety::Once, "/").await.unwrap_err();
        assert!(matches!(error, Error::NotSent(NotSent::Connect(_))), "{error:?}");
    }
}

#[test]
fn half_of_a_pair_and_a_pair_without_tls_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = pair(folder.path());
    let whole = Config {
        ca_file: Some(files.cert_file.clone()),
        cert_file: Some(files.cert_file),
        key_file: Some(files.key_file),
        ..Config::new("https://localhost".parse().unwrap())
    };
    assert!(whole.check_files().is_ok());
    for half in
        [Config { cert_file: None, ..whole.clone() }, Config { key_file: None, ..whole.clone() }]
    {
        assert!(matches!(half.check_files(), Err(TlsError::Half)));
    }
    let plain = Config { base_url: "http://localhost".parse().unwrap(), ..whole };
    assert!(matches!(plain.check_files(), Err(TlsError::PlainText)));
}
