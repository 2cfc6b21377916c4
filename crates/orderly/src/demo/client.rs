//! A client of the service as any shop would have one: it retries with the same key until it has an
//! answer.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{Request, header};
use mainstay::{
    client::http::{self as client, Safety},
    metrics::Metrics,
};
use mainstay_context::Context;
use serde_json::Value;
use tokio::time::Instant;

use super::patience::until;
use crate::console::Failure;

/// How long one try may take.
const TRY: Duration = Duration::from_secs(5);
/// How long an answer is tried for: the service may be killed and started meanwhile.
const PATIENCE: Duration = Duration::from_mins(1);
/// Reads under way at a time.
const AT_ONCE: usize = 16;

/// Somebody with a key.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: client::Client,
    pub(super) address: SocketAddr,
    pub(super) key: String,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) json: Value,
    /// Whether it was decided by an earlier request with the same key.
    pub(super) replayed: bool,
}

impl Reply {
    /// Text of the answer; empty when it is not there.
    pub(super) fn text(&self, pointer: &str) -> String {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

impl Client {
    pub(super) fn new(address: SocketAddr, key: String) -> Result<Self, Failure> {
        let mut config = client::Config::new(format!("http://{address}").parse()?);
        config.tries = 1;
        config.try_timeout = TRY;
        // A shop that knows of a retry needs no breaker to keep it from making it.
        config.breaker.consecutive_failures = 0;
        config.breaker.failure_ratio = 2.0;
        config.breaker.slow_ratio = 2.0;
        config.reply_limit = 16 << 20;
        let http = client::Client::new("orderly", &config, &Metrics::new("orderly_demo"))?;
        Ok(Self { http, address, key })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.ask("GET", path, None).await
    }

    /// Sends it under this idempotency key until there is an answer that is not "later".
    pub(super) async fn post(&self, path: &str, key: &str, body: &Value) -> Result<Reply, Failure> {
        self.ask("POST", path, Some((key, body))).await
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        sent: Option<(&str, &Value)>,
    ) -> Result<Reply, Failure> {
        let what = format!("an answer to {method} {path}");
        until(&what, PATIENCE, async || {
            let reply = self.once(method, path, sent).await?;
            (reply.status < 500 && reply.status != 429).then_some(reply)
        })
        .await
    }

    /// One try; `None` when there is no answer.
    async fn once(&self, method: &str, path: &str, sent: Option<(&str, &Value)>) -> Option<Reply> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        let mut body = Bytes::new();
        if let Some((key, json)) = sent {
            request = request
                .header("idempotency-key", key)
                .header(header::CONTENT_TYPE, "application/json");
            body = json.to_string().into();
        }
        let cx =
            Context::new("demo".parse().ok()?).with_deadline((Instant::now() + TRY).into_std());
        let answer = self.http.call(&cx, Safety::Keyed, request.body(body).ok()?).await.ok()?;
        let replayed =
            answer.headers().get("idempotent-replayed").is_some_and(|value| value == "true");
        let json = serde_json::from_slice(answer.body()).unwrap_or_default();
        Some(Reply { status: answer.status().as_u16(), json, replayed })
    }

    /// Every order as a whole, its payments included.
    pub(super) async fn orders(&self) -> Result<Vec<Value>, Failure> {
        let ids = self.ids().await?;
        let whole = |id: String| async move { self.get(&format!("/v1/orders/{id}")).await };
        let replies = stream::iter(ids).map(whole).buffered(AT_ONCE);
        replies.map_ok(|reply| reply.json).try_collect().await
    }

    /// The ids of all orders, page by page.
    async fn ids(&self) -> Result<Vec<String>, Failure> {
        let (mut all, mut more) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/v1/orders?page_size=100{more}")).await?;
            let orders = page.json["orders"].as_array().ok_or("the list of orders is none")?;
            all.extend(orders.iter().filter_map(|order| order["id"].as_str().map(str::to_owned)));
            match page.json["next_page_token"].as_str() {
                Some(token) => more = format!("&page_token={token}"),
                None => return Ok(all),
            }
        }
    }
}
