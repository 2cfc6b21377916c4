//! The stack's own refusals, as RFC 9457 problems.

use super::Record;
use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use mainstay_context::Context;

/// A refusal that is the same for every request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) detail: &'static str,
    pub(super) retryable: bool,
}

pub(super) const DEADLINE_EXCEEDED: Problem = Problem {
    status: StatusCode::GATEWAY_TIMEOUT,
    code: "deadline-exceeded",
    detail: "The time for this request was spent before there was an answer; whether it took effect is not known.",
    retryable: true,
};

pub(super) const INVALID_TIMEOUT: Problem = Problem {
    status: StatusCode::BAD_REQUEST,
    code: "invalid-timeout",
    detail: "x-request-timeout-ms must be a whole number of milliseconds, once.",
    retryable: false,
};

pub(super) const PANIC: Problem = Problem {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    code: "internal",
    detail: "The request failed in a way that was not foreseen.",
    retryable: false,
};

pub(super) const NO_CONTEXT: Problem = Problem {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    code: "internal",
    detail: "This route is not behind the inbound stack.",
    retryable: false,
};

impl Problem {
    /// The answer to the request of `cx`, whose log line will carry the code.
    pub(super) fn response(self, cx: &Context, record: &Record) -> Response {
        record.set_code(self.code);
        self.render(serde_json::json!({
            "request_id": cx.request_id().as_str(),
            "trace_id": cx.trace().trace_id_hex(),
        }))
    }

    /// The answer with these fields besides its own.
    pub(super) fn render(self, mut fields: serde_json::Value) -> Response {
        fields["type"] = "about:blank".into();
        fields["title"] = self.status.canonical_reason().into();
        fields["status"] = self.status.as_u16().into();
        fields["code"] = self.code.into();
        fields["detail"] = self.detail.into();
        fields["retryable"] = self.retryable.into();
        let mut response = Response::new(Body::from(fields.to_string()));
        *response.status_mut() = self.status;
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}
