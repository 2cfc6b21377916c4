//! TLS over real sockets.

use crate::support::{serve_with, soon, until};
use axum::{Router, routing::get};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay::{
    metrics::{Format, Metrics},
    server::{
        Config, Tls,
        tls::{self, Error},
    },
    tasks::Tasks,
};
use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

/// A pair of files with a certificate for `localhost` that signs itself.
struct Pair {
    folder: TempDir,
    cert: CertificateDer<'static>,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self { folder: TempDir::new().unwrap(), cert: Vec::new().into() };
        pair.replace();
        pair
    }

    fn replace(&mut self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(self.file("key.pem"), made.signing_key.serialize_pem()).unwrap();
        fs::write(self.file("cert.pem"), made.cert.pem()).unwrap();
        self.cert = made.cert.der().clone();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> tls::Config {
        let reload_every = Duration::from_millis(5);
        tls::Config {
            reload_every,
            ..tls::Config::new(self.file("cert.pem"), self.file("key.pem"))
        }
    }

    /// A connection that trusts this certificate only, and speaks `protocol`.
    async fn connect(&self, addr: SocketAddr, protocol: &str) -> Option<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        let name = ServerName::try_from("localhost").unwrap();
        let stream = soon(TcpStream::connect(addr)).await.unwrap();
        soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.ok()
    }
}

async fn start(tls: Tls, config: Config) -> (SocketAddr, Metrics, Tasks) {
    let app = Router::new().route("/", get(async || "hello"));
    let metrics = Metrics::new("test");
    let (addr, tasks) =
        serve_with(app, config, |server| server.with_tls(tls).with_metrics(&metrics)).await;
    (addr, metrics, tasks)
}

fn request() -> http::Request<Empty<&'static [u8]>> {
    http::Request::get("https://localhost/").header("host", "localhost").body(Empty::new()).unwrap()
}

#[tokio::test]
async fn both_protocols_are_served_by_alpn() {
    let pair = Pair::new();
    let (addr, ..) = start(Tls::load(&pair.config()).unwrap(), Config::default()).await;
    let tasks = Tasks::new();

    let stream = pair.connect(addr, "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tasks.spawn("client", async { connection.await.unwrap() });
    let answer = soon(sender.send_request(request())).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");

    let stream = pair.connect(addr, "http/1.1").await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tasks.spawn("client", async { connection.await.unwrap() });
    let answer = soon(sender.send_request(request())).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_11);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn a_new_certificate_is_served_to_new_connections_and_old_ones_live_on() {
    let mut pair = Pair::new();
    let (addr, _, _tasks) = start(Tls::load(&pair.config()).unwrap(), Config::default()).await;
    let mut old = pair.connect(addr, "http/1.1").await.unwrap();

    // A broken pair changes nothing.
    fs::write(pair.file("key.pem"), "no key").unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(pair.connect(addr, "http/1.1").await.is_some());

    pair.replace();
    soon(async { while pair.connect(addr, "http/1.1").await.is_none() {} }).await;
    old.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(old.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn half_a_handshake_is_closed_at_its_limit() {
    let pair = Pair::new();
    let limits = Config { first_byte_timeout: Duration::from_millis(100), ..Config::default() };
    let (addr, metrics, _tasks) = start(Tls::load(&pair.config()).unwrap(), limits).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    let mut answer = Vec::new();
    let _close_or_reset = soon(stream.read_to_end(&mut answer)).await;
    let ended = "test_http_connections_ended_total{reason=\"handshake\"} 1\n";
    until(|| metrics.render(Format::Text).contains(ended)).await;
    // The accept loop was free meanwhile.
    assert!(pair.connect(addr, "http/1.1").await.is_some());
}

#[test]
fn files_that_cannot_be_served_are_named() {
    let (pair, other) = (Pair::new(), Pair::new());
    let (cert, key) = (pair.file("cert.pem"), pair.file("key.pem"));
    let load = |cert: &PathBuf, key: &PathBuf| {
        Tls::load(&tls::Config::new(cert, key)).map(|_| ()).unwrap_err()
    };
    let missing = pair.file("missing.pem");
    assert!(matches!(load(&missing, &key), Error::Read(path, _) if path == missing));
    assert!(matches!(load(&cert, &cert), Error::Pem(path, ..) if path == cert));
    assert!(matches!(load(&cert, &other.file("key.pem")), Error::Unusable(..)));
    fs::write(&missing, "").unwrap();
    assert!(matches!(load(&missing, &key), Error::Unusable(..)));
}
