//! The stack's own failures, and how they read where the service does not write them itself.

use super::TimeoutHeader;
use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use mainstay_context::Context;
use serde_json::json;

/// How the stack itself fails a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The time was spent before there was an answer.
    DeadlineExceeded,
    /// The caller's deadline cannot be read: this header is malformed or repeated.
    InvalidTimeout(TimeoutHeader),
    /// The handler panicked, or stands outside the stack.
    Internal,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Self; 5] = [
        Self::DeadlineExceeded,
        Self::InvalidTimeout(TimeoutHeader::RequestTimeout),
        Self::InvalidTimeout(TimeoutHeader::Envoy),
        Self::InvalidTimeout(TimeoutHeader::Grpc),
        Self::Internal,
    ];

    /// Its name, which the log line carries.
    pub const fn code(self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::InvalidTimeout(_) => "invalid-timeout",
            Self::Internal => "internal",
        }
    }

    /// The status it is answered with.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::InvalidTimeout(_) => StatusCode::BAD_REQUEST,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What happened, for people.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::DeadlineExceeded => {
                "The time for this request was spent before there was an answer; whether it took effect is not known."
            }
            Self::InvalidTimeout(header) => header.grammar(),
            Self::Internal => "The request failed in a way that was not foreseen.",
        }
    }

    const fn retryable(self) -> bool {
        match self {
            Self::DeadlineExceeded => true,
            Self::InvalidTimeout(_) | Self::Internal => false,
        }
    }

    /// The answer as an RFC 9457 problem, for a service that has no problems of its own.
    pub(super) fn problem(self, cx: &Context) -> Response {
        self.render(json!({
            "request_id": cx.request_id().as_str(),
            "trace_id": cx.trace().trace_id_hex(),
        }))
    }

    /// The answer with these fields besides its own.
    pub(super) fn render(self, mut fields: serde_json::Value) -> Response {
        fields["type"] = "about:blank".into();
        fields["title"] = self.status().canonical_reason().into();
        fields["status"] = self.status().as_u16().into();
        fields["code"] = self.code().into();
        fields["detail"] = self.detail().into();
        fields["retryable"] = self.retryable().into();
        let mut response = Response::new(Body::from(fields.to_string()));
        *response.status_mut() = self.status();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}
