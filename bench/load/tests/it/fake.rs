//! A small order service in memory that can be told to be wrong.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// What the service does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// From one second after the first request, nothing is answered for half a second.
    Stall,
    /// Every fiftieth order costs one cent more.
    WrongTotal,
    /// A key seen before makes another order.
    ForgetsKeys,
    /// Acknowledged orders cannot be read.
    LosesOrders,
    /// Every fiftieth order is refused.
    Overloaded,
    /// Every fiftieth order closes its connection after the answer.
    Closes,
    /// Nothing is done for those who do not say that they wait 950 ms.
    Hurried,
}

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    _connections: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    first_at: Option<Instant>,
    orders: HashMap<String, Value>,
    by_key: HashMap<String, String>,
    /// Order → the credential that made it, which alone reads it.
    owners: HashMap<String, String>,
}

impl Fake {
    pub(crate) async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, fault));
        Self { address, _connections: connections }
    }
}

async fn accept(listener: TcpListener, fault: Fault) {
    let state = Arc::new(Mutex::new(State::default()));
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(request, Arc::clone(&state), fault));
        connections.spawn(async move {
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    fault: Fault,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    if fault == Fault::Stall {
        let first = *state.lock().unwrap().first_at.get_or_insert_with(Instant::now);
        let stall = first + Duration::from_secs(1);
        if Instant::now() >= stall {
            sleep_until(stall + Duration::from_millis(500)).await;
        }
    }
    let header = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap());
    if fault == Fault::Hurried && header("x-request-timeout-ms") != "950" {
        return Ok(respond(400, None));
    }
    let owner = header("authorization").to_owned();
    let mut state = state.lock().unwrap();
    if head.method == Method::GET {
        let id = head.uri.path().rsplit('/').next().unwrap();
        let known = fault != Fault::LosesOrders && state.owners.get(id) == Some(&owner);
        let order = state.orders.get(id).filter(|_| known);
        return Ok(respond(if order.is_some() { 200 } else { 404 }, order));
    }
    let key = header("idempotency-key").to_owned();
    Ok(state.create((key, owner), &serde_json::from_slice(&body).unwrap(), fault))
}

impl State {
    fn create(
        &mut self,
        (key, owner): (String, String),
        order: &Value,
        fault: Fault,
    ) -> Response<Full<Bytes>> {
        let known = self.by_key.get(&key).filter(|_| fault != Fault::ForgetsKeys);
        if let Some(id) = known {
            let mut again = respond(201, self.orders.get(id));
            again.headers_mut().insert("idempotent-replayed", "true".parse().unwrap());
            return again;
        }
        let id = format!("order-{}", self.orders.len() + 1);
        let fiftieth = (self.orders.len() + 1).is_multiple_of(50);
        let mut total = order["expected_total"].clone();
        if fiftieth && fault == Fault::WrongTotal {
            let minor: u64 = total["amount_minor"].as_str().unwrap().parse().unwrap();
            total["amount_minor"] = (minor + 1).to_string().into();
        }
        let made = json!({"id": id, "version": 1, "state": "PENDING", "totals": {"total": total}});
        self.orders.insert(id.clone(), made.clone());
        self.owners.insert(id.clone(), owner);
        self.by_key.insert(key, id);
        if fiftieth && fault == Fault::Overloaded {
            let problem = Bytes::from_static(br#"{"code":"overloaded"}"#);
            return Response::builder().status(503).body(Full::new(problem)).unwrap();
        }
        let mut response = respond(201, Some(&made));
        if fiftieth && fault == Fault::Closes {
            response.headers_mut().insert("connection", "close".parse().unwrap());
        }
        response
    }
}

fn respond(status: u16, order: Option<&Value>) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    if let Some(id) = order.and_then(|order| order["id"].as_str()) {
        response = response.header("etag", "\"v1\"").header("location", format!("/v1/orders/{id}"));
    }
    let body = order.map_or_else(Bytes::new, |order| serde_json::to_vec(order).unwrap().into());
    response.body(Full::new(body)).unwrap()
}
