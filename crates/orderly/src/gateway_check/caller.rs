//! Calling the implementation, and keeping what was sent and what came.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method, Request, StatusCode, header};
use mainstay::{
    client::http::{self as client, BaseUrl, Client, Safety, Unknown},
    config::Secret,
    metrics::Metrics,
    telemetry::error_chain,
};
use mainstay_context::{Context, RequestId};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    facts::{Checked, Evidence, Trouble},
    watch::Watch,
};
use crate::console::Failure;

/// How often a request is made whose answer is not definite.
const TRIES: u32 = 3;
/// The pause before the next try, where the answer names none.
const PAUSE: Duration = Duration::from_millis(300);
/// The longest pause that an answer may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longer than one try may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// The most that is shown of a body, in characters.
const SHOWN: usize = 300;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    method: Method,
    path: String,
    pub(super) key: Option<String>,
    /// `None` sends no secret at all.
    secret: Option<Secret<String>>,
    content_type: &'static str,
    body: Bytes,
}

impl Ask {
    /// With another secret, or none.
    pub(super) fn with_secret(mut self, secret: Option<&str>) -> Self {
        self.secret = secret.map(|secret| Secret::new(secret.to_owned()));
        self
    }

    pub(super) fn with_key(mut self, key: Option<&str>) -> Self {
        self.key = key.map(str::to_owned);
        self
    }

    pub(super) fn to(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    pub(super) fn with_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// With this text as its body.
    pub(super) fn saying(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// What is sent, if it is JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// With its JSON changed.
    pub(super) fn changed(self, change: impl FnOnce(&mut Value)) -> Self {
        let mut json = self.json();
        change(&mut json);
        self.saying(json.to_string())
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The request in a line; a secret is never shown.
    fn told(&self) -> String {
        let mut told = vec![format!("{} {}", self.method, self.path)];
        match (&self.secret, self.key.as_deref()) {
            (None, _) => told.push("no secret".to_owned()),
            (Some(_), Some(key)) => {
                told.push(format!("Idempotency-Key: {}", shown(key.as_bytes())));
            }
            (Some(_), None) if self.method == Method::POST => {
                told.push("no Idempotency-Key".to_owned());
            }
            (Some(_), None) => {}
        }
        if self.content_type != JSON {
            told.push(format!("Content-Type: {}", self.content_type));
        }
        if !self.body.is_empty() {
            told.push(shown(&self.body));
        }
        told.join(", ")
    }
}

pub(super) const JSON: &str = "application/json";

/// The beginning of a body, on one line.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let shown: String = text.chars().take(SHOWN).map(visible).collect();
    let more = text.chars().nth(SHOWN).is_some();
    if more { format!("{shown}... ({} bytes)", body.len()) } else { shown }
}

/// A request and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) ask: Ask,
    pub(super) came: Came,
}

#[derive(Clone, Debug)]
pub(super) enum Came {
    Answer(StatusCode, HeaderMap, Bytes),
    /// There is none, for this reason.
    Nothing(Silence, String),
}

/// How it came that there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The request surely did not leave: nobody is there.
    NotSent,
    /// The answer is longer than the contract allows.
    TooLong,
    /// It was sent, and no answer came.
    Lost,
}

impl Exchange {
    /// The answer's JSON; null where there is none.
    pub(super) fn json(&self) -> Value {
        match &self.came {
            Came::Answer(_, _, body) => serde_json::from_slice(body).unwrap_or_default(),
            Came::Nothing(..) => Value::Null,
        }
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        match &self.came {
            Came::Answer(status, ..) => Some(*status),
            Came::Nothing(..) => None,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        match &self.came {
            Came::Answer(_, headers, _) => headers.get(name)?.to_str().ok(),
            Came::Nothing(..) => None,
        }
    }

    /// Whether it says that it was decided by an earlier request.
    pub(super) fn is_replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// What was sent, what came, and what was wanted.
    pub(super) fn evidence(&self, wanted: impl Into<String>) -> Evidence {
        let came = match &self.came {
            Came::Nothing(_, why) => format!("no answer: {why}"),
            Came::Answer(status, headers, body) => {
                let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                let replayed = if self.is_replayed() { ", Idempotent-Replayed: true" } else { "" };
                let kind = kind.unwrap_or("no Content-Type");
                format!("{}, {kind}{replayed}, {}", status.as_u16(), shown(body))
            }
        };
        Evidence { sent: self.ask.told(), came, wanted: wanted.into() }
    }

    /// It is not what the contract says.
    pub(super) fn miss<T>(&self, wanted: impl Into<String>) -> Checked<T> {
        match &self.came {
            Came::Nothing(_, why) => {
                Err(Trouble::Unclear(format!("{} has no answer: {why}", self.ask.told())))
            }
            Came::Answer(..) => Err(Trouble::Missing(Box::new(self.evidence(wanted)))),
        }
    }

    /// Whether it is this problem.
    pub(super) fn is_problem(&self, status: u16, code: &str) -> Checked {
        let told = self.json();
        let is = self.status().is_some_and(|told| told.as_u16() == status);
        if is && told.get("code").and_then(Value::as_str) == Some(code) {
            return Ok(());
        }
        self.miss(format!("{status} with the code {code}"))
    }
}

/// The implementation, as a caller of it knows it.
#[derive(Debug)]
pub(super) struct Caller {
    client: Client,
    secret: Secret<String>,
    watch: Mutex<Watch>,
}

impl Caller {
    pub(super) fn new(
        url: BaseUrl,
        secret: Secret<String>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let mut config = client::Config::new(url);
        // Every try is to be seen, and none is to be refused by our own side.
        config.tries = 1;
        config.try_timeout = timeout;
        config.connect_timeout = timeout.min(Duration::from_secs(3));
        config.breaker.consecutive_failures = 0;
        config.breaker.failure_ratio = 2.0;
        config.breaker.slow_ratio = 2.0;
        let client = Client::new("gateway", &config, &Metrics::new("orderly_check"))?;
        Ok(Self { client, secret, watch: Mutex::default() })
    }

    pub(super) fn get(&self, path: &str) -> Ask {
        Ask {
            method: Method::GET,
            path: path.to_owned(),
            key: None,
            secret: Some(self.secret.clone()),
            content_type: JSON,
            body: Bytes::new(),
        }
    }

    pub(super) fn post(&self, path: &str, key: &str, body: &Value) -> Ask {
        let body = body.to_string().into();
        Ask { method: Method::POST, key: Some(key.to_owned()), body, ..self.get(path) }
    }

    /// Makes the request until its answer is definite, a few times.
    pub(super) async fn send(&self, ask: Ask) -> Exchange {
        let mut tries = 1;
        loop {
            let exchange = Exchange { ask: ask.clone(), came: self.once(&ask).await };
            let again = exchange.status().is_none_or(|status| {
                status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
            });
            if !again || tries == TRIES {
                self.watch.lock().unwrap_or_else(PoisonError::into_inner).see(&exchange);
                return exchange;
            }
            let wait = exchange.header("retry-after").and_then(|wait| wait.parse().ok());
            tokio::time::sleep(wait.map_or(PAUSE, Duration::from_secs).min(LONGEST_PAUSE)).await;
            tries += 1;
        }
    }

    /// Makes the requests at the same time.
    pub(super) async fn send_all(&self, asks: impl IntoIterator<Item = Ask>) -> Vec<Exchange> {
        join_all(asks.into_iter().map(|ask| self.send(ask))).await
    }

    /// Whether anybody is there; the text says why not.
    pub(super) async fn reach(&self) -> Result<(), String> {
        match self.once(&self.get("/v1/capabilities")).await {
            Came::Nothing(Silence::NotSent, why) => Err(why),
            Came::Nothing(..) | Came::Answer(..) => Ok(()),
        }
    }

    /// What holds of every answer so far.
    pub(super) fn watched<T>(&self, read: impl FnOnce(&Watch) -> T) -> T {
        read(&self.watch.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn once(&self, ask: &Ask) -> Came {
        let request = match Self::request(ask) {
            Ok(request) => request,
            Err(error) => return Came::Nothing(Silence::NotSent, error.to_string()),
        };
        let id = RequestId::from_bytes(super::shop::id().into_bytes());
        let cx = Context::new(id).with_deadline((Instant::now() + PATIENCE).into_std());
        match self.client.call(&cx, Safety::Keyed, request).await {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                Came::Answer(head.status, head.headers, body)
            }
            Err(error) => {
                let silence = match &error {
                    client::Error::NotSent(_) => Silence::NotSent,
                    client::Error::Unknown(Unknown::TooLong { .. }) => Silence::TooLong,
                    client::Error::Unknown(_) => Silence::Lost,
                };
                Came::Nothing(silence, error_chain(&error))
            }
        }
    }

    fn request(ask: &Ask) -> http::Result<Request<Bytes>> {
        let mut request = Request::builder().method(&ask.method).uri(&ask.path);
        if let Some(secret) = &ask.secret {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", secret.expose()));
        }
        if let Some(key) = &ask.key {
            request = request.header("idempotency-key", key);
        }
        if ask.method == Method::POST {
            request = request.header(header::CONTENT_TYPE, ask.content_type);
        }
        request.body(ask.body.clone())
    }
}
