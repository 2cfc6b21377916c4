use crate::support::{Client, Service, get, soon, until};
use axum::{Extension, Router, body::Bytes, routing::get as on_get};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay::{
    lifecycle::Phase,
    server::{Config, PeerAddr, Server},
    tasks::Tasks,
};
use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, oneshot},
    task::JoinSet,
    time::Instant,
};

fn hello() -> Router {
    Router::new().route("/", on_get(async || "hello"))
}

fn short_limits() -> Config {
    Config {
        first_byte_timeout: Duration::from_millis(50),
        header_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(50),
        ..Config::default()
    }
}

#[tokio::test]
async fn half_a_header_is_closed_at_the_header_limit() {
    let limits = Config { header_timeout: Duration::from_millis(50), ..Config::default() };
    let service = Service::start_with(hello(), 0, 1_000, limits).await;
    let mut client = Client::connect(service.addr).await;
    client.send("GET / HTTP/1.1\r\nhost: te").await;
    assert_eq!(client.rest().await, "");
    assert_eq!(get(service.addr, "/", "").await.body, "hello");
}

#[tokio::test]
async fn silence_half_a_preface_and_idleness_are_closed() {
    let service = Service::start_with(hello(), 0, 1_000, short_limits()).await;
    let mut silent = Client::connect(service.addr).await;
    assert_eq!(silent.rest().await, "");

    let mut half = Client::connect(service.addr).await;
    half.send("PRI * HTTP/2").await;
    assert_eq!(half.rest().await, "");

    let mut idle = Client::connect(service.addr).await;
    assert_eq!(idle.get("/", "").await.status(), 200);
    assert_eq!(idle.rest().await, "");
}

#[tokio::test]
async fn a_slow_handler_is_not_an_idle_connection() {
    let slow = Router::new().route(
        "/",
        on_get(async || {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "late"
        }),
    );
    let service = Service::start_with(slow, 0, 1_000, short_limits()).await;
    assert_eq!(get(service.addr, "/", "").await.body, "late");
}

/// A server of `/` and of `/large`, with an idle limit of 250 ms, one seat, and small buffers in
/// the system, so that what the peer does not read stays with the server.
fn large(size: usize) -> (SocketAddr, Tasks) {
    let body = Bytes::from(vec![b'x'; size]);
    let app = hello().route("/large", on_get(async move || body));
    let idle_timeout = Duration::from_millis(250);
    let limits = Config { idle_timeout, max_connections: 1, ..Config::default() };
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = Server::from_listener(socket.listen(8).unwrap(), limits);
    let (addr, tasks) = (server.local_addr().unwrap(), Tasks::new());
    tasks.spawn("server", async {
        server.run(app, std::future::pending()).await;
    });
    (addr, tasks)
}

/// Asks for `/large`, with little room for the answer.
async fn ask_for_large(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = soon(socket.connect(addr)).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    stream
}

#[tokio::test]
async fn an_answer_that_is_read_slowly_is_sent_to_its_end() {
    const SIZE: usize = 8 << 20;
    let (addr, _server) = large(SIZE);
    let mut stream = ask_for_large(addr).await;
    let (began, mut read, mut buffer) = (Instant::now(), 0, vec![0; 64 << 10]);
    while read < SIZE {
        let count = soon(stream.read(&mut buffer)).await.unwrap();
        assert!(count > 0, "closed after {read} bytes");
        read += count;
        tokio::time::sleep(Duration::from_millis(8)).await;
    }
    assert!(began.elapsed() > Duration::from_millis(500), "longer than the idle limit");
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_closed_at_the_idle_limit() {
    const SIZE: usize = 8 << 20;
    let (addr, _server) = large(SIZE);
    let mut stuck = ask_for_large(addr).await;
    stuck.read_u8().await.unwrap();
    seat_is_free(addr).await;

    let mut rest = Vec::new();
    // Whether the end is a close or a reset depends on what was unread.
    let _end = soon(stuck.read_to_end(&mut rest)).await;
    assert!(rest.len() < SIZE, "{} bytes", rest.len());
}

#[tokio::test]
async fn a_connection_beyond_the_cap_is_closed_and_one_after_it_is_not() {
    let limits = Config { max_connections: 1, ..Config::default() };
    let service = Service::start_with(hello(), 0, 1_000, limits).await;
    let mut first = Client::connect(service.addr).await;
    assert_eq!(first.get("/", "").await.status(), 200);
    assert_eq!(Client::connect(service.addr).await.rest().await, "");

    drop(first);
    seat_is_free(service.addr).await;
}

/// Waits until the server, which says hello, takes one more connection.
async fn seat_is_free(addr: SocketAddr) {
    soon(async {
        loop {
            let mut next = Client::connect(addr).await;
            next.send("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
            if next.rest().await.contains("hello") {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_peers_address_is_told_to_handlers() {
    let app = Router::new().route(
        "/",
        on_get(async |Extension(PeerAddr(peer)): Extension<PeerAddr>| peer.ip().to_string()),
    );
    let service = Service::start(app, 0, 1_000).await;
    assert_eq!(get(service.addr, "/", "").await.body, "127.0.0.1");
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_and_drained() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, wait) = (Arc::clone(&entered), Arc::clone(&release));
    let app = Router::new().route(
        "/",
        on_get(async move || {
            inside.notify_one();
            wait.notified().await;
            "hello"
        }),
    );
    let service = Service::start(app, 0, 20_000).await;
    let io = TokioIo::new(TcpStream::connect(service.addr).await.unwrap());
    let executor = TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<&[u8]>>(executor, io).await.unwrap();
    let tasks = Tasks::new();
    tasks.spawn("client", async {
        connection.await.unwrap();
    });
    let request = http::Request::get("http://test/").body(Empty::new()).unwrap();
    let answer = sender.send_request(request);
    let client = async {
        let answer = soon(answer).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    };
    let server = async {
        soon(entered.notified()).await;
        service.lifecycle.stop();
        soon(service.lifecycle.reached(Phase::Draining)).await;
        release.notify_one();
    };
    let (body, ()) = tokio::join!(client, server);
    assert_eq!(body, "hello");
    assert_eq!(service.report().await.connections_cut, 0);
}

#[tokio::test]
async fn a_drain_waits_for_the_request_in_flight_and_refuses_new_ones() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, wait) = (Arc::clone(&entered), Arc::clone(&release));
    let app = Router::new().route(
        "/",
        on_get(async move || {
            inside.notify_one();
            wait.notified().await;
            "finished"
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let drain = async {
        stopped.await.unwrap();
    };
    let server = Server::from_listener(listener, Config::default()).run(app, drain);
    let client = async {
        let mut idle = Client::connect(addr).await;
        let mut client = Client::connect(addr).await;
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
        soon(entered.notified()).await;
        stop.send(()).unwrap();
        assert_eq!(idle.rest().await, "", "an idle connection ends at once");
        soon(async { while TcpStream::connect(addr).await.is_ok() {} }).await;
        release.notify_one();
        let answer = client.answer().await;
        assert_eq!(answer.body, "finished");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(client.rest().await, "");
    };
    let (report, ()) = soon(async { tokio::join!(server, client) }).await;
    assert_eq!((report.cut, report.refused), (0, 0));
}

#[tokio::test]
async fn a_socket_that_somebody_else_holds_too_lets_everybody_in_after_the_drain() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    held.set_nonblocking(true).unwrap();
    let addr = held.local_addr().unwrap();
    let own = TcpListener::from_std(held.try_clone().unwrap()).unwrap();
    Server::from_listener(own, Config::default()).run(hello(), std::future::ready(())).await;

    let successor = TcpListener::from_std(held).unwrap();
    let (connected, accepted) =
        soon(async { tokio::join!(TcpStream::connect(addr), successor.accept()) }).await;
    assert_eq!(connected.unwrap().local_addr().unwrap(), accepted.unwrap().1);
}

/// Asks over new connections until none is accepted any more; tells how many were answered.
async fn ask_until_refused(addr: SocketAddr) -> usize {
    for answered in 0.. {
        match soon(TcpStream::connect(addr)).await {
            Ok(stream) => {
                let answer = Client::from(stream).get("/", "").await;
                assert_eq!(answer.body, "hello");
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return answered,
            Err(error) => panic!("{error}"),
        }
    }
    0
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_could_connect_is_answered_whenever_the_drain_begins() {
    for round in 0..5 {
        let service = Service::start(hello(), 0, 5_000).await;
        let mut clients = JoinSet::new();
        for _ in 0..8 {
            clients.spawn(ask_until_refused(service.addr));
        }
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        service.lifecycle.stop();
        clients.join_all().await;
        assert_eq!(service.report().await.connections_cut, 0);
    }
}

/// Longer than a new connection's first request is waited for.
const OLD_ENOUGH: Duration = Duration::from_millis(600);

#[tokio::test]
async fn a_header_that_goes_on_when_the_drain_begins_is_served() {
    let service = Service::start(hello(), 0, 20_000).await;
    let mut client = Client::connect(service.addr).await;
    client.send("GET / HTTP/1.1\r\n").await;
    tokio::time::sleep(OLD_ENOUGH).await;
    service.lifecycle.stop();
    soon(service.lifecycle.reached(Phase::Draining)).await;
    for piece in ["host:", " test\r\n", "\r\n"] {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.send(piece).await;
    }
    let answer = client.answer().await;
    assert_eq!((&*answer.body, answer.header("connection")), ("hello", Some("close")));
    assert_eq!(service.report().await.connections_cut, 0);
}

#[tokio::test]
async fn a_header_that_does_not_go_on_is_cut_soon_and_counted() {
    let service = Service::start(hello(), 0, 20_000).await;
    let mut client = Client::connect(service.addr).await;
    client.send("GET / HTTP/1.1\r\nhost").await;
    tokio::time::sleep(OLD_ENOUGH).await;
    service.lifecycle.stop();
    assert_eq!(client.rest().await, "");
    let report = service.report().await;
    assert_eq!(report.connections_cut, 1);
    assert!(report.duration(Phase::Draining) < Duration::from_secs(5), "{report:?}");
}

#[tokio::test]
async fn an_http2_peer_that_has_no_request_and_does_not_go_is_left_soon_and_not_cut() {
    let service = Service::start(hello(), 0, 20_000).await;
    let mut deaf = Client::connect(service.addr).await;
    deaf.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    tokio::time::sleep(OLD_ENOUGH).await;
    service.lifecycle.stop();
    let report = service.report().await;
    assert_eq!(report.connections_cut, 0);
    assert!(report.duration(Phase::Draining) < Duration::from_secs(5), "{report:?}");
}

#[tokio::test]
async fn connections_without_a_request_are_not_cut_by_a_budget_that_is_over() {
    let service = Service::start(hello(), 0, 100).await;
    let mut deaf = Client::connect(service.addr).await;
    deaf.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let _silent = Client::connect(service.addr).await;
    tokio::time::sleep(OLD_ENOUGH).await;
    service.lifecycle.stop();
    assert_eq!(service.report().await.connections_cut, 0);
}

#[tokio::test]
async fn a_stuck_client_cannot_hold_the_end_beyond_its_budget() {
    let entered = Arc::new(Notify::new());
    let inside = Arc::clone(&entered);
    let app = Router::new().route(
        "/stuck",
        on_get(async move || {
            inside.notify_one();
            std::future::pending::<&str>().await
        }),
    );
    let service = Service::start(app, 0, 100).await;
    let mut half = Client::connect(service.addr).await;
    half.send("GET / HTTP/1.1\r\nhost").await;
    let mut stuck = Client::connect(service.addr).await;
    stuck.send("GET /stuck HTTP/1.1\r\nhost: test\r\n\r\n").await;
    soon(entered.notified()).await;

    service.lifecycle.stop();
    let report = service.report().await;

    assert_eq!(report.connections_cut, 2);
    assert!(report.duration(Phase::Draining) < Duration::from_secs(5));
    assert_eq!(stuck.rest().await, "");
}

#[tokio::test]
async fn a_server_that_is_dropped_closes_its_connections() {
    let server = Server::bind("127.0.0.1:0", Config::default()).await.unwrap();
    let addr = server.local_addr().unwrap();
    let mut client = Client::connect(addr).await;
    tokio::select! {
        _ = server.run(hello(), std::future::pending()) => unreachable!("nobody stops it"),
        answer = client.get("/", "") => assert_eq!(answer.status(), 200),
    }
    assert_eq!(client.rest().await, "");
    until(|| std::net::TcpStream::connect(addr).is_err()).await;
}
