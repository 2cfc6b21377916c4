//! A running API: the real routes and core, over a world in memory. With `ORDERLY_TEST_STORE=sqlite` the
//! world keeps its orders in a file of SQLite, with `postgres` in a real PostgreSQL, a database for each
//! test; with `pgbouncer` it does so through a pooler.

#[path = "../../../orders-adapters/examples/sim/postgres.rs"]
mod postgres;
#[path = "../../../orders-adapters/examples/sim/sqlite.rs"]
mod sqlite;

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header, request},
};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use mainstay::{
    http::{Stack, inbound},
    lifecycle::Phase,
    metrics::{Format, Metrics},
    server::Network,
};
use mainstay_context::Context;
use orders_adapters::postgres::Config as Store;
use orders_api::{
    auth::{Auth, Entry, File, Keys, PeerEntry, Scope, Tokens, hash},
    grpc::spoken,
    http::{Config, STREAMS, Webhooks, router},
    limits::{self, Limits},
    problem::chassis_failure,
};
use orders_testkit::{
    Engine, World,
    servers::{self, PgBouncer},
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;

/// Two credentials of one tenant, and two of another.
pub(crate) const OWN: &str = "Bearer own.secret";
pub(crate) const OTHER: &str = "Bearer other.secret";
pub(crate) const FOREIGN: &str = "Bearer foreign.secret";
pub(crate) const FOREIGN_OTHER: &str = "Bearer foreign-other.secret";
/// A key that opens nothing.
pub(crate) const NOTHING: &str = "Bearer nothing.secret";
/// A peer that may read orders.
pub(crate) const PEER: &str = "spiffe://shop.test/warehouse";

/// What the gateway signs its webhooks with here.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) struct Shop {
    pub(crate) world: World,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) metrics: Metrics,
    pub(crate) auth: Arc<Auth>,
    app: Router,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::set(|_, _| {})
    }

    pub(crate) fn without_gateway() -> Self {
        Self::set(|config, _| {
            config.payments = false;
            config.webhooks = None;
        })
    }

    /// One that these tokens open too.
    pub(crate) fn trusting(tokens: Arc<Tokens>) -> Self {
        Self::build(world(), Some(tokens), |_, _| {})
    }

    /// One with these secrets of webhooks.
    pub(crate) fn with_secrets(secrets: Option<&str>) -> Self {
        Self::set(|config, metrics| {
            config.webhooks = secrets.map(|text| Webhooks::new(text.parse().unwrap(), metrics));
        })
    }

    /// One that limits what is asked, behind a proxy on this machine.
    pub(crate) fn with_limits(limits: limits::Config) -> Self {
        Self::set(|config, metrics| config.limits = Limits::new(limits, metrics))
    }

    /// One over this world, whatever the environment says.
    pub(crate) fn over(world: World) -> Self {
        Self::build(world, None, |_, _| {})
    }

    /// One whose configuration was changed like this.
    pub(crate) fn set(change: impl FnOnce(&mut Config, &Metrics)) -> Self {
        Self::build(world(), None, change)
    }

    fn build(
        world: World,
        tokens: Option<Arc<Tokens>>,
        change: impl FnOnce(&mut Config, &Metrics),
    ) -> Self {
        let (phase, metrics) = (watch::Sender::new(Phase::Ready), Metrics::new("test"));
        let auth = Arc::new(Auth::new(keys(), tokens, &metrics));
        let mut config = Config::new(Arc::clone(&auth), [7; 32], phase.subscribe());
        config.payments = true;
        config.webhooks = Some(Webhooks::new(SECRET.parse().unwrap(), &metrics));
        change(&mut config, &metrics);
        let stack = Stack::new(&metrics).with_failures(chassis_failure);
        let stack = stack.with_trusted_proxies(Network::loopback());
        let stack = STREAMS.into_iter().fold(stack, Stack::with_stream);
        let app = spoken(inbound(router(Arc::new(world.orders()), config), &stack));
        Self { world, phase, metrics, auth, app }
    }

    /// All of it, for a connection to serve.
    pub(crate) fn app(&self) -> Router {
        self.app.clone()
    }

    /// Whether a request of this route was counted under this status.
    pub(crate) fn counts(&self, route: &str, code: u16) -> bool {
        let (route, code) = (format!("route=\"{route}\""), format!("code=\"{code}\""));
        let text = self.metrics.render(Format::Text);
        text.lines().any(|line| line.contains(&route) && line.contains(&code))
    }

    /// The answer before its body.
    pub(crate) async fn open(&self, request: Request<Body>) -> axum::response::Response {
        self.app.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.open(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(get(path).body(Body::empty()).unwrap()).await
    }

    /// Places [`order`] under this key.
    pub(crate) async fn create(&self, key: &str, order: &Value) -> Answer {
        self.send(json_body(post("/v1/orders").header("idempotency-key", long(key)), order)).await
    }

    /// A verb with a body, under this key.
    pub(crate) async fn tell(&self, id: &str, verb: &str, key: &str, body: &Value) -> Answer {
        let request = post(&format!("/v1/orders/{id}/{verb}"));
        self.send(json_body(request.header("idempotency-key", long(key)), body)).await
    }

    /// The worker takes everything that is due, until nothing is.
    pub(crate) async fn work(&self) {
        let (orders, cx) = (self.world.orders(), Context::new("worker".parse().unwrap()));
        loop {
            let due = orders.take_tasks(&cx, 100).await.unwrap();
            if due.is_empty() {
                return;
            }
            for leased in due {
                orders.carry_on(&cx, &leased).await.unwrap();
            }
        }
    }

    /// Places an order and tells its id.
    pub(crate) async fn created(&self, key: &str) -> String {
        let answer = self.create(key, &order()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Asks to pay for an order.
    pub(crate) async fn pay(&self, id: &str, headers: &[(&str, &str)]) -> Answer {
        let request = post(&format!("/v1/orders/{id}/pay"));
        let request = request.header("idempotency-key", long(&format!("pay-{id}")));
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(json_body(request, &json!({ "instrument": "tok_ok" }))).await
    }

    pub(crate) async fn verb(&self, id: &str, verb: &str, headers: &[(&str, &str)]) -> Answer {
        let request = post(&format!("/v1/orders/{id}/{verb}"));
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request.body(Body::empty()).unwrap()).await
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that it is this problem, and hands it on.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        problem
    }

    /// The JSON body without what differs from run to run.
    pub(crate) fn redacted(&self) -> Value {
        let mut body = self.json();
        redact(&mut body);
        body
    }
}

/// Replaces ids, numbers and times.
pub(crate) fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "id" | "subject" | "order_id" | "change_id" | "number" | "request_id"
                    | "trace_id" | "traceparent" | "next_page_token" => {
                        *value = format!("[{name}]").into();
                    }
                    "self" | "history" | "order" if value.is_string() => *value = "[link]".into(),
                    _ => redact(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A small valid order of 3.99 EUR.
pub(crate) fn order() -> Value {
    json!({
        "customer_id": "c-1",
        "lines": [{
            "sku": "tea",
            "quantity": 2,
            "unit_price": { "amount_minor": "199.5", "currency": "EUR" },
        }],
    })
}

/// The same order with more fields.
pub(crate) fn order_with(fields: &Value) -> Value {
    let mut order = order();
    let more = fields.as_object().unwrap().clone();
    order.as_object_mut().unwrap().extend(more);
    order
}

/// A key of this name, made long enough.
pub(crate) fn long(key: &str) -> String {
    format!("{key:-<16}")
}

pub(crate) fn get(path: &str) -> request::Builder {
    request(Method::GET, path)
}

pub(crate) fn post(path: &str) -> request::Builder {
    request(Method::POST, path)
}

fn request(method: Method, path: &str) -> request::Builder {
    Request::builder().method(method).uri(path).header(header::AUTHORIZATION, OWN)
}

pub(crate) fn json_body(request: request::Builder, body: &Value) -> Request<Body> {
    let request = request.header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

/// An empty world, over the store that the environment names.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration but this")]
fn world() -> World {
    match std::env::var("ORDERLY_TEST_STORE").as_deref() {
        Err(_) | Ok("") => World::new(1),
        Ok("sqlite") => World::over(1, sqlite::fresh()),
        Ok("postgres") => World::over(1, postgres::fresh()),
        Ok("pgbouncer") => World::over(1, pooled()),
        Ok(other) => {
            panic!("ORDERLY_TEST_STORE is {other:?}: it is sqlite, postgres, pgbouncer or not set")
        }
    }
}

/// An empty store through PgBouncer, but for what needs a session.
fn pooled() -> Box<dyn Engine> {
    static POOLER: OnceLock<PgBouncer> = OnceLock::new();
    let pooler = POOLER.get_or_init(|| PgBouncer::before(servers::postgres(), 20));
    let direct = servers::postgres().copy(postgres::template());
    let url = pooler.url(&direct);
    postgres::over(Store { direct_url: Some(direct), prepare: false, ..Store::at(url) })
}

fn keys() -> Keys {
    let second = |id, tenant| Entry { principal: "till-2".to_owned(), ..entry(id, tenant) };
    let nothing = Entry { scopes: Some(Vec::new()), ..entry("nothing", "shop") };
    let keys = vec![
        entry("own", "shop"),
        second("other", "shop"),
        entry("foreign", "rival"),
        second("foreign-other", "rival"),
        nothing,
    ];
    let peer = PeerEntry {
        spiffe_id: PEER.to_owned(),
        tenant: "shop".to_owned(),
        principal: "warehouse".to_owned(),
        scopes: Some(vec![Scope::OrdersRead]),
    };
    opening(keys, vec![peer])
}

/// A key of this id with the secret `secret`, which opens everything of the tenant's.
pub(crate) fn entry(id: &str, tenant: &str) -> Entry {
    Entry {
        id: id.to_owned(),
        tenant: tenant.to_owned(),
        principal: "till".to_owned(),
        hash: hash(b"pepper", "secret"),
        scopes: None,
    }
}

/// What these open.
pub(crate) fn opening(keys: Vec<Entry>, peers: Vec<PeerEntry>) -> Keys {
    Keys::new(b"pepper", File { keys, peers }).unwrap()
}
