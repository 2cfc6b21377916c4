use super::{Failure, Record};
use axum::{extract::FromRequestParts, response::Response};
use http::{Extensions, request::Parts};
use mainstay_context::{Context, Principal};

/// Hands the request's context to a handler: `async fn get(Cx(cx): Cx) -> ..`.
///
/// Cannot fail behind [`inbound`](super::inbound); elsewhere the answer is
/// [`Failure::Internal`] as the chassis writes it, since the stack that would know better is missing.
#[derive(Clone, Debug)]
pub struct Cx(pub Context);

impl<S: Sync> FromRequestParts<S> for Cx {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        let cx = parts.extensions.get::<Context>().cloned();
        cx.map(Self).ok_or_else(|| {
            tracing::error!(path = parts.uri.path(), "this route is not behind the inbound stack");
            Failure::Internal.render(serde_json::json!({}))
        })
    }
}

/// Names who asks, for an authentication layer inside [`inbound`](super::inbound): in the
/// context that handlers get, and in the log line.
///
/// Takes `request.extensions_mut()` or `parts.extensions`. Without an inbound stack it does
/// nothing.
pub fn set_principal(extensions: &mut Extensions, principal: Principal) {
    if let Some(record) = extensions.get::<Record>() {
        record.set_principal(&principal.to_string());
    }
    if let Some(cx) = extensions.remove::<Context>() {
        extensions.insert(cx.with_principal(principal));
    }
}
