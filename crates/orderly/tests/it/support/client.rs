//! A small HTTP client.

use std::{error::Error, io, net::SocketAddr};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
    header, http,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};

use super::soon;

/// Why there is no answer; what became of the request is not known.
pub(crate) type Lost = Box<dyn Error + Send + Sync>;

/// One connection.
#[derive(Debug)]
pub(crate) struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// Ends with the line.
    _driver: JoinSet<()>,
}

impl Line {
    pub(crate) async fn open(at: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(at).await?).await
    }

    /// Over a stream that is open.
    pub(crate) async fn over<S>(stream: S) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, _driver: driver })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        soon(async {
            let (head, body) = self.open_answer(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        })
        .await
    }

    async fn open_answer(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}

/// Somebody with a key. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) api: SocketAddr,
    pub(crate) key: String,
}

impl Client {
    pub(super) fn new(api: SocketAddr, key: &str) -> Self {
        Self { api, key: key.to_owned() }
    }

    /// A request that carries the key.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.api.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
    }

    /// A request for an order, under an idempotency key.
    pub(crate) fn placing(&self, key: &str, order: &Value) -> Request<Full<Bytes>> {
        with_json(self.request("POST", "/v1/orders").header("idempotency-key", key), order)
    }

    pub(crate) async fn try_send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Lost> {
        Ok(Line::open(self.api).await?.send(request).await?)
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn create(&self, key: &str) -> Answer {
        self.send(self.placing(key, &order())).await
    }

    /// Sends a verb under an idempotency key.
    pub(crate) async fn verb(&self, id: &str, verb: &str, key: &str, body: &Value) -> Answer {
        let request = self.request("POST", &format!("/v1/orders/{id}/{verb}"));
        self.send(with_json(request.header("idempotency-key", key), body)).await
    }

    /// The ids of all orders, page by page.
    pub(crate) async fn all_orders(&self) -> Vec<String> {
        let (mut ids, mut more) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/v1/orders?page_size=100{more}")).await.json();
            ids.extend(page["orders"].as_array().unwrap().iter().map(|order| text(&order["id"])));
            let Some(token) = page["next_page_token"].as_str() else { return ids };
            more = format!("&page_token={token}");
        }
    }

    /// The live feed after this position.
    pub(crate) async fn watch(&self, after: u64) -> Watcher {
        let request = self.request("GET", "/v1/events").header(header::ACCEPT, "text/event-stream");
        let request = request.header("last-event-id", after).body(Full::default()).unwrap();
        let mut line = Line::open(self.api).await.unwrap();
        let response = soon(line.open_answer(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        Watcher { _line: line, body: response.into_body(), unread: String::new() }
    }
}

/// A request with a JSON body.
pub(crate) fn with_json(request: http::request::Builder, body: &Value) -> Request<Full<Bytes>> {
    let request = request.header(header::CONTENT_TYPE, "application/json");
    request.body(Full::from(body.to_string())).unwrap()
}

/// Gets what anybody may get.
pub(crate) async fn get(at: SocketAddr, path: &str) -> Answer {
    let request = Request::get(path).header(header::HOST, at.to_string());
    let mut line = Line::open(at).await.unwrap();
    line.send(request.body(Full::default()).unwrap()).await.unwrap()
}

/// Gets what anybody may get, in the form that is asked for.
pub(crate) async fn get_as(at: SocketAddr, path: &str, accept: &str) -> Answer {
    let request = Request::get(path).header(header::HOST, at.to_string());
    let request = request.header(header::ACCEPT, accept);
    let mut line = Line::open(at).await.unwrap();
    line.send(request.body(Full::default()).unwrap()).await.unwrap()
}

/// An answer as a whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// A header; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The id of the order that was placed, by this request or an earlier one.
    #[track_caller]
    pub(crate) fn placed(&self) -> String {
        assert_eq!(self.status, 201, "{}", self.text());
        text(&self.json()["id"])
    }

    /// Asserts that it is this problem.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.json()["code"], code);
    }
}

/// A live feed.
#[derive(Debug)]
pub(crate) struct Watcher {
    _line: Line,
    body: Incoming,
    unread: String,
}

/// One event of a live feed.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) id: u64,
    pub(crate) event: String,
    pub(crate) data: Value,
}

impl Watcher {
    /// The next event; `None` when the service has ended the feed.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                let field = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                };
                // A comment that keeps the connection alive has no event.
                let (Some(id), Some(event), Some(data)) =
                    (field("id"), field("event"), field("data"))
                else {
                    continue;
                };
                return Some(Told {
                    id: id.parse().unwrap(),
                    event: event.to_owned(),
                    data: serde_json::from_str(data).unwrap(),
                });
            }
            let frame = soon(self.body.frame()).await?.expect("a feed that ends in order");
            let Ok(bytes) = frame.into_data() else { continue };
            self.unread.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

/// A small order of 9.98 EUR.
pub(crate) fn order() -> Value {
    json!({
        "customer_id": "c-1",
        "lines": [{
            "sku": "tea",
            "quantity": 2,
            "unit_price": { "amount_minor": "499", "currency": "EUR" },
        }],
    })
}

/// A JSON string.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
