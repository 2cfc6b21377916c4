//! The layer that hears a call: that it is one of gRPC, and its one message, whole and, of the calls of
//! the contract, with no field that is not known.
//!
//! The message is read here to its end, so that whoever sends more of them, or one that is too large,
//! is cut off, and every refusal is a problem of the one table.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderName, Version, header, request::Parts};
use tokio::time::timeout;

use super::{
    incoming::Incoming,
    shape::{MOST, Misshapen, Shape},
};
use crate::{
    body::{collect, too_large, too_slow},
    problem::{Code, FieldError, Problem},
};

/// What stands before a message: whether it is compressed, and its length.
pub(super) const FRAME: usize = 5;

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// What message a call takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Takes {
    /// How large it may be, in bytes.
    pub(super) most: usize,
    /// Which fields it may have; any when it is `None`.
    pub(super) shape: Option<Shape>,
    /// How long it may take to come, where no deadline says so.
    pub(super) within: Option<Duration>,
}

/// Hands a call on whose message is one that it takes.
pub(super) async fn hear(
    State(takes): State<Takes>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    check(&head)?;
    let read = collect(body, FRAME + takes.most);
    let frame = match takes.within {
        Some(time) => timeout(time, read).await.map_err(|_| too_slow())??,
        None => read.await?,
    };
    let frame = frame.ok_or_else(|| too_large("A message", takes.most))?;
    let message = message(&frame)?;
    if let Some(shape) = takes.shape {
        shape.check(message).map_err(misshapen)?;
    }
    Ok(next.run(Request::from_parts(head, Body::from(frame))).await)
}

/// Hands a call on whose messages come as a stream, and are each judged where they are read: beside the
/// request, since tonic would end the stream with the first that is wrong.
pub(super) async fn hear_each(
    State(shape): State<Shape>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut head, body) = request.into_parts();
    check(&head)?;
    head.extensions.insert(Incoming::new(body, shape));
    Ok(next.run(Request::from_parts(head, Body::empty())).await)
}

/// Hands a call on whose messages come as a stream, and end with the first that is wrong.
pub(super) async fn greet(request: Request, next: Next) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    check(&head)?;
    Ok(next.run(Request::from_parts(head, body)).await)
}

/// Whether a request is a call of gRPC, in which all that is answered is a status.
pub(crate) fn is_call(version: Version, headers: &HeaderMap) -> bool {
    let kind = kind(headers);
    version == Version::HTTP_2
        && kind.is_some_and(|kind| kind.split('+').next() == Some("application/grpc"))
}

/// The content type without its parameters.
fn kind(headers: &HeaderMap) -> Option<&str> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    kind.split(';').next().map(str::trim)
}

/// Refuses what is no call, or one that cannot be read.
fn check(head: &Parts) -> Result<(), Problem> {
    if !matches!(kind(&head.headers), Some("application/grpc" | "application/grpc+proto")) {
        let detail =
            "A call must be of the Content-Type application/grpc or application/grpc+proto.";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    if head.version != Version::HTTP_2 {
        let detail = format!("This call came over {:?}.", head.version);
        return Err(Problem::new(Code::HttpVersion, detail));
    }
    let encodings = head.headers.get_all(ENCODING);
    if encodings.iter().any(|encoding| encoding != "identity") {
        return Err(compressed());
    }
    Ok(())
}

/// The one message of a call.
fn message(frame: &[u8]) -> Result<&[u8], Problem> {
    let not_one = || Problem::new(Code::Malformed, "A call has one message, its length before it.");
    let ([flag, length @ ..], message) = frame.split_first_chunk::<FRAME>().ok_or_else(not_one)?;
    if usize::try_from(u32::from_be_bytes(*length)) != Ok(message.len()) {
        return Err(not_one());
    }
    if *flag != 0 {
        return Err(compressed());
    }
    Ok(message)
}

pub(super) fn compressed() -> Problem {
    Problem::new(Code::UnsupportedEncoding, "Messages are taken only without compression.")
}

pub(super) fn misshapen(found: Misshapen) -> Problem {
    match found {
        Misshapen::Unknown(path) => Problem::malformed(FieldError {
            pointer: None,
            parameter: Some(path),
            code: "shape".to_owned(),
            detail: "there is no such field".to_owned(),
        }),
        Misshapen::Many(path) => Problem::malformed(FieldError {
            pointer: None,
            parameter: Some(path),
            code: "count".to_owned(),
            detail: format!("must be there {MOST} times at most"),
        }),
        Misshapen::Broken => Problem::new(Code::Malformed, "The message is not one of protobuf."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(frame: &[u8]) -> Code {
        message(frame).unwrap_err().code
    }

    #[test]
    fn a_call_has_one_message() {
        assert_eq!(message(&[0, 0, 0, 0, 2, 7, 8]).unwrap(), [7, 8]);
        assert_eq!(message(&[0, 0, 0, 0, 0]).unwrap(), [0; 0]);
        for frame in [
            &[][..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 1, 7, 8],
            &[0, 0xff, 0xff, 0xff, 0xff, 7],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(refused(frame), Code::Malformed, "{frame:?}");
        }
        assert_eq!(refused(&[1, 0, 0, 0, 1, 7]), Code::UnsupportedEncoding);
    }

    #[test]
    fn a_call_is_told_by_its_type_and_comes_over_http_2() {
        let is = |version, kind: &'static str| {
            is_call(version, &HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]))
        };
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc; a=b"] {
            assert!(is(Version::HTTP_2, kind), "{kind}");
            assert!(!is(Version::HTTP_11, kind), "{kind}");
        }
        for kind in ["application/json", "application/grpc-web", "application/grpc-web+proto", ""] {
            assert!(!is(Version::HTTP_2, kind), "{kind}");
        }
        assert!(is(Version::HTTP_2, "application/grpc+json"), "it is refused as a call");
    }
}
