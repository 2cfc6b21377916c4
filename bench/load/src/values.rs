//! Values of arguments: how they are read and how the record shows them.

use crate::client::Target;
use http::Uri;
use jiff::SignedDuration;
use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr, time::Duration};

/// A length of time as people write it: `30s`, `500ms`, `1m 30s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let signed: SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
        let span =
            Duration::try_from(signed).map_err(|_| "a time cannot be negative".to_owned())?;
        if span > Duration::from_hours(24) {
            return Err("more than a day".to_owned());
        }
        Ok(Self(span))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:?}", self.0))
    }
}

/// A secret: neither the record nor `Debug` shows it.
#[derive(Clone)]
pub(crate) struct ApiKey(pub(crate) String);

impl FromStr for ApiKey {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

pub(crate) fn displayed<S: Serializer>(url: &Uri, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}

pub(crate) fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    Target::check(&url)?;
    Ok(url)
}

pub(crate) fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.001..=10_000_000.0).contains(&rate) { Ok(rate) } else { Err("not a rate".to_owned()) }
}

/// The key built from it must stay within 16–128 visible ASCII characters.
pub(crate) fn parse_run_id(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if plain && (1..=64).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err("1 to 64 letters, digits and dashes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{ApiKey, Span, parse_url};
    use std::time::Duration;

    #[test]
    fn times_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Span>().map(|span| span.0);
        assert_eq!(read("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(read("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(read("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(read("-1s").is_err() && read("30").is_err() && read("25h").is_err());
    }

    #[test]
    fn only_a_plain_http_origin_is_a_url() {
        assert!(parse_url("http://127.0.0.1:8080").is_ok());
        assert!(parse_url("https://127.0.0.1").is_err());
        assert!(parse_url("http://127.0.0.1/v1").is_err());
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", ApiKey("secret".to_owned())), "ApiKey(..)");
    }
}
