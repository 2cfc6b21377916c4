//! What each request of a run is, as a function of the seed and its number in the sequence.

use crate::{
    args::Common,
    baskets::{Basket, Baskets},
    check::{self, Placed},
    rng::Rng,
    tally::Tally,
    tenants::Tenants,
};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, InvalidHeaderValue},
};
use http_body_util::Full;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Shared by all callers of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) baskets: Baskets,
    pub(crate) run_id: String,
    tenants: Tenants,
    host: HeaderValue,
    /// The time that each answer is wanted in.
    deadline: Option<HeaderValue>,
    seed: u64,
    read_percent: u8,
    replay_percent: u8,
    keep_references: bool,
    allow_overload: bool,
    next: AtomicU64,
    tally: Mutex<Tally>,
}

/// What a request is to do.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) read: bool,
    pub(crate) replay: bool,
    pub(crate) rng: Rng,
}

impl Plan {
    pub(crate) fn new(
        common: &Common,
        run_id: String,
        baskets: Baskets,
        tally: Tally,
    ) -> Result<Self, InvalidHeaderValue> {
        let host = common.url.authority().map_or("", |authority| authority.as_str());
        Ok(Self {
            baskets,
            run_id,
            tenants: Tenants::new(common)?,
            host: HeaderValue::from_str(host)?,
            deadline: common.deadline.map(|span| HeaderValue::from(span.0.as_millis() as u64)),
            seed: common.seed,
            read_percent: common.read_percent,
            replay_percent: common.replay_percent,
            keep_references: common.keep_references,
            allow_overload: common.allow_overload,
            next: AtomicU64::new(0),
            tally: Mutex::new(tally),
        })
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn work(&self, sequence: u64) -> Work {
        let mut rng = Rng::derived(self.seed, sequence);
        let read = rng.percent(self.read_percent);
        Work { read, replay: rng.percent(self.replay_percent), rng }
    }

    pub(crate) fn basket(&self, sequence: u64) -> &Basket {
        &self.baskets.all[(sequence % self.baskets.all.len() as u64) as usize]
    }

    /// The create of that number; the same each time it is made.
    pub(crate) fn create(&self, sequence: u64) -> Request<Full<Bytes>> {
        let reference = format!("{}-{sequence}", self.run_id);
        let reference = (!self.keep_references).then_some(reference.as_str());
        let body = self.basket(sequence).body(reference);
        let mut request = self.request("/v1/orders", body, sequence);
        *request.method_mut() = http::Method::POST;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(key) = HeaderValue::from_str(&self.key(sequence)) {
            headers.insert("idempotency-key", key);
        }
        request
    }

    pub(crate) fn key(&self, sequence: u64) -> String {
        format!("load-{}-{sequence:010}", self.run_id)
    }

    pub(crate) fn read(&self, placed: &Placed) -> Request<Full<Bytes>> {
        self.request(&format!("/v1/orders/{}", placed.id), Bytes::new(), placed.sequence)
    }

    /// The group of the tenant whose request has that number.
    pub(crate) fn group(&self, sequence: u64) -> &str {
        &self.tenants.of(sequence).group
    }

    /// The code of an answer that the arguments allow instead of the one asked for.
    pub(crate) fn refusal(
        &self,
        answer: &Response<Bytes>,
        basket: Option<&Basket>,
    ) -> Option<String> {
        let allowed = match answer.status() {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => self.allow_overload,
            StatusCode::UNPROCESSABLE_ENTITY => basket.is_some_and(|it| it.expected.is_none()),
            _ => false,
        };
        allowed.then(|| check::refusal(answer))
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, path: &str, body: Bytes, sequence: u64) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        // An id that is no path was checked to be in Location too; the answer to `/` will be wrong.
        *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        if let Some(authorization) = &self.tenants.of(sequence).authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(deadline) = &self.deadline {
            headers.insert("x-request-timeout-ms", deadline.clone());
        }
        request
    }
}
