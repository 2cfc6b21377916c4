//! The layer that says a problem in the words of gRPC.

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::{self, Next},
    response::Response,
};
use http::{StatusCode, header};
use http_body_util::BodyExt as _;

use super::heard::is_call;
use crate::problem::Told;

/// What a problem's answer says in the words of HTTP only.
const OF_HTTP: [header::HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::RETRY_AFTER,
    header::VARY,
    header::WWW_AUTHENTICATE,
];

/// Lets callers of gRPC have every problem as a status, those of the chassis too: put it around all
/// else, outside of `mainstay::http::inbound`.
pub fn spoken(router: Router) -> Router {
    router.layer(middleware::from_fn(speak))
}

async fn speak(request: Request, next: Next) -> Response {
    let is_call = is_call(request.version(), request.headers());
    let response = next.run(request).await;
    if !is_call {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Some(Told { problem, cx }) = head.extensions.remove() else {
        return Response::from_parts(head, body);
    };
    // It stands in memory. An answer that is not taken to its end would be logged as cut off.
    let _taken = body.collect().await;
    let said = problem.status(&cx).into_http::<Body>();
    for name in OF_HTTP {
        head.headers.remove(name);
    }
    head.headers.extend(said.into_parts().0.headers);
    head.status = StatusCode::OK;
    Response::from_parts(head, Body::empty())
}
