//! Request headers with a meaning of ours: entity tags and idempotency keys.

use ::orders::domain::{IdempotencyKey, Version};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    change::{IfMatch, TAG_RULE},
    problem::Problem,
    wire::order::tagged,
};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_RULE: &str = "must be 16 to 128 visible ASCII characters, bare or quoted";
pub(super) const KEY_PATTERN: &str = r#"^([!#-~][!-~]{15,127}|"([!#-\[\]-~]|\\["\\]){16,128}")$"#;
pub(super) const TAG_PATTERN: &str = r#"^(\*|"v[1-9][0-9]{0,18}"(, "v[1-9][0-9]{0,18}")*)$"#;

/// The key of this request; `None` when it has none.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let wrong = || Problem::unreadable("Idempotency-Key", KEY_RULE);
    let Some(text) = single(headers, &KEY).map_err(|()| wrong())? else { return Ok(None) };
    let key =
        if text.starts_with('"') { unquote(text).ok_or_else(wrong)? } else { text.to_owned() };
    key.parse().map(Some).map_err(|_| wrong())
}

/// The versions a verb is for.
pub(super) fn if_match(headers: &HeaderMap) -> Result<IfMatch, Problem> {
    let lines: Vec<&[u8]> =
        headers.get_all(header::IF_MATCH).iter().map(HeaderValue::as_bytes).collect();
    // A list may come in several lines (RFC 9110, 5.3).
    let list = lines.join(&b',');
    if lines.is_empty() {
        return Ok(IfMatch::Any);
    }
    IfMatch::read(&list).ok_or_else(|| Problem::unreadable("If-Match", TAG_RULE))
}

/// Whether the caller already has the order at this version. Tags compare weakly, as they do for
/// reads (RFC 9110, 13.1.2); what is no tag matches nothing.
pub(super) fn none_match(headers: &HeaderMap, current: Version) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = values.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    tags.any(|tag| {
        let tag = tag.trim();
        tag == "*" || version(tag.strip_prefix("W/").unwrap_or(tag)) == Some(current)
    })
}

/// Whether the caller wants live events.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let mut types = values.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    types.any(|range| {
        let name = range.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("text/event-stream")
    })
}

/// The text of a header that must not be repeated.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// The version that a tag names.
fn version(tag: &str) -> Option<Version> {
    tagged(tag.strip_prefix('"')?.strip_suffix('"')?)
}

/// The content of a quoted string (RFC 8941, 3.3.3).
fn unquote(text: &str) -> Option<String> {
    let mut chars = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut content = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => content.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            '"' => return None,
            c => content.push(c),
        }
    }
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn key(values: &[&str]) -> Result<Option<String>, Code> {
        let read = idempotency_key(&headers(&KEY, values));
        read.map(|key| key.map(|key| key.to_string())).map_err(|problem| problem.code)
    }

    #[test]
    fn keys_are_read_bare_or_quoted() {
        let plain = Ok(Some("0123456789abcdef".to_owned()));
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["0123456789abcdef"]), plain);
        assert_eq!(key(&["\"0123456789abcdef\""]), plain);
        assert_eq!(key(&[r#""0123456789\"\\cdef""#]), Ok(Some(r#"0123456789"\cdef"#.to_owned())));
    }

    #[test]
    fn other_keys_are_refused() {
        let long = "k".repeat(129);
        for values in [
            &["short"][..],
            &["with a space in it"],
            &["\"0123456789abcde"],
            &["\"0123456\"89abcdef\""],
            &[r#""0123456789abcde\f""#],
            &[long.as_str()],
            &["0123456789abcdef", "0123456789abcdef"],
        ] {
            assert_eq!(key(values), Err(Code::Malformed), "{values:?}");
        }
    }

    #[test]
    fn a_condition_may_come_in_several_lines() {
        let read = |values: &[&str]| {
            if_match(&headers(&header::IF_MATCH, values)).map_err(|problem| problem.code)
        };
        let versions = |numbers: &[u64]| {
            Ok(IfMatch::OneOf(numbers.iter().filter_map(|number| Version::new(*number)).collect()))
        };
        assert_eq!(read(&[]), Ok(IfMatch::Any));
        assert_eq!(read(&["*"]), Ok(IfMatch::Any));
        assert_eq!(read(&["\"v1\"", "\"v2\""]), versions(&[1, 2]));
        for value in ["", "v7", "\"v7\", *"] {
            assert_eq!(read(&[value]), Err(Code::Malformed), "{value}");
        }
    }

    #[test]
    fn a_cached_version_is_found_in_any_list() {
        let seven = Version::new(7).unwrap();
        for value in ["\"v7\"", "W/\"v7\"", "\"x\", W/\"v7\"", "*"] {
            assert!(none_match(&headers(&header::IF_NONE_MATCH, &[value]), seven), "{value}");
        }
        for value in ["\"v8\"", "v7", "", "\"v77\""] {
            assert!(!none_match(&headers(&header::IF_NONE_MATCH, &[value]), seven), "{value}");
        }
    }
}
