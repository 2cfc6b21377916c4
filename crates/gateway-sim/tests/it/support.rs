//! A running simulator and a caller that sees how each request ends.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use gateway_sim::{
    Config, DEVELOPMENT_SECRET, Sim,
    ledger::{Payment, Summary},
    operation::Id,
};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// Longer than anything here takes; only a broken test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// `work`, or a failed test when it hangs.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) struct Shop {
    pub(crate) sim: Sim,
    pub(crate) config: Config,
    folder: TempDir,
}

/// An answer that arrived whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How a request ended that was not answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The connection ended before the head of an answer.
    Unanswered,
    /// It ended in the middle of the body.
    Halfway,
}

impl Shop {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = Config::default();
        config.http.listen = ([127, 0, 0, 1], 0).into();
        config.ledger.path = folder.path().join("ledger.db");
        config.faults.hang = Duration::from_millis(300);
        config.faults.drip = Duration::from_millis(1);
        config.faults.late = Duration::from_millis(600);
        config.faults.huge_bytes = 4 << 20;
        change(&mut config);
        Self { sim: Sim::start(config.clone()).await.unwrap(), config, folder }
    }

    /// Stops the simulator and starts one on the same ledger.
    pub(crate) async fn restart(self) -> Self {
        let Self { sim, config, folder } = self;
        sim.stop().await;
        Self { sim: Sim::start(config.clone()).await.unwrap(), config, folder }
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> Result<Answer, Lost> {
        post(self.sim.address(), path, key, body).await
    }

    /// One operation that is answered.
    pub(crate) async fn operate(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.post(path, key, body).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Lost> {
        send(self.sim.address(), request("GET", path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn lookup(&self, reference: Id) -> Answer {
        self.get(&format!("/v1/operations/{reference}")).await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        let request = request("PUT", path).header(header::CONTENT_TYPE, "application/json");
        send(self.sim.address(), request.body(Full::from(body.to_string())).unwrap()).await.unwrap()
    }

    /// Authorizes 20.00 EUR; tells the payment.
    pub(crate) async fn authorized(&self) -> Id {
        let payment = id();
        let body = authorization(id(), payment, "tok_ok");
        let answer = self.operate("/v1/authorizations", &key(), &body).await;
        assert_eq!(answer.json()["status"], "succeeded", "{answer:?}");
        payment
    }

    pub(crate) fn payment(&self, payment: Id) -> Payment {
        self.sim.ledger().payment(payment).unwrap().unwrap()
    }

    pub(crate) fn summary(&self) -> Summary {
        self.sim.ledger().summary().unwrap()
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn is_replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }

    /// Asserts that it is this problem.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), &self.json()["code"]), (status, &json!(code)));
        assert_eq!(self.json()["status"], status);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
    }

    /// Asserts that it is a decline with this code.
    #[track_caller]
    pub(crate) fn declined(&self, code: &str) {
        let body = self.json();
        assert_eq!(self.status, 200, "{body}");
        assert_eq!((&body["status"], &body["decline_code"]), (&json!("declined"), &json!(code)));
    }
}

/// An id that no other call gives.
pub(crate) fn id() -> Id {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [7; 16];
    bytes[8..].copy_from_slice(&LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Id::from_bytes(bytes)
}

/// A key that no other call gives.
pub(crate) fn key() -> String {
    format!("key-{}", id())
}

pub(crate) fn eur(minor: i64) -> Value {
    json!({ "amount_minor": minor.to_string(), "currency": "EUR" })
}

/// 20.00 EUR.
pub(crate) fn authorization(reference: Id, payment: Id, instrument: &str) -> Value {
    let (reference, payment) = (reference.to_string(), payment.to_string());
    json!({
        "reference": reference,
        "payment": payment,
        "amount": eur(2_000),
        "instrument": instrument,
    })
}

/// A capture or a refund.
pub(crate) fn amounted(reference: Id, payment: Id, minor: i64) -> Value {
    let (reference, payment) = (reference.to_string(), payment.to_string());
    json!({ "reference": reference, "payment": payment, "amount": eur(minor) })
}

pub(crate) fn void(reference: Id, payment: Id) -> Value {
    json!({ "reference": reference.to_string(), "payment": payment.to_string() })
}

pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    let bearer = format!("Bearer {DEVELOPMENT_SECRET}");
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, bearer)
}

pub(crate) async fn post(
    address: SocketAddr,
    path: &str,
    key: &str,
    body: &Value,
) -> Result<Answer, Lost> {
    let request = request("POST", path)
        .header("idempotency-key", key)
        .header(header::CONTENT_TYPE, "application/json");
    send(address, request.body(Full::from(body.to_string())).unwrap()).await
}

/// One request on a connection of its own.
pub(crate) async fn send(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Lost> {
    let exchange = async {
        let stream = TcpStream::connect(address).await.map_err(|_| Lost::Unanswered)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| Lost::Unanswered)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|_| Lost::Unanswered)?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|_| Lost::Halfway)?.to_bytes();
            drop(sender);
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        // The answer says how it went; the connection's own end says no more.
        tokio::join!(answer, async { connection.await.is_ok() }).0
    };
    soon(exchange).await
}
