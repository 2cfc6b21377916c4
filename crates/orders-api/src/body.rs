//! Bodies of requests, over either protocol: bounded before they are buffered.

use std::error::Error;

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use mainstay::{config::duration, server::BodyIdle};

use crate::problem::{Code, Problem};

/// The whole body; `None` when it is larger than `limit`. One that says so is not read at all.
pub(crate) async fn collect(body: Body, limit: usize) -> Result<Option<Bytes>, Problem> {
    let announced = body.size_hint().lower();
    if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Ok(None);
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(Some(body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(error) => Err(broke_off(&*error)),
    }
}

/// The problem of a body, or a part of one, above its limit.
pub(crate) fn too_large(what: &str, limit: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("{what} may have at most {limit} bytes."))
}

/// The problem of a body that does not come in time.
pub(crate) fn too_slow() -> Problem {
    Problem::new(Code::DeadlineExceeded, "The body did not come in time; nothing was done.")
}

/// The problem of a body that failed with `error` before its end.
pub(crate) fn broke_off(error: &(dyn Error + 'static)) -> Problem {
    let detail = match BodyIdle::find(error) {
        Some(BodyIdle(limit)) => {
            let limit = duration::format(*limit);
            format!("The body broke off: nothing of it came for {limit}.")
        }
        None => "The body broke off.".to_owned(),
    };
    Problem::new(Code::Malformed, detail)
}
