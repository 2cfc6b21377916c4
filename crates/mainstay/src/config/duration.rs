//! Durations as people write them: `500ms`, `2s`, `1h30m`, `7d`.
//!
//! For a field: `#[serde(with = "mainstay::config::duration::Text")]`, see [`Text`].

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer, de::Error};
use std::{borrow::Cow, fmt::Write, time::Duration};

const SECOND: u128 = 1_000_000_000;

/// The units, the largest first, in nanoseconds.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400 * SECOND),
    ("h", 3_600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", SECOND / 1_000),
    ("us", SECOND / 1_000_000),
    ("ns", 1),
];

/// Reads whole numbers with the units d, h, m, s, ms, us and ns, the larger first.
///
/// # Errors
///
/// Fails on any other text, also on a number without a unit.
pub fn parse(text: &str) -> Result<Duration, Invalid> {
    read(text).ok_or(Invalid)
}

/// Writes what [`parse`] reads, exactly.
pub fn format(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (unit, size) in UNITS {
        if rest >= size {
            // Writing to a string cannot fail.
            let _written = write!(text, "{}{unit}", rest / size).is_ok();
            rest %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a duration such as 500ms, 2s, 1h30m or 7d")]
pub struct Invalid;

/// How a [`Duration`] is written in a configuration, for `#[serde(with = "..")]`.
#[derive(Debug)]
pub enum Text {}

impl Text {
    /// Writes the duration as text.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format(*duration))
    }

    /// Reads the duration from text.
    ///
    /// # Errors
    ///
    /// Fails as [`parse`] does.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        // A number without a unit is not text; what is wanted helps more than what is there.
        let text = Cow::<str>::deserialize(from).map_err(|_| D::Error::custom(Invalid))?;
        parse(&text).map_err(D::Error::custom)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration", "examples": ["1s"] })
    }
}

fn read(mut text: &str) -> Option<Duration> {
    let mut nanos: u128 = 0;
    let mut units = UNITS.iter();
    loop {
        let (number, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let (unit, rest) =
            rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        let (_, size) = units.find(|(name, _)| *name == unit)?;
        nanos = nanos.checked_add(number.parse::<u128>().ok()?.checked_mul(*size)?)?;
        text = rest;
        if text.is_empty() {
            break;
        }
    }
    let seconds = u64::try_from(nanos / SECOND).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanos % SECOND).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(parse("7d"), Ok(Duration::from_hours(7 * 24)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "5", "s", "5 s", "-1s", "1.5s", "1s1h", "1s1s", "5 sec", "99999999999999999999d"]
        {
            assert_eq!(parse(text), Err(Invalid), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(seconds: u64, nanos in 0_u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,20}") {
            let _ = parse(&text);
        }
    }
}
