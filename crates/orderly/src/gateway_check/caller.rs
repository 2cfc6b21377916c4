//! Calling the implementation.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, StatusCode, header};
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
    exchange::{Ask, Came, Exchange, JSON, Silence},
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

    /// Whether anybody is there who answers; the text says why not.
    pub(super) async fn reach(&self) -> Result<(), String> {
        match self.once(&self.get("/v1/capabilities")).await {
            Came::Nothing(Silence::NotSent | Silence::Lost, why) => Err(why),
            Came::Nothing(Silence::TooLong, _) | Came::Answer(..) => Ok(()),
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
