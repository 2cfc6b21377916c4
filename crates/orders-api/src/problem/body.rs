//! How a problem reads on the wire: RFC 9457, `application/problem+json`.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use mainstay::telemetry::error_chain;
use mainstay_context::Context;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{Code, Denied, Facts, Problem, sampled::Sampled};
use crate::{
    limits::seconds,
    wire::{money::Money, priced::Totals},
};

/// What went wrong (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Body {
    /// A stable URI that names this kind of problem.
    #[serde(rename = "type")]
    #[schema(format = "uri")]
    kind: String,
    /// What it is, in a few words that are the same every time.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub(crate) status: u16,
    /// What kind of problem, for programs.
    code: &'static str,
    /// What happened this time, for people.
    detail: String,
    /// What to do about this kind of problem, for people.
    advice: &'static str,
    /// Everything that is wrong with the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// The id of the request, as in the logs.
    request_id: String,
    /// The trace of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    /// Whether the same request can succeed later.
    retryable: bool,
    /// What can be done to the order now, by the last part of its address, such as `confirm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, nullable = false)]
    allowed_transitions: Option<Vec<&'static str>>,
    /// The version the order is at.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    current_version: Option<u64>,
    /// Where the order is that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    order: Option<String>,
    /// The oldest position of the feed that is still kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    oldest_position: Option<String>,
    /// The total that was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expected_total: Option<Money>,
    /// The amounts as the service computes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    computed_totals: Option<Totals>,
}

/// One thing wrong with a request: in its body, or in a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where in the body: a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub pointer: Option<String>,
    /// The name of the header or query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub parameter: Option<String>,
    /// What rule, for programs.
    pub code: String,
    /// What is wrong, for people.
    pub detail: String,
}

impl FieldError {
    /// Something wrong at a place in the body.
    pub fn at(pointer: impl Into<String>, code: &str, detail: impl Into<String>) -> Self {
        let pointer = Some(pointer.into());
        Self { pointer, parameter: None, code: code.to_owned(), detail: detail.into() }
    }

    /// Something wrong with a header or a query parameter.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let (parameter, code) = (Some(name.to_owned()), "parameter".to_owned());
        Self { pointer: None, parameter, code, detail: detail.into() }
    }

    pub(super) fn sentence(&self) -> String {
        match (&self.pointer, &self.parameter) {
            (Some(pointer), _) if !pointer.is_empty() => format!("{pointer}: {}.", self.detail),
            (_, Some(parameter)) => format!("{parameter}: {}.", self.detail),
            (_, None) => super::from::sentence(&self.detail),
        }
    }
}

impl Problem {
    /// How it reads to the client of this request.
    pub fn body(&self, cx: &Context) -> Body {
        let mut body = Body {
            kind: self.code.uri(),
            title: self.code.title(),
            status: self.answered().as_u16(),
            code: self.code.as_str(),
            detail: self.detail.clone(),
            advice: self.then(),
            errors: Vec::new(),
            request_id: cx.request_id().to_string(),
            trace_id: (!cx.trace().is_none()).then(|| cx.trace().trace_id_hex()),
            retryable: self.retryable(),
            allowed_transitions: None,
            current_version: None,
            order: None,
            oldest_position: None,
            expected_total: None,
            computed_totals: None,
        };
        match &self.facts {
            Facts::None
            | Facts::Unkeyed
            | Facts::NoAddress
            | Facts::After(_)
            | Facts::Limit(..)
            | Facts::Denied(_) => {}
            Facts::Errors(errors) => body.errors.clone_from(errors),
            Facts::State(state) => body.allowed_transitions = Some(super::from::verbs(*state)),
            Facts::Version(version) => body.current_version = Some(version.get()),
            Facts::Order(order) => body.order = Some(format!("/v1/orders/{order}")),
            Facts::Oldest(position) => body.oldest_position = Some(position.to_string()),
            Facts::Totals(expected, computed) => {
                body.expected_total = Some((*expected).into());
                body.computed_totals = Some((&**computed).into());
            }
        }
        body
    }

    /// Whether this was decided in an earlier try.
    pub(crate) const fn is_replayed(&self) -> bool {
        self.replayed
    }

    /// Tells the operator what the client cannot mend, and now and then who was denied what: called once,
    /// where the problem is answered.
    pub fn log(&self) {
        // Of the process, as the log is: there may be no limit, and each order of a batch may be a denial.
        // `auth_total` counts all that stand for a request.
        static DENIED: Sampled = Sampled::new();
        if let Facts::Denied(denied) = &self.facts
            && let Some(left_out) = DENIED.line(Instant::now())
        {
            let Denied { principal, operation, scope } = &**denied;
            tracing::warn!(%principal, operation, scope, left_out, "denied for want of a scope");
        }
        let Some(cause) = &self.cause else { return };
        let error = error_chain(&**cause);
        tracing::error!(code = self.code.as_str(), error, "request failed");
    }

    /// The complete answer to this request.
    pub fn answer(self, cx: &Context) -> Response {
        let json = serde_json::to_vec(&self.body(cx)).unwrap_or_default();
        let mut response = (self.answered(), json).into_response();
        let headers = response.headers_mut();
        let set = HeaderValue::from_static;
        headers.insert(header::CONTENT_TYPE, set("application/problem+json"));
        if self.replayed {
            headers.insert("idempotent-replayed", set("true"));
        }
        if let Some(challenge) = self.code.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, set(challenge));
        }
        if let Some(after) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, seconds(after).max(1).into());
        }
        response.extensions_mut().insert(Told { problem: self, cx: cx.clone() });
        response
    }
}

/// A problem that was answered, with its request: beside the answer, for whoever puts it in the words
/// of another protocol.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) problem: Problem,
    pub(crate) cx: Context,
}

impl Code {
    /// How to authenticate, where that is what is amiss.
    pub(crate) fn challenge(self) -> Option<&'static str> {
        if self == Self::Unauthenticated {
            return Some("Bearer realm=\"orderly\"");
        }
        if self == Self::InsufficientScope {
            return Some("Bearer realm=\"orderly\", error=\"insufficient_scope\"");
        }
        (self == Self::WebhookUnsigned).then_some("Standard-Webhooks realm=\"orderly\"")
    }

    /// How long to wait before the next try at least, where it makes sense to say so.
    pub(crate) fn retry_after(self) -> Option<Duration> {
        let is_soon = matches!(
            self.status(),
            http::StatusCode::SERVICE_UNAVAILABLE | http::StatusCode::TOO_MANY_REQUESTS
        );
        is_soon.then_some(Duration::from_secs(1))
    }
}

/// The problem alone: the layer in [`crate::http`] that knows the request writes the answer.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.answered().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
