//! The metrics and the log line of one request.

use super::{
    Failure, Stack,
    in_flight::{Entry, Listed},
};
use crate::{
    body::{Observed, Observer},
    metrics::{Gauge, Histogram},
};
use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    response::Response,
};
use http::{Method, StatusCode};
use mainstay_context::{Activity, Cause, Context};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tracing::Span;

/// The most of a path that the log line and the span tell, in bytes.
const PATH: usize = 256;

const NOT_ALLOWED: u16 = StatusCode::METHOD_NOT_ALLOWED.as_u16();

/// The label of methods without one of their own.
const OTHER: &str = "OTHER";

const TOO_LATE: Cause = Cause::DeadlineExceeded;

/// What other layers and handlers tell the log line. Clones share it; it is in every request's
/// extensions.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    principal: Option<String>,
    code: Option<String>,
    /// The status of a failure that came after the head of the answer.
    status: Option<StatusCode>,
}

impl Record {
    /// Names who asks.
    pub fn set_principal(&self, principal: &str) {
        self.notes().principal = Some(principal.to_owned());
    }

    /// Names the error that was answered; the last one stays.
    pub fn set_code(&self, code: &str) {
        self.notes().code = Some(code.to_owned());
    }

    /// Names the error that ended an answer after its head, which said otherwise: the line and the
    /// metrics tell this status, as they would if the head had said so.
    pub fn set_failed(&self, code: &str, status: StatusCode) {
        let mut notes = self.notes();
        notes.code = Some(code.to_owned());
        notes.status = Some(status);
    }

    fn failed(&self) -> Option<StatusCode> {
        self.notes().status
    }

    pub(super) fn principal(&self) -> Option<String> {
        self.notes().principal.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request from its header to the end of its answer; reports once, when dropped.
pub(super) struct Exchange {
    cx: Context,
    span: Span,
    record: Record,
    duration: Histogram,
    in_flight: Gauge,
    _listed: Entry,
    started: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    path: String,
    status: Option<StatusCode>,
    bytes: usize,
    /// Whether the caller got all of the answer.
    whole: bool,
}

impl Exchange {
    pub(super) fn begin(
        stack: &Stack,
        cx: &Context,
        request: &Request,
        (span, came): (Span, Instant),
    ) -> Self {
        stack.in_flight.add(1.0, &[]);
        cx.enter(Activity::Queued, came.into_std());
        let (method, route) = (request.method().clone(), request.extensions().get().cloned());
        let record = Record::default();
        let listed = Listed {
            cx: cx.clone(),
            method: method.clone(),
            route: Option::clone(&route),
            record: record.clone(),
            started: came,
        };
        Self {
            cx: cx.clone(),
            span,
            record,
            duration: stack.duration.clone(),
            in_flight: stack.in_flight.clone(),
            _listed: stack.requests.enter(listed),
            started: came,
            method: known_method(&method),
            route,
            path: shown_path(request).to_owned(),
            status: None,
            bytes: 0,
            whole: false,
        }
    }

    pub(super) fn record(&self) -> Record {
        self.record.clone()
    }

    /// Follows the answer to its end.
    pub(super) fn answer(mut self, response: Response) -> Response {
        self.status = Some(response.status());
        // Nobody reads the body of an answer to HEAD.
        self.whole = self.method == "HEAD";
        response.map(|body| Body::new(Observed::new(body, self)))
    }
}

impl Observer for Exchange {
    fn bytes(&mut self, count: usize) {
        self.bytes += count;
    }

    fn end(&mut self) {
        self.whole = true;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.started);
        // A caller that left at its own deadline left because of it: not a cancellation.
        let late = self.status.is_none() && self.cx.ended(now.into_std()) == Some(TOO_LATE);
        if !self.whole {
            // The work of a stream may go on elsewhere; this tells it to end.
            self.cx.cancel(if late { TOO_LATE } else { Cause::CallerGone });
        }
        if late {
            self.record.set_code(Failure::DeadlineExceeded.code());
        }
        let none = if late { Failure::DeadlineExceeded.status().as_u16() } else { 499 };
        let status = self.record.failed().or(self.status).map_or(none, |status| status.as_u16());
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        let spent = |activity| part(self.cx.spent(activity, now.into_std()));
        self.in_flight.add(-1.0, &[]);
        // A method that a route does not have is the caller's invention too.
        let method = if status == NOT_ALLOWED { OTHER } else { self.method };
        let (labels, trace) = ([method, route, &status.to_string()], self.cx.trace());
        self.duration.observe_traced(elapsed.as_secs_f64(), &labels, trace);
        self.end_span(status);
        let notes = self.record.notes();
        // In the order in which people read: what was asked, what came of it, and the ids last.
        tracing::info!(
            target: "http.access",
            method = self.method,
            path = self.path,
            status,
            duration_ms = millis(elapsed),
            queue_ms = spent(Activity::Queued),
            store_ms = spent(Activity::Storing),
            attempt = (self.cx.attempt() > 1).then_some(self.cx.attempt()),
            bytes = self.bytes,
            principal = notes.principal,
            code = notes.code,
            cut = (!self.whole).then_some(true),
            route,
            request_id = self.cx.request_id().as_str(),
            trace_id = trace.trace_id_hex(),
            span_id = trace.span_id_hex(),
            "request"
        );
    }
}

/// A part of a request's time, left out where nothing was spent on it.
fn part(time: Duration) -> Option<f64> {
    (!time.is_zero()).then(|| millis(time))
}

/// Milliseconds to the microsecond; what is finer tells nothing. Cut off and not rounded, so that the
/// parts of a time are never more than the whole.
#[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
fn millis(time: Duration) -> f64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX) as f64 / 1_000.0
}

impl Exchange {
    /// Entered once more, so that the span ends with the answer and not with its handler.
    fn end_span(&self, status: u16) {
        self.span.in_scope(|| {
            self.span.record("http.response.status_code", status);
            if status >= 500 {
                self.span.record("otel.status_code", "ERROR");
            }
        });
    }
}

/// The path without the query, which may hold anything: as far as it is told.
pub(super) fn shown_path(request: &Request) -> &str {
    let path = request.uri().path();
    &path[..path.floor_char_boundary(PATH)]
}

/// The method as a label: a caller can invent methods without end.
pub(super) fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_to_the_microsecond() {
        assert_eq!(millis(Duration::from_nanos(912_999)).to_string(), "0.912");
        assert_eq!(millis(Duration::from_nanos(1_000_499)).to_string(), "1");
        assert_eq!(millis(Duration::from_secs(3)).to_string(), "3000");
    }
}
