//! What can go wrong by the contract: RFC 9457, with a code.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::ledger::LedgerError;

macro_rules! codes {
    ($($variant:ident $code:literal $status:ident;)+) => {
        /// What kind of problem, for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code { $($variant,)+ }

        impl Code {
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }
        }
    };
}

codes! {
    Malformed "malformed" BAD_REQUEST;
    KeyMissing "idempotency-key-missing" BAD_REQUEST;
    Unauthenticated "unauthenticated" UNAUTHORIZED;
    NotFound "not-found" NOT_FOUND;
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED;
    ReferenceInUse "reference-in-use" CONFLICT;
    PayloadTooLarge "payload-too-large" PAYLOAD_TOO_LARGE;
    UnsupportedMediaType "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE;
    KeyReused "idempotency-key-reused" UNPROCESSABLE_ENTITY;
    TooManyRequests "too-many-requests" TOO_MANY_REQUESTS;
    Internal "internal" INTERNAL_SERVER_ERROR;
    Unavailable "unavailable" SERVICE_UNAVAILABLE;
}

/// One occurrence.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) code: Code,
    detail: String,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::Malformed, detail)
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        tracing::error!(error = %error.0, "the ledger failed");
        Self::new(Code::Internal, "The ledger failed; the outcome is unknown.")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "code": self.code.as_str(),
            "detail": self.detail,
        });
        let mut response = (status, body.to_string()).into_response();
        let set = HeaderValue::from_static;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, set("application/problem+json"));
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, set("Bearer realm=\"gateway\""));
        }
        if matches!(self.code, Code::TooManyRequests | Code::Unavailable) {
            headers.insert(header::RETRY_AFTER, set("1"));
        }
        response.extensions_mut().insert(self.code);
        response
    }
}
