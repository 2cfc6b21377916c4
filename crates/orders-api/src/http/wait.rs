//! The answer to a change over HTTP: at once, or after the wait that `Prefer` asks for.

mod prefer;

use std::time::Duration;

use ::orders::{ports::Ports, usecase::Done};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue};
use mainstay_context::Context;

use crate::{api::Api, wait};

/// What is answered to a change: at once, or after the wait that the request prefers.
pub(super) async fn answer<P: Ports, R: IntoResponse>(
    api: &Api<P>,
    cx: &Context,
    headers: &HeaderMap,
    done: Done,
    respond: impl FnOnce(Done) -> R,
) -> Response {
    let Some(seconds) = prefer::wait(headers) else { return respond(done).into_response() };
    let Done { record, replayed } = done;
    let (record, waited) = wait::wait(api, cx, record, Duration::from_secs(seconds.into())).await;
    let mut response = respond(Done { record, replayed }).into_response();
    if waited && let Ok(applied) = HeaderValue::from_str(&format!("wait={seconds}")) {
        response.headers_mut().insert(HeaderName::from_static("preference-applied"), applied);
    }
    response
}
