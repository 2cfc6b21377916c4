//! The versions a change is for, as tags name them: in `If-Match`, and in the field `etag`.

use orders::domain::Version;

use crate::wire::order::tagged;

/// How the tags must stand there, for people.
pub(crate) const TAG_RULE: &str = "must be entity tags such as \"v7\", separated by commas, or *";

/// The versions a verb is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// Whichever it is at.
    Any,
    /// One of these. There may be none: a tag that is no order's, or weak, matches nothing.
    OneOf(Vec<Version>),
}

impl IfMatch {
    /// The versions that a list of tags names; `None` when it is no such list. Tags compare strongly,
    /// as they do for changes (RFC 9110, 13.1.1).
    pub(crate) fn read(list: &[u8]) -> Option<Self> {
        match list.trim_ascii() {
            b"*" => Some(Self::Any),
            list => versions(list).map(Self::OneOf),
        }
    }
}

/// The versions among these tags, of which there is at least one.
fn versions(mut rest: &[u8]) -> Option<Vec<Version>> {
    let (mut versions, mut some) = (Vec::new(), false);
    loop {
        // Members of a list may be empty (RFC 9110, 5.6.1.2).
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return some.then_some(versions);
        }
        let strong = rest.strip_prefix(b"W/").unwrap_or(rest);
        let opaque = strong.strip_prefix(b"\"")?;
        let end = opaque.iter().position(|byte| *byte == b'"')?;
        let (opaque, after) = (opaque.get(..end)?, opaque.get(end + 1..)?.trim_ascii_start());
        if opaque.iter().any(|byte| *byte <= b' ' || *byte == 0x7f)
            || !(after.is_empty() || after.starts_with(b","))
        {
            return None;
        }
        let weak = strong.len() < rest.len();
        let text = std::str::from_utf8(opaque).ok().filter(|_| !weak);
        versions.extend(text.and_then(tagged));
        (rest, some) = (after, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_a_list_of_tags_or_any() {
        let read = |list: &str| IfMatch::read(list.as_bytes());
        let versions = |numbers: &[u64]| {
            Some(IfMatch::OneOf(
                numbers.iter().filter_map(|number| Version::new(*number)).collect(),
            ))
        };
        assert_eq!(read("*"), Some(IfMatch::Any));
        assert_eq!(read("\"v7\""), versions(&[7]));
        assert_eq!(read("\"v7\" ,, W/\"v8\", \"a,b\",\t\"v9\","), versions(&[7, 9]));
        for list in ["\"7\"", "W/\"v7\"", "\"v0\"", "\"v07\"", "\"v-1\"", "\"\""] {
            assert_eq!(read(list), versions(&[]), "{list}");
        }
        for list in
            ["v7", "", ",", "\"v7", "\"v7\" \"v8\"", "\"v7\"x", "w/\"v7\"", "\"v 7\"", "\"v7\", *"]
        {
            assert_eq!(read(list), None, "{list}");
        }
    }
}
