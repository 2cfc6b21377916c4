//! How long the caller will wait, in the three ways that callers say it.
//!
//! gRPC travels in HTTP headers too, so its way is read here with the others, for both faces.
//!
//! Of Envoy's time a part is kept for the way back. It tells the whole time that it gives a request,
//! on a clock that runs already: used to the end, Envoy would always be the first to give up, our
//! answer would reach nobody, and the log would tell of a caller that left.

use super::Failure;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;
use tokio::time::Instant;

/// The least time that is kept for the way back.
const LEAST_RESERVE: Duration = Duration::from_millis(5);
/// The part of the time that is kept, where that is more: 2 %.
const RESERVE_PART: u32 = 50;

/// By when the caller of a stream wants all of it, if it says so: in the extensions of the request.
///
/// The stack sees to the head of the answer. Whether what follows ends by then is for the handler to
/// say: a call of gRPC and a batch do, a feed over HTTP does not.
#[derive(Clone, Copy, Debug)]
pub struct StreamDeadline(pub Instant);

/// A header by which a caller says how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeoutHeader {
    /// `x-request-timeout-ms`: whole milliseconds.
    RequestTimeout,
    /// `x-envoy-expected-rq-timeout-ms`: whole milliseconds, as Envoy sends them on. They run
    /// already, so 5 ms or 2 % of them are kept for the way back, whichever is more.
    Envoy,
    /// `grpc-timeout`: one to eight digits and a unit of gRPC, one of `H M S m u n`.
    Grpc,
}

impl TimeoutHeader {
    /// Every one of them; the smallest time that any of them gives is meant.
    pub const ALL: [Self; 3] = [Self::RequestTimeout, Self::Envoy, Self::Grpc];

    pub(super) const fn name(self) -> HeaderName {
        match self {
            Self::RequestTimeout => HeaderName::from_static("x-request-timeout-ms"),
            Self::Envoy => HeaderName::from_static("x-envoy-expected-rq-timeout-ms"),
            Self::Grpc => HeaderName::from_static("grpc-timeout"),
        }
    }

    /// How this header says so many milliseconds, or fewer where it cannot say them all.
    pub(super) fn value(self, millis: u64) -> Option<HeaderValue> {
        match self {
            Self::RequestTimeout | Self::Envoy => Some(millis.into()),
            Self::Grpc => HeaderValue::try_from(grpc_text(millis)).ok(),
        }
    }

    /// What the header must be, for people.
    pub(super) const fn grammar(self) -> &'static str {
        match self {
            Self::RequestTimeout => {
                "x-request-timeout-ms must be a whole number of milliseconds, once."
            }
            Self::Envoy => {
                "x-envoy-expected-rq-timeout-ms must be a whole number of milliseconds, once."
            }
            Self::Grpc => {
                "grpc-timeout must be one to eight digits and a unit, one of H, M, S, m, u and n, once."
            }
        }
    }

    /// The time that this header gives; `None` when it is not there.
    fn read(self, headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
        let mut values = headers.get_all(self.name()).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let time = value.to_str().ok().and_then(|text| match self {
            Self::RequestTimeout => millis(text),
            Self::Envoy => millis(text).map(less_reserve),
            Self::Grpc => grpc(text),
        });
        match (time, values.next()) {
            (Some(time), None) => Ok(Some(time)),
            (None, _) | (Some(_), Some(_)) => Err(Failure::InvalidTimeout(self)),
        }
    }
}

/// The smallest time the caller gives; `None` when it does not say.
///
/// # Errors
///
/// Refuses a malformed or repeated header: to ignore it would be to work for nobody.
pub(crate) fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    TimeoutHeader::ALL.into_iter().try_fold(None, |least: Option<Duration>, header| {
        let time = header.read(headers)?;
        Ok(least.into_iter().chain(time).min())
    })
}

/// The part of `time` that may be used when the answer must be there at its end.
pub(super) fn less_reserve(time: Duration) -> Duration {
    time.saturating_sub(LEAST_RESERVE.max(time / RESERVE_PART))
}

fn millis(text: &str) -> Option<Duration> {
    digits(text, 10).map(|millis| Duration::from_millis(millis.into()))
}

/// The `Timeout` of the gRPC specification, zero included: that is how clients send one that is
/// spent.
fn grpc(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = u64::from(digits(number, 8)?);
    match unit {
        "H" => Some(Duration::from_hours(number)),
        "M" => Some(Duration::from_mins(number)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// So many milliseconds as a `Timeout` of the gRPC specification, whose number has eight digits: in the
/// smallest unit in which it does, and of a coarser one the whole ones.
fn grpc_text(millis: u64) -> String {
    const MOST: u64 = 99_999_999;
    let units = [(1, 'm'), (1_000, 'S'), (60_000, 'M'), (3_600_000, 'H')];
    let mut said = units.into_iter().map(|(part, unit)| (millis / part, unit));
    let (number, unit) = said.find(|(number, _)| *number <= MOST).unwrap_or((MOST, 'H'));
    format!("{number}{unit}")
}

/// A number of digits only: the standard parser would take a plus sign.
fn digits(text: &str, most: usize) -> Option<u32> {
    let plain = text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked_with(pairs: &[(TimeoutHeader, &str)]) -> Result<Option<Duration>, Failure> {
        let mut headers = HeaderMap::new();
        for (header, value) in pairs {
            headers.append(header.name(), value.parse().unwrap());
        }
        asked(&headers)
    }

    #[test]
    fn whole_milliseconds_are_read() {
        assert_eq!(asked_with(&[]), Ok(None));
        for header in [TimeoutHeader::RequestTimeout, TimeoutHeader::Envoy] {
            assert_eq!(asked_with(&[(header, "0")]), Ok(Some(Duration::ZERO)));
        }
        let asked = asked_with(&[(TimeoutHeader::RequestTimeout, "1500")]);
        assert_eq!(asked, Ok(Some(Duration::from_millis(1500))));
    }

    #[test]
    fn of_the_time_that_envoy_gives_the_way_back_is_kept() {
        for (given, left) in
            [("1000", 980), ("300", 294), ("100", 95), ("6", 1), ("5", 0), ("1", 0)]
        {
            let asked = asked_with(&[(TimeoutHeader::Envoy, given)]);
            assert_eq!(asked, Ok(Some(Duration::from_millis(left))), "{given}");
        }
    }

    #[test]
    fn every_unit_of_grpc_is_read() {
        for (text, nanos) in [
            ("2H", 7_200_000_000_000),
            ("3M", 180_000_000_000),
            ("4S", 4_000_000_000),
            ("5m", 5_000_000),
            ("6u", 6_000),
            ("7n", 7),
            ("0n", 0),
            ("00000001S", 1_000_000_000),
        ] {
            let asked = asked_with(&[(TimeoutHeader::Grpc, text)]);
            assert_eq!(asked, Ok(Some(Duration::from_nanos(nanos))), "{text}");
        }
        let longest = asked_with(&[(TimeoutHeader::Grpc, "99999999H")]);
        assert_eq!(longest, Ok(Some(Duration::from_hours(99_999_999))));
    }

    #[test]
    fn the_smallest_of_all_is_meant() {
        let three = [
            (TimeoutHeader::RequestTimeout, "300"),
            (TimeoutHeader::Envoy, "200"),
            (TimeoutHeader::Grpc, "1S"),
        ];
        assert_eq!(asked_with(&three), Ok(Some(Duration::from_millis(195))));
        let spent = [(TimeoutHeader::Grpc, "0m"), (TimeoutHeader::Envoy, "200")];
        assert_eq!(asked_with(&spent), Ok(Some(Duration::ZERO)));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for header in [TimeoutHeader::RequestTimeout, TimeoutHeader::Envoy] {
            for value in ["", "-1", "+1", "1s", "1.5", "99999999999", " "] {
                let asked = asked_with(&[(header, value)]);
                assert_eq!(asked, Err(Failure::InvalidTimeout(header)), "{value:?}");
            }
        }
        for value in ["", "S", "1", "1s", "1 S", "123456789n", "-1S", "+1S", "1SS", "1.5S", "5h"] {
            let asked = asked_with(&[(TimeoutHeader::Grpc, value)]);
            assert_eq!(asked, Err(Failure::InvalidTimeout(TimeoutHeader::Grpc)), "{value:?}");
        }
        let both = [(TimeoutHeader::RequestTimeout, "100"), (TimeoutHeader::Envoy, "soon")];
        assert_eq!(asked_with(&both), Err(Failure::InvalidTimeout(TimeoutHeader::Envoy)));
    }

    #[test]
    fn a_repeated_header_is_refused() {
        for header in TimeoutHeader::ALL {
            let value = if header == TimeoutHeader::Grpc { "1S" } else { "1" };
            let asked = asked_with(&[(header, value), (header, value)]);
            assert_eq!(asked, Err(Failure::InvalidTimeout(header)));
        }
    }

    #[test]
    fn the_longest_time_that_grpc_can_say_is_said_of_longer_ones() {
        let hours = |hours: u64| hours * 3_600_000;
        for (millis, text) in [
            (0, "0m"),
            (99_999_999, "99999999m"),
            (100_000_000, "100000S"),
            (hours(99_999_999), "99999999H"),
            (hours(100_000_000), "99999999H"),
            (u64::MAX, "99999999H"),
        ] {
            assert_eq!(grpc_text(millis), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[ -~]{0,12}") {
            for header in TimeoutHeader::ALL {
                let _ = asked_with(&[(header, &text)]);
            }
        }
    }
}
