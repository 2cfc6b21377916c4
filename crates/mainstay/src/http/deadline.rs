//! How long the caller will wait.

use super::Failure;
use http::{HeaderMap, HeaderName};
use std::time::Duration;

const TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// The time the caller gives, in whole milliseconds; `None` when it does not say.
///
/// # Errors
///
/// Refuses a malformed or repeated header: to ignore it would be to work for nobody.
pub(super) fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let mut values = headers.get_all(TIMEOUT).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // Parsed from digits only: `u64` itself would take a plus sign.
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let millis = digits.and_then(|digits| digits.parse::<u32>().ok());
    match (millis, values.next()) {
        (Some(millis), None) => Ok(Some(Duration::from_millis(millis.into()))),
        (None, _) | (Some(_), Some(_)) => Err(Failure::InvalidTimeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_with(values: &[&'static str]) -> Result<Option<Duration>, Failure> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TIMEOUT, value.parse().unwrap());
        }
        asked(&headers)
    }

    #[test]
    fn whole_milliseconds_are_read() {
        assert_eq!(asked_with(&[]), Ok(None));
        assert_eq!(asked_with(&["0"]), Ok(Some(Duration::ZERO)));
        assert_eq!(asked_with(&["1500"]), Ok(Some(Duration::from_millis(1500))));
    }

    #[test]
    fn anything_else_is_refused() {
        for values in
            [&[""][..], &["-1"], &["+1"], &["1s"], &["1.5"], &["99999999999"], &["1", "1"]]
        {
            assert_eq!(asked_with(values), Err(Failure::InvalidTimeout), "{values:?}");
        }
    }
}
