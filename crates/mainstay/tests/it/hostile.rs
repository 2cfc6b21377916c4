//! Peers that stop, dawdle or flood.

use crate::support::{Client, get, serve, soon, until};
use axum::{
    Router,
    body::{Body, Bytes},
    routing::{get as on_get, post as on_post},
};
use futures_util::stream;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay::{
    metrics::{Format, Metrics},
    server::{BodyIdle, Config},
    tasks::Tasks,
};
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

const SHORT: Duration = Duration::from_millis(100);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

/// A server that says hello, echoes, and sends for ever; its metrics; the end of its tasks.
struct Hostile {
    addr: SocketAddr,
    metrics: Metrics,
    _tasks: Tasks,
}

impl Hostile {
    async fn start(config: Config) -> Self {
        let echo = async |body: Body| match body.collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(BodyIdle::find(&error).unwrap().to_string()),
        };
        let endless = async || {
            let piece = Bytes::from_static(&[b'x'; 16 << 10]);
            Body::from_stream(stream::repeat(Ok::<_, Infallible>(piece)))
        };
        let app = Router::new()
            .route("/", on_get(async || "hello"))
            .route("/echo", on_post(echo))
            .route("/endless", on_get(endless));
        let metrics = Metrics::new("test");
        let (addr, tasks) = serve(app, config, &metrics).await;
        Self { addr, metrics, _tasks: tasks }
    }

    /// Waits until this many connections ended for this reason, and none is open.
    async fn ended(&self, reason: &str, count: usize) {
        let ended = format!("test_http_connections_ended_total{{reason=\"{reason}\"}} {count}\n");
        until(|| {
            let text = self.metrics.render(Format::Text);
            text.contains(&ended) && text.contains("test_http_connections{} 0.0\n")
        })
        .await;
    }

    /// A connection that has sent the preface and `frames`.
    async fn http2(&self, frames: &[u8]) -> TcpStream {
        let mut stream = soon(TcpStream::connect(self.addr)).await.unwrap();
        let hello = [PREFACE, SETTINGS, frames].concat();
        soon(stream.write_all(&hello)).await.unwrap();
        stream
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// The header block of a request: the method's index in HPACK's static table, and its path.
fn headers(method: u8, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    [&[method, 0x86, 0x44, length], path.as_bytes(), &[0x41, 4], b"test"].concat()
}

/// Everything until the end, whether that is a close or a reset.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _close_or_reset = soon(stream.read_to_end(&mut rest)).await;
    rest
}

/// Whether a frame of this kind is among whole `frames`.
fn has_frame(mut frames: &[u8], kind: u8) -> bool {
    while let [a, b, c, found, _, _, _, _, _, payload @ ..] = frames {
        if *found == kind {
            return true;
        }
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        frames = payload.get(length..).unwrap_or_default();
    }
    false
}

const GOAWAY: u8 = 7;

#[tokio::test]
async fn a_body_that_never_comes_ends_at_its_limit() {
    let server = Hostile::start(Config { body_idle_timeout: SHORT, ..Config::default() }).await;
    for head in [
        "content-length: 10\r\n\r\n",
        "content-length: 10\r\n\r\nhalf",
        "transfer-encoding: chunked\r\n\r\n1\r\na\r\n",
    ] {
        let mut client = Client::connect(server.addr).await;
        client.send(&format!("POST /echo HTTP/1.1\r\nhost: test\r\n{head}")).await;
        let answer = client.rest().await;
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with("nothing came of the body for 100ms"), "{answer}");
    }
    server.ended("body", 3).await;
}

#[tokio::test]
async fn a_body_that_never_comes_on_http2_ends_its_own_stream_at_its_limit() {
    let server = Hostile::start(Config { body_idle_timeout: SHORT, ..Config::default() }).await;
    let mut stream = server.http2(&frame(1, 4, 1, &headers(0x83, "/echo"))).await;
    let (data, head, reset) = (0, 1, 3);
    let mut seen = frames_until(&mut stream, (reset, 1)).await;
    assert!(seen.contains(&(data, 1)), "it has its answer: {seen:?}");
    soon(stream.write_all(&frame(1, 5, 3, &headers(0x82, "/")))).await.unwrap();
    seen.extend(frames_until(&mut stream, (head, 3)).await);
    assert!(seen.iter().all(|(kind, _)| *kind != GOAWAY), "the others go on: {seen:?}");
}

#[tokio::test]
async fn unfinished_headers_on_http2_end_at_the_header_limit() {
    let server = Hostile::start(Config { header_timeout: SHORT, ..Config::default() }).await;
    let without_end = frame(1, 1, 1, &headers(0x82, "/"));
    let half_a_frame = &frame(1, 5, 1, &headers(0x82, "/"))[..12];
    for frames in [&without_end[..], half_a_frame] {
        let mut stream = server.http2(frames).await;
        rest(&mut stream).await;
    }
    server.ended("header", 2).await;
}

#[tokio::test]
async fn a_reader_that_stops_ends_with_a_request_in_flight() {
    let config = Config { write_timeout: Duration::from_millis(400), ..Config::default() };
    let server = Hostile::start(config).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = soon(socket.connect(server.addr)).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    server.ended("stall", 1).await;
    drop(stream);
}

#[tokio::test]
async fn a_reader_on_http2_that_opens_no_window_ends_with_a_request_in_flight() {
    let server = Hostile::start(Config { write_timeout: SHORT, ..Config::default() }).await;
    let mut stream = server.http2(&frame(1, 5, 1, &headers(0x82, "/endless"))).await;
    rest(&mut stream).await;
    server.ended("stall", 1).await;
}

/// The kinds and streams of whole frames, as they come, until `wanted` is among them.
async fn frames_until(stream: &mut TcpStream, wanted: (u8, u32)) -> Vec<(u8, u32)> {
    let mut seen = Vec::new();
    while seen.last() != Some(&wanted) {
        let mut head = [0; 9];
        soon(stream.read_exact(&mut head)).await.unwrap();
        let [length @ .., _, _, _, _, _, _] = head;
        let mut payload =
            vec![0; length.into_iter().fold(0, |all, byte| all << 8 | usize::from(byte))];
        soon(stream.read_exact(&mut payload)).await.unwrap();
        let [.., d, e, f, g] = head;
        seen.push((head[3], u32::from_be_bytes([d, e, f, g])));
    }
    seen
}

#[tokio::test]
async fn an_answer_on_http2_that_nobody_takes_is_reset_and_a_feed_beside_it_goes_on() {
    let tick = async || {
        let event = stream::unfold((), async |()| {
            tokio::time::sleep(SHORT / 4).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 100])), ()))
        });
        Body::from_stream(event)
    };
    let endless = async || {
        let piece = Bytes::from_static(&[b'x'; 1 << 10]);
        Body::from_stream(stream::repeat(Ok::<_, Infallible>(piece)))
    };
    let app = Router::new().route("/feed", on_get(tick)).route("/endless", on_get(endless));
    let config = Config { write_timeout: SHORT, ..Config::default() };
    let (addr, _server) = serve(app, config, &Metrics::new("test")).await;
    let mut stream = soon(TcpStream::connect(addr)).await.unwrap();
    let no_window = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let feed = frame(1, 5, 1, &headers(0x82, "/feed"));
    let window = frame(8, 0, 1, &[0, 16, 0, 0]);
    let stuck = frame(1, 5, 3, &headers(0x82, "/endless"));
    let hello = [PREFACE, &no_window, &feed, &window, &stuck].concat();
    soon(stream.write_all(&hello)).await.unwrap();
    let (data, reset) = (0, 3);
    frames_until(&mut stream, (reset, 3)).await;
    let after = async {
        for _ in 0..8 {
            frames_until(&mut stream, (data, 1)).await;
        }
    };
    after.await;
}

#[tokio::test]
async fn an_old_connection_is_told_to_end() {
    let server = Hostile::start(Config { max_age: SHORT, ..Config::default() }).await;
    let mut idle = Client::connect(server.addr).await;
    assert_eq!(idle.get("/", "").await.header("connection"), None);
    assert_eq!(idle.rest().await, "");
    server.ended("age", 1).await;
}

#[tokio::test]
async fn an_old_connection_finishes_the_request_in_flight() {
    let server = Hostile::start(Config { max_age: SHORT, ..Config::default() }).await;
    let mut client = Client::connect(server.addr).await;
    client.send("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\n\r\na").await;
    tokio::time::sleep(3 * SHORT).await;
    client.send("b").await;
    let answer = client.answer().await;
    assert_eq!((answer.header("connection"), &*answer.body), (Some("close"), "ab"));
    server.ended("age", 1).await;
}

#[tokio::test]
async fn the_last_request_of_a_connection_says_so() {
    let server = Hostile::start(Config { max_requests: 2, ..Config::default() }).await;
    let mut client = Client::connect(server.addr).await;
    assert_eq!(client.get("/", "").await.header("connection"), None);
    assert_eq!(client.get("/", "").await.header("connection"), Some("close"));
    assert_eq!(client.rest().await, "");
    server.ended("requests", 1).await;
}

#[tokio::test]
async fn on_http2_the_last_request_is_answered_and_the_connection_ends() {
    let server = Hostile::start(Config { max_requests: 2, ..Config::default() }).await;
    let io = TokioIo::new(TcpStream::connect(server.addr).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<&[u8]>>(TokioExecutor::new(), io)
            .await
            .unwrap();
    let requests = async {
        for _ in 0..2 {
            let request = http::Request::get("http://test/").body(Empty::new()).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        }
    };
    let (ended, ()) = soon(async { tokio::join!(connection, requests) }).await;
    ended.unwrap();
    server.ended("requests", 1).await;
}

#[tokio::test]
async fn floods_of_frames_that_do_no_work_are_cut() {
    let server = Hostile::start(Config::default()).await;
    let open = frame(1, 4, 1, &headers(0x83, "/echo"));
    let unknown = frame(0xbb, 0, 0, b"?");
    // Empty frames of a body break a limit of h2 before they break ours.
    let floods: [(&[u8], &[u8], &str, usize); 4] = [
        (&[], PING, "flood", 1),
        (&[], SETTINGS, "flood", 2),
        (&[], &unknown, "flood", 3),
        (&open, &frame(0, 0, 1, &[]), "protocol", 1),
    ];
    for (before, flood, reason, count) in floods {
        let mut stream = server.http2(before).await;
        let (mut reader, mut writer) = stream.split();
        let flood = flood.repeat(100);
        // It ends by an error: the peer no longer reads.
        let writing = async { while writer.write_all(&flood).await.is_ok() {} };
        let reading = async {
            let mut seen = Vec::new();
            let _close_or_reset = reader.read_to_end(&mut seen).await;
        };
        soon(async { tokio::join!(writing, reading) }).await;
        server.ended(reason, count).await;
    }
    assert_eq!(get(server.addr, "/", "").await.body, "hello");
}

#[tokio::test]
async fn a_reset_of_an_http2_connection_is_no_abuse() {
    let server = Hostile::start(Config::default()).await;
    let mut stream = server.http2(&frame(1, 5, 1, &headers(0x82, "/endless"))).await;
    soon(stream.read_u8()).await.unwrap();
    // What was not read makes the close a reset.
    drop(stream);
    server.ended("error", 1).await;
}

#[tokio::test]
async fn a_flood_is_told_to_go_away() {
    let server = Hostile::start(Config::default()).await;
    // No acknowledgements come of these, so they fill no buffer on the way back. Far more than the
    // budget, which grows while a slow machine reads.
    let mut stream = server.http2(&frame(0xbb, 0, 0, b"?").repeat(3_000)).await;
    let answer = rest(&mut stream).await;
    assert!(has_frame(&answer, GOAWAY), "{answer:?}");
    server.ended("flood", 1).await;
}

#[tokio::test]
async fn rapid_resets_are_cut() {
    let server = Hostile::start(Config::default()).await;
    let mut stream = server.http2(&[]).await;
    let writing = async {
        for id in (1..20_001_u32).step_by(2) {
            let mut pair = [frame(1, 5, 0, &headers(0x82, "/")), frame(3, 0, 0, &[0, 0, 0, 8])];
            for frame in &mut pair {
                frame[5..9].copy_from_slice(&id.to_be_bytes());
            }
            if stream.write_all(&pair.concat()).await.is_err() {
                return;
            }
        }
        rest(&mut stream).await;
    };
    soon(writing).await;
    until(|| server.metrics.render(Format::Text).contains("test_http_connections{} 0.0\n")).await;
    assert_eq!(get(server.addr, "/", "").await.body, "hello");
}

#[tokio::test]
async fn one_address_cannot_take_every_seat_unless_it_is_trusted() {
    let limits = |trusted: &[&str]| Config {
        max_connections_per_address: 1,
        trusted_proxies: trusted.iter().map(|network| network.parse().unwrap()).collect(),
        ..Config::default()
    };
    let server = Hostile::start(limits(&["127.0.0.2"])).await;
    let mut first = Client::connect(server.addr).await;
    assert_eq!(first.get("/", "").await.status(), 200);
    assert_eq!(Client::connect(server.addr).await.rest().await, "");
    let mut trusted = Vec::new();
    for _ in 0..3 {
        let mut stream = soon(connect_from(2, server.addr)).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        assert_eq!(soon(stream.read_u8()).await.unwrap(), b'H');
        trusted.push(stream);
    }
    drop((first, trusted));
    server.ended("address", 1).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_abuses_much_is_barred_for_a_while_and_others_are_not() {
    let trusted_proxies = vec!["127.0.0.9".parse().unwrap()];
    let server = Hostile::start(Config { trusted_proxies, ..Config::default() }).await;
    // DATA belongs to a stream; here it breaks the connection, which is abuse with little work.
    let broken = [PREFACE, SETTINGS, &frame(0, 0, 0, &[])].concat();
    let until_barred = async {
        loop {
            let abuse = (0..20).map(|_| async {
                let mut stream = connect_from(2, server.addr).await.unwrap();
                stream.write_all(&broken).await.unwrap();
                rest(&mut stream).await;
            });
            // One more may be accepted and closed; what comes after it is not even answered.
            futures_util::future::join_all(abuse).await;
            for _ in 0..3 {
                let connecting = connect_from(2, server.addr);
                if tokio::time::timeout(2 * SHORT, connecting).await.is_err() {
                    return;
                }
            }
        }
    };
    soon(until_barred).await;
    for last in [3, 2] {
        let answered = async {
            loop {
                let mut stream = connect_from(last, server.addr).await.unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
                if stream.read_u8().await.is_ok_and(|byte| byte == b'H') {
                    return;
                }
            }
        };
        soon(answered).await;
    }
}

async fn connect_from(last: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0)))?;
    socket.connect(to).await
}
