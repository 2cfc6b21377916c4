//! Reading answers, and what they say became of a call.

use super::{Body, Error, Unknown};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, response::Parts};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt as _;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// An answer as a whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Parts,
    data: Bytes,
    trailers: Option<HeaderMap>,
    pub(super) said: Said,
    /// How long its try was waited for.
    pub(super) waited: Duration,
}

/// What an answer says became of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: Code,
    pub(super) again: Again,
}

/// When the peer wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It does not say.
    Unsaid,
    /// After this time.
    After(Duration),
    /// Not for this call.
    Never,
}

/// The whole answer to a try that began at `since`, unless it has more than `limit` bytes.
pub(super) async fn read(
    answer: Response<Incoming>,
    limit: usize,
    since: Instant,
) -> Result<Answer, Error> {
    let (mut head, mut body) = answer.into_parts();
    let (mut data, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(lost)?.into_data() {
            Ok(more) if data.len() + more.len() > limit => {
                return Err(Error::Unknown(Unknown::TooLong { status: head.status, limit }));
            }
            Ok(more) => data.extend_from_slice(&more),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    make_readable(&mut head.headers);
    trailers.iter_mut().for_each(make_readable);
    if !trailers.as_ref().is_some_and(has_status) && speak(&mut head) {
        data.clear();
    }
    let last = trailers.as_ref().filter(|_| !has_status(&head.headers));
    let said = Said::of(head.status, last.unwrap_or(&head.headers)).ok_or_else(broke_off)?;
    Ok(Answer { head, data: data.into(), trailers, said, waited: since.elapsed() })
}

/// The error of an answer that ended before it said what became of the call.
pub(super) fn broke_off() -> Error {
    lost("the answer ended without a status")
}

fn lost(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unknown(Unknown::Lost(error.into()))
}

impl Answer {
    pub(super) fn into_response(self) -> Response<Body> {
        Response::from_parts(self.head, Body::whole(self.data, self.trailers))
    }

    #[cfg(test)]
    pub(super) fn saying(said: Said, waited: Duration) -> Self {
        let head = Response::new(()).into_parts().0;
        Self { head, data: Bytes::new(), trailers: None, said, waited }
    }
}

impl Said {
    /// What these headers of an answer, its last ones, say; `None` when they do not.
    pub(super) fn of(status: StatusCode, last: &HeaderMap) -> Option<Self> {
        let told = last.get(STATUS).map(|code| Code::from_bytes(code.as_bytes()));
        let code = told.or_else(|| of_http(status))?;
        Some(Self { code, again: again(last) })
    }
}

/// Whether these headers of an answer say what became of the call.
pub(super) fn has_status(headers: &HeaderMap) -> bool {
    headers.contains_key(STATUS)
}

/// Has an answer that did not come from a service of gRPC say so as one would, and tells whether it
/// is such. What it carries is a page for people, and no messages.
pub(super) fn speak(head: &mut Parts) -> bool {
    let Some(code) = of_http(head.status).filter(|_| !has_status(&head.headers)) else {
        return false;
    };
    head.headers.insert(STATUS, i32::from(code).into());
    let message = format!("answered without a status of gRPC, by HTTP {}", head.status);
    head.headers.extend(HeaderValue::try_from(message).ok().map(|message| (MESSAGE, message)));
    true
}

/// The code of an answer that did not come from a service of gRPC, by the mapping of its
/// specification; none of one that might have.
fn of_http(status: StatusCode) -> Option<Code> {
    match status {
        StatusCode::OK => None,
        StatusCode::BAD_REQUEST => Some(Code::Internal),
        StatusCode::UNAUTHORIZED => Some(Code::Unauthenticated),
        StatusCode::FORBIDDEN => Some(Code::PermissionDenied),
        StatusCode::NOT_FOUND => Some(Code::Unimplemented),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Some(Code::Unavailable),
        _ => Some(Code::Unknown),
    }
}

/// A pushback is for the retries of this very call, and so comes before what is told to people too.
fn again(last: &HeaderMap) -> Again {
    if let Some(pushback) = last.get(PUSHBACK) {
        let millis = pushback.to_str().ok().and_then(|text| text.parse::<u64>().ok());
        return millis.map_or(Again::Never, |millis| Again::After(Duration::from_millis(millis)));
    }
    let status = last.get(DETAILS).and_then(|_| tonic::Status::from_header_map(last));
    let info = status.and_then(|status| status.get_details_retry_info());
    info.and_then(|info| info.retry_delay).map_or(Again::Unsaid, Again::After)
}

/// Takes details away that are not base64: to read them would be to panic.
pub(super) fn make_readable(headers: &mut HeaderMap) {
    const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    if headers.get(DETAILS).is_some_and(|told| ANY_PADDING.decode(told.as_bytes()).is_err()) {
        headers.remove(DETAILS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_status_says_what_became_of_the_call() {
        for (status, told, code) in [
            (200, Some("0"), Some(Code::Ok)),
            (200, Some("14"), Some(Code::Unavailable)),
            (200, Some("99"), Some(Code::Unknown)),
            (200, None, None),
            (503, None, Some(Code::Unavailable)),
            (404, None, Some(Code::Unimplemented)),
            (500, None, Some(Code::Unknown)),
            (503, Some("0"), Some(Code::Ok)),
        ] {
            let headers = told.map(|code| headers(&[("grpc-status", code)])).unwrap_or_default();
            let said = Said::of(StatusCode::from_u16(status).unwrap(), &headers);
            assert_eq!(said.map(|said| said.code), code, "{status} {told:?}");
        }
    }

    #[test]
    fn a_pushback_is_a_number_of_milliseconds_or_ends_the_call() {
        for (text, expected) in [
            ("0", Again::After(Duration::ZERO)),
            ("1500", Again::After(Duration::from_millis(1500))),
            ("-1", Again::Never),
            ("soon", Again::Never),
            ("", Again::Never),
        ] {
            assert_eq!(again(&headers(&[("grpc-retry-pushback-ms", text)])), expected, "{text:?}");
        }
        assert_eq!(again(&HeaderMap::new()), Again::Unsaid);
    }

    #[test]
    fn a_retry_info_is_read_and_a_pushback_comes_before_it() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(3)));
        let status = tonic::Status::with_error_details(Code::ResourceExhausted, "less", details);
        let mut last = status.into_http::<String>().headers().clone();
        assert_eq!(again(&last), Again::After(Duration::from_secs(3)));
        last.insert(PUSHBACK, "-1".parse().unwrap());
        assert_eq!(again(&last), Again::Never);
    }

    #[test]
    fn details_that_would_panic_whoever_reads_them_are_taken_away() {
        for (text, stays) in [("aGk", true), ("aGk=", true), ("", true), ("{}", false)] {
            let mut told = headers(&[("grpc-status", "5"), ("grpc-status-details-bin", text)]);
            make_readable(&mut told);
            assert_eq!(told.contains_key(DETAILS), stays, "{text}");
            assert!(tonic::Status::from_header_map(&told).is_some());
        }
    }
}
