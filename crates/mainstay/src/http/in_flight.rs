//! The requests that are being served, for operators.

use super::access::Record;
use axum::extract::MatchedPath;
use http::Method;
use mainstay_context::Context;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The most requests that are listed at a time.
const MOST: usize = 1_024;

/// The requests whose answer is not finished. Clones share the list.
///
/// At most 1,024 are listed, the oldest, which are those worth a look; the metric
/// `http_requests_in_flight` counts all.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    requests: BTreeMap<u64, Arc<Listed>>,
}

/// What is looked at when somebody asks.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) cx: Context,
    pub(super) method: Method,
    pub(super) route: Option<MatchedPath>,
    pub(super) record: Record,
    pub(super) started: Instant,
}

/// One request whose answer is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlightRequest {
    /// Its id, as in its log line.
    pub request_id: String,
    /// Its method.
    pub method: String,
    /// The pattern that matched; `none` when none did.
    pub route: String,
    /// Who asks; `None` until that is known.
    pub principal: Option<String>,
    /// How long ago its header came.
    pub age: Duration,
    /// What it is doing, such as `queued`; see [`Activity`](mainstay_context::Activity).
    pub activity: &'static str,
    /// The time left to it: zero when it is spent, `None` for a stream, which has no limit.
    pub remaining: Option<Duration>,
}

impl InFlight {
    /// The requests in flight now, the oldest first.
    pub fn list(&self) -> Vec<InFlightRequest> {
        // Told after the lock is open again: requests begin and end meanwhile.
        let listed: Vec<_> = self.lock().requests.values().cloned().collect();
        let now = Instant::now();
        listed.iter().map(|listed| listed.told(now)).collect()
    }

    /// Lists a request until the entry is dropped; not when the list is full.
    pub(super) fn enter(&self, request: Listed) -> Entry {
        let mut list = self.lock();
        let id = list.next;
        list.next += 1;
        if list.requests.len() < MOST {
            list.requests.insert(id, Arc::new(request));
        }
        Entry { list: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listed {
    fn told(&self, now: Instant) -> InFlightRequest {
        InFlightRequest {
            request_id: self.cx.request_id().to_string(),
            method: self.method.to_string(),
            route: self.route.as_ref().map_or("none", MatchedPath::as_str).to_owned(),
            principal: self.record.principal(),
            age: now.saturating_duration_since(self.started),
            activity: self.cx.activity().as_str(),
            remaining: self.cx.remaining(now.into_std()),
        }
    }
}

/// Takes a request off the list when its answer ends in whatever way.
#[derive(Debug)]
pub(super) struct Entry {
    list: InFlight,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let request = self.list.lock().requests.remove(&self.id);
        // Freed after the lock is open again.
        drop(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_context::Activity;

    fn request(id: &str) -> Listed {
        Listed {
            cx: Context::new(id.parse().unwrap()),
            method: Method::GET,
            route: None,
            record: Record::default(),
            started: Instant::now(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_listed_while_it_lasts_with_what_it_does() {
        let in_flight = InFlight::default();
        let mut request = request("r-1");
        let (cx, record) = (request.cx.clone(), request.record.clone());
        request.cx = request.cx.with_deadline((Instant::now() + Duration::from_secs(2)).into_std());
        let entry = in_flight.enter(request);
        tokio::time::advance(Duration::from_millis(300)).await;
        cx.enter(Activity::Queued, Instant::now().into_std());
        record.set_principal("shop/till-1");

        let expected = InFlightRequest {
            request_id: "r-1".to_owned(),
            method: "GET".to_owned(),
            route: "none".to_owned(),
            principal: Some("shop/till-1".to_owned()),
            age: Duration::from_millis(300),
            activity: "queued",
            remaining: Some(Duration::from_millis(1_700)),
        };
        assert_eq!(in_flight.list(), [expected]);
        drop(entry);
        assert_eq!(in_flight.list(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_is_bounded_and_keeps_the_oldest() {
        let in_flight = InFlight::default();
        let entries: Vec<_> =
            (0..MOST + 10).map(|n| in_flight.enter(request(&format!("r-{n}")))).collect();
        let listed = in_flight.list();
        assert_eq!((listed.len(), listed[0].request_id.as_str()), (MOST, "r-0"));
        drop(entries);
        assert_eq!(in_flight.list(), []);
    }
}
