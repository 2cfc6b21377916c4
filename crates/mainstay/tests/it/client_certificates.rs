//! Clients that show certificates, over real sockets.

use crate::support::{
    authority::{self, Authority, Signed},
    serve_with, soon, until,
};
use axum::{Extension, Router, routing::get};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay::{
    metrics::{Format, Metrics},
    server::{
        Config, Peer, Tls,
        tls::{self, ClientAuth, Error},
    },
    tasks::Tasks,
};
use rcgen::ExtendedKeyUsagePurpose;
use std::{cell::Cell, fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};
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
        pki_types::{ServerName, UnixTime},
    },
};

const TILL: &str = "spiffe://shop.test/till";

/// A server that asks clients for certificates, and tells each whom it takes it for.
struct Door {
    addr: SocketAddr,
    metrics: Metrics,
    folder: TempDir,
    /// Who has signed the certificate of the server.
    servers: Authority,
    _tasks: Tasks,
}

impl Door {
    async fn open(clients: &Authority, client_auth: Option<ClientAuth>) -> Self {
        let (folder, servers) = (TempDir::new().unwrap(), Authority::new("of servers"));
        servers.server().write(folder.path());
        trust(folder.path(), &[clients]);
        let files = tls::Config { client_auth, ..files(folder.path()) };
        let (tls, metrics) = (Tls::load(&files).unwrap(), Metrics::new("test"));
        let app = Router::new().route("/", get(who));
        let (addr, tasks) = serve_with(app, Config::default(), |server| {
            server.with_tls(tls).with_metrics(&metrics)
        })
        .await;
        Self { addr, metrics, folder, servers, _tasks: tasks }
    }

    /// A client that shows this certificate, or none.
    fn client(&self, shown: Option<&Signed>, protocol: &str) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.servers.der()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut client = match shown {
            Some(shown) => builder.with_client_auth_cert(vec![shown.der()], shown.key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        client.alpn_protocols = vec![protocol.into()];
        Arc::new(client)
    }

    fn showing(&self, shown: &Signed) -> Arc<ClientConfig> {
        self.client(Some(shown), "http/1.1")
    }

    /// A connection, which the server may yet refuse: a client has its say last.
    async fn connect(&self, client: &Arc<ClientConfig>) -> Option<TlsStream<TcpStream>> {
        let stream = soon(TcpStream::connect(self.addr)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        soon(TlsConnector::from(Arc::clone(client)).connect(name, stream)).await.ok()
    }

    /// Whom the server takes a new connection for, if it takes it.
    async fn ask(&self, client: &Arc<ClientConfig>) -> Option<String> {
        let mut stream = Box::pin(self.connect(client)).await?;
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.ok()?;
        let (head, who) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200 ").then(|| who.to_owned())
    }

    /// Waits until so many connections have ended for this reason.
    async fn ended(&self, reason: &str, count: usize) {
        let line = format!("test_http_connections_ended_total{{reason=\"{reason}\"}} {count}\n");
        until(|| self.metrics.render(Format::Text).contains(&line)).await;
    }

    /// Asks over one new connection after the other while `work` lasts, four at a time; each must be
    /// taken for the till's.
    async fn while_asked(&self, client: &Arc<ClientConfig>, work: impl Future<Output = ()>) {
        let over = Cell::new(false);
        let asking = || async {
            while !over.get() {
                assert_eq!(Box::pin(self.ask(client)).await.as_deref(), Some(TILL));
            }
        };
        let work = async {
            work.await;
            over.set(true);
        };
        tokio::join!(asking(), asking(), asking(), asking(), work);
    }
}

async fn who(peer: Option<Extension<Peer>>) -> String {
    peer.map_or_else(|| "nobody".to_owned(), |Extension(peer)| String::from(&*peer.spiffe_id))
}

/// What `folder` holds, looked at often.
fn files(folder: &Path) -> tls::Config {
    tls::Config {
        client_ca_file: Some(folder.join("clients.pem")),
        reload_every: Duration::from_millis(5),
        ..tls::Config::new(folder.join("cert.pem"), folder.join("key.pem"))
    }
}

/// Replaces the authorities of clients at once.
fn trust(folder: &Path, authorities: &[&Authority]) {
    let bundle: String = authorities.iter().map(|authority| authority.pem()).collect();
    fs::write(folder.join("new.pem"), bundle).unwrap();
    fs::rename(folder.join("new.pem"), folder.join("clients.pem")).unwrap();
}

#[tokio::test]
async fn a_client_is_known_by_its_certificate_on_both_protocols() {
    let clients = Authority::new("of clients");
    let door = Door::open(&clients, None).await;
    let shown = clients.client(&[TILL]);
    assert_eq!(door.ask(&door.showing(&shown)).await.as_deref(), Some(TILL));

    let stream = door.connect(&door.client(Some(&shown), "h2")).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let tasks = Tasks::new();
    tasks.spawn("client", async { connection.await.unwrap() });
    for _ in 0..2 {
        let request = http::Request::get("https://localhost/").body(Empty::<&[u8]>::new()).unwrap();
        let answer = soon(sender.send_request(request)).await.unwrap();
        assert_eq!(answer.version(), http::Version::HTTP_2);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), TILL);
    }
}

#[tokio::test]
async fn without_a_certificate_nobody_gets_in_unless_it_is_optional() {
    let clients = Authority::new("of clients");
    let till = clients.client(&[TILL]);
    for client_auth in [None, Some(ClientAuth::Required)] {
        let door = Door::open(&clients, client_auth).await;
        assert_eq!(door.ask(&door.client(None, "http/1.1")).await, None);
        door.ended("handshake", 1).await;
        assert_eq!(door.ask(&door.showing(&till)).await.as_deref(), Some(TILL));
    }
    let door = Door::open(&clients, Some(ClientAuth::Optional)).await;
    assert_eq!(door.ask(&door.client(None, "http/1.1")).await.as_deref(), Some("nobody"));
    assert_eq!(door.ask(&door.showing(&till)).await.as_deref(), Some(TILL));
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_refused_in_the_handshake() {
    let clients = Authority::new("of clients");
    let named = |usage, years: [i32; 2]| {
        clients.sign(usage, |params| {
            authority::name(params, &[TILL]);
            let [from, to] = years.map(|year| rcgen::date_time_ymd(year, 1, 1));
            (params.not_before, params.not_after) = (from, to);
        })
    };
    let refused = [
        Authority::new("of others").client(&[TILL]),
        // Another one of the same name.
        Authority::new("of clients").client(&[TILL]),
        named(ExtendedKeyUsagePurpose::ClientAuth, [2000, 2001]),
        named(ExtendedKeyUsagePurpose::ClientAuth, [3000, 3001]),
        named(ExtendedKeyUsagePurpose::ServerAuth, [2000, 3000]),
    ];
    // Who may come without a certificate may not come with a wrong one.
    for client_auth in [ClientAuth::Required, ClientAuth::Optional] {
        let door = Door::open(&clients, Some(client_auth)).await;
        for (at, shown) in refused.iter().enumerate() {
            assert_eq!(door.ask(&door.showing(shown)).await, None, "{at}");
            door.ended("handshake", at + 1).await;
        }
        let good = named(ExtendedKeyUsagePurpose::ClientAuth, [2000, 3000]);
        assert_eq!(door.ask(&door.showing(&good)).await.as_deref(), Some(TILL));
    }
}

#[tokio::test]
async fn a_certificate_that_holds_may_name_nobody() {
    let clients = Authority::new("of clients");
    let door = Door::open(&clients, None).await;
    let none: &[&str] = &[];
    for uris in [none, &[TILL, "spiffe://shop.test/web"], &["https://shop.test/till"]] {
        let shown = clients.client(uris);
        assert_eq!(door.ask(&door.showing(&shown)).await.as_deref(), Some("nobody"), "{uris:?}");
    }
}

#[tokio::test]
async fn an_authority_of_clients_is_replaced_without_a_failed_request() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let door = Door::open(&old, None).await;
    let folder = door.folder.path();
    let (of_old, of_new) = (old.client(&[TILL]), new.client(&[TILL]));
    let (of_old, of_new) = (door.showing(&of_old), door.showing(&of_new));

    // Both are trusted before the clients change, and one no longer once they have changed.
    door.while_asked(&of_old, async {
        trust(folder, &[&old, &new]);
        soon(async { while door.ask(&of_new).await.is_none() {} }).await;
    })
    .await;
    door.while_asked(&of_new, async {
        // What is no bundle changes nothing.
        fs::write(folder.join("clients.pem"), "").unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(door.ask(&of_old).await.as_deref(), Some(TILL));
        trust(folder, &[&new]);
        soon(async { while door.ask(&of_old).await.is_some() {} }).await;
    })
    .await;
}

#[tokio::test]
async fn the_certificate_of_the_server_is_replaced_without_a_failed_request() {
    let clients = Authority::new("of clients");
    let door = Door::open(&clients, None).await;
    let till = door.showing(&clients.client(&[TILL]));
    for _ in 0..3 {
        door.while_asked(&till, async {
            let next = door.servers.server();
            // The certificate is there before its key is, and until then the old pair is served.
            next.write(door.folder.path());
            let is_served = async || {
                let stream = door.connect(&till).await.unwrap();
                stream.get_ref().1.peer_certificates().unwrap()[0] == next.der()
            };
            soon(async { while !is_served().await {} }).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_that_it_was_opened_with() {
    let clients = Authority::new("of clients");
    let door = Door::open(&clients, None).await;
    let end = Duration::from_secs(UnixTime::now().as_secs() + 3);
    let shown = clients.sign(ExtendedKeyUsagePurpose::ClientAuth, |params| {
        authority::name(params, &[TILL]);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
    });
    let client = door.showing(&shown);
    let mut stream = door.connect(&client).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    // The idle time is far longer than anything here is waited for.
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with(TILL), "{answer}");
    door.ended("age", 1).await;
    // The client still has what it needs to resume its session.
    soon(async { while door.ask(&client).await.is_some() {} }).await;
}

#[test]
fn authorities_that_cannot_be_used_are_named() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new("of clients"));
    authority.server().write(folder.path());
    let fault = |files: &tls::Config| Tls::load(files).map(|_| ()).unwrap_err();
    let files = files(folder.path());
    let bundle = folder.path().join("clients.pem");
    assert!(matches!(fault(&files), Error::Read(path, _) if path == bundle));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in ["", "no authority", broken] {
        fs::write(&bundle, text).unwrap();
        assert!(matches!(fault(&files), Error::Pem(path, ..) if path == bundle), "{text}");
    }
    let without = tls::Config {
        client_ca_file: None,
        client_auth: Some(ClientAuth::Required),
        ..files.clone()
    };
    assert!(matches!(fault(&without), Error::NoAuthorities));
    trust(folder.path(), &[&authority]);
    assert!(Tls::load(&files).is_ok());
}
