//! What each layer of the chassis costs, as servers that differ in one layer: `make check-cost`.
//!
//! `cost serve SIDE` prints its address and serves small POSTs until it is ended; `cost load
//! ADDRESS REQUESTS` sends that many over 32 kept connections. Every side reads the body and
//! answers two bytes. The sides, each with what the one before has: `hyper` is hyper alone, `axum`
//! adds a router under `axum::serve`, `server` serves the router by [`mainstay::server`], `stack`
//! adds [`mainstay::http::inbound`], `log` writes the log line.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a tool for measuring: it prints figures and fails by panicking"
)]

use axum::{Router, body::Bytes, routing::post};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use mainstay::{
    http::{self, Stack},
    metrics::Metrics,
    server::{Config, Server},
    tasks::Tasks,
    telemetry,
};
use std::{convert::Infallible, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const CONNECTIONS: usize = 32;

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", side] => serve(side).await,
        ["load", address, requests] => {
            load(address.parse().unwrap(), requests.parse().unwrap()).await;
        }
        _ => panic!("cost serve SIDE, or cost load ADDRESS REQUESTS"),
    }
}

async fn serve(side: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let metrics = Metrics::new("cost");
    let app = Router::new().route("/orders/{id}/notes", post(async |_body: Bytes| "ok"));
    let stack = http::inbound(app.clone(), &Stack::new(&metrics));
    match side {
        "hyper" => serve_hyper(listener).await,
        "axum" => axum::serve(listener, app).await.unwrap(),
        "server" => serve_mainstay(listener, app).await,
        "stack" => {
            let _telemetry = telemetry::init("cost", &logs("off")).unwrap();
            serve_mainstay(listener, stack).await;
        }
        "log" => {
            let _telemetry = telemetry::init("cost", &logs("info")).unwrap();
            serve_mainstay(listener, stack).await;
        }
        _ => panic!("{side} is not a side"),
    }
}

fn logs(level: &str) -> telemetry::Config {
    telemetry::Config {
        format: telemetry::Format::Json,
        level: level.to_owned(),
        ..telemetry::Config::default()
    }
}

async fn serve_mainstay(listener: TcpListener, app: Router) {
    let server = Server::from_listener(listener, Config::default()).exclusive();
    server.run(app, std::future::pending()).await;
}

async fn serve_hyper(listener: TcpListener) {
    let connections = Tasks::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        connections.spawn("connection", async move {
            let answer = service_fn(async |request: hyper::Request<Incoming>| {
                let _body = request.into_body().collect().await.unwrap();
                Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from_static(b"ok"))))
            });
            let mut http = http1::Builder::new();
            // The peer ends the connection when it has what it wants.
            let _ended =
                http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn load(address: SocketAddr, requests: usize) {
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        clients.spawn(ask(address, requests / CONNECTIONS));
    }
    clients.join_all().await;
}

/// Sends small POSTs one after another, as a client with a note would.
async fn ask(address: SocketAddr, requests: usize) {
    let body = r#"{"text":"the buyer called: leave it at the door, the bell is broken"}"#;
    let request = format!(
        "POST /orders/0190b3c5-7d4e-7c21-9f11-6b1f5a2f6c01/notes HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\nauthorization: Bearer a-key.a-secret\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 4096];
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut got = 0;
        // Every answer is `ok` without anything after it.
        while !buffer[..got].ends_with(b"\r\n\r\nok") {
            let more = stream.read(&mut buffer[got..]).await.unwrap();
            assert!(more > 0, "closed before the end of the answer");
            got += more;
        }
        assert!(
            buffer.starts_with(b"HTTP/1.1 200 "),
            "{}",
            String::from_utf8_lossy(&buffer[..got])
        );
    }
}
