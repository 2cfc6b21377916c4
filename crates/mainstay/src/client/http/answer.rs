//! Reading answers.

use super::{Answer, Error, Unknown};
use http::{
    HeaderMap, Response,
    header::{DATE, RETRY_AFTER},
};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;

/// The whole answer, unless it has more than `limit` bytes.
pub(super) async fn read(answer: Response<Incoming>, limit: usize) -> Result<Answer, Error> {
    let (parts, mut body) = answer.into_parts();
    let too_long = || Error::Unknown(Unknown::TooLong { status: parts.status, limit });
    if usize::try_from(body.size_hint().lower()).is_ok_and(|told| told > limit) {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Unknown(Unknown::Lost(error.into())))?;
        let data = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > limit {
            return Err(too_long());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Response::from_parts(parts, bytes.into()))
}

/// How long an answer asks to be left alone. A time of day is read by the clock of who wrote it, so
/// that clocks need not agree.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let asked = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(asked).ok()?;
    let now = httpdate::parse_http_date(text(DATE)?).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(retry_after: &str, date: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
        headers.extend(date.map(|date| (DATE, date.parse().unwrap())));
        super::retry_after(&headers).map(|time| time.as_secs())
    }

    #[test]
    fn seconds_and_times_of_day_are_read() {
        let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(asked("120", None), Some(120));
        assert_eq!(asked("Wed, 21 Oct 2015 07:29:30 GMT", date), Some(90));
        assert_eq!(asked("Wed, 21 Oct 2015 07:00:00 GMT", date), Some(0));
    }

    #[test]
    fn other_texts_ask_nothing() {
        for text in ["", "-1", "1.5", "soon", "99999999999999999999"] {
            assert_eq!(asked(text, None), None, "{text}");
        }
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT", None), None, "by which clock?");
    }
}
