//! The header `Prefer` (RFC 7240). What cannot be read, and what is not known, is as if it were not
//! there.

use http::{HeaderMap, HeaderName};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// How many seconds the caller prefers to wait; of several the first counts, as for every preference.
pub(super) fn wait(headers: &HeaderMap) -> Option<u32> {
    let lines = headers.get_all(PREFER).into_iter().filter_map(|line| line.to_str().ok());
    let mut all = lines.flat_map(|line| parts(line, ','));
    let value = all.find_map(|preference| {
        // Parameters after `;` belong to the preference; `wait` has none.
        let preference = parts(preference, ';').next()?;
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim())
    })?;
    // A time that is too long for a number is longer than any request.
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u32::MAX))
}

/// The parts between separators that stand in no quoted string.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ => {}
        }
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Option<u32> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, line.parse().unwrap());
        }
        wait(&headers)
    }

    #[test]
    fn a_wait_is_found_in_any_list() {
        for lines in [
            &["wait=5"][..],
            &["WAIT = 5"],
            &["respond-async, wait=5"],
            &["respond-async", "wait=5"],
            &["foo; bar=\"x, wait=9; \\\", wait=8\",, wait=5"],
            &["wait=5; a=b; c"],
            &["return=minimal;x", "\twait=5\t", "wait=7"],
            &["wait=5, wait=7"],
            &["wait=00005"],
        ] {
            assert_eq!(read(lines), Some(5), "{lines:?}");
        }
        assert_eq!(read(&["wait=0"]), Some(0));
        assert_eq!(read(&["wait=99999999999999999999"]), Some(u32::MAX));
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        for lines in [
            &[][..],
            &[""],
            &["wait"],
            &["wait="],
            &["wait=-5"],
            &["wait=+5"],
            &["wait=5s"],
            &["wait=1.5"],
            &["wait=\"5\""],
            &["wait 5"],
            &["waits=5"],
            &["x=\"wait=5"],
            &["x=\"a\\\", wait=5"],
            &["wait=soon, wait=5"],
            &["respond-async;wait=5"],
        ] {
            assert_eq!(read(lines), None, "{lines:?}");
        }
    }
}
