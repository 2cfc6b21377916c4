//! What the deserializer says of a value, in the words of people who write configurations.

/// What is wrong with a value, without the vocabulary of types and without the value.
pub(super) fn plain(message: &str) -> String {
    mistyped(message).or_else(|| misnamed(message)).or_else(|| missing(message)).unwrap_or_else(
        || match message {
            "invalid socket address syntax" => format!("must be {ADDRESS}"),
            own => own.to_owned(),
        },
    )
}

/// How an address to listen on is written.
pub(super) const ADDRESS: &str = "IP:PORT such as 127.0.0.1:8080; names are not looked up";

/// `invalid type: string "x", expected u16`.
fn mistyped(message: &str) -> Option<String> {
    let rest = ["invalid type: ", "invalid value: ", "invalid length "]
        .iter()
        .find_map(|wrong| message.strip_prefix(wrong))?;
    let (came, expected) = rest.rsplit_once(", expected ")?;
    let expected = wanted(expected);
    // The kind of a value stands before it: string "..", integer `..`.
    let kind = came.split(['"', '`']).next().unwrap_or_default().trim_end();
    let same = message.starts_with("invalid value: ");
    Some(match kind_of(kind).filter(|_| !same) {
        Some(kind) => format!("must be {expected}, not {kind}"),
        None => format!("must be {expected}"),
    })
}

/// `unknown field ..` and `unknown variant ..`.
fn misnamed(message: &str) -> Option<String> {
    let (wrong, rest) = ["unknown field `", "unknown variant `"]
        .iter()
        .find_map(|wrong| Some((*wrong, message.strip_prefix(wrong)?)))?;
    let (_, known) = rest.split_once('`')?;
    // Every second piece between backticks is a name.
    let known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
    Some(match (wrong, known.as_slice()) {
        ("unknown field `", []) => "there is no such key".to_owned(),
        ("unknown field `", known) => {
            format!("there is no such key; here there are {}", known.join(", "))
        }
        (_, known) => format!("must be one of {}", known.join(", ")),
    })
}

/// ``missing field `x` ``, told of the section.
fn missing(message: &str) -> Option<String> {
    let name = message.strip_prefix("missing field `")?.strip_suffix('`')?;
    Some(format!("{name} must be set too"))
}

fn wanted(expected: &str) -> String {
    let plain = match expected {
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" | "u128" => "a whole number, 0 or more",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" | "a borrowed string" => "text",
        "a sequence" => "a list",
        "a map" => "a section of keys",
        "socket address" => ADDRESS,
        other if other.starts_with("struct ") => "a section of keys",
        other => other,
    };
    plain.to_owned()
}

fn kind_of(came: &str) -> Option<&str> {
    Some(match came {
        "string" => "text",
        "integer" => "a whole number",
        "floating point" => "a number with a fraction",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "a section of keys",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, de::DeserializeOwned};
    use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
        Blue,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Size {
        width: u32,
        depth: u32,
    }

    /// What is said of this value where a `T` is wanted.
    #[track_caller]
    fn said<T: DeserializeOwned + std::fmt::Debug>(value: &str) -> String {
        let all = toml::from_str::<BTreeMap<String, T>>(&format!("key = {value}"));
        let said = plain(all.unwrap_err().message());
        for word in ["invalid", "expected", "usize", "u64", "u16", "struct", "variant", "`"] {
            assert!(!said.contains(word), "{said}");
        }
        said
    }

    #[test]
    fn values_of_another_kind_are_told_in_words() {
        assert_eq!(said::<usize>("\"lots\""), "must be a whole number, 0 or more, not text");
        assert_eq!(said::<u16>("70000"), "must be a whole number from 0 to 65535");
        assert_eq!(said::<usize>("-1"), "must be a whole number, 0 or more");
        assert_eq!(said::<bool>("1"), "must be true or false, not a whole number");
        assert_eq!(said::<String>("[]"), "must be text, not a list");
        assert_eq!(said::<PathBuf>("5"), "must be text, not a whole number");
        assert_eq!(said::<Size>("3.5"), "must be a section of keys, not a number with a fraction");
        assert_eq!(said::<Vec<String>>("true"), "must be a list, not true or false");
    }

    #[test]
    fn names_that_are_not_known_are_told_with_those_that_are() {
        assert_eq!(said::<Colour>("\"green\""), "must be one of red, blue");
        let size = said::<Size>("{ width = 1, hight = 1 }");
        assert_eq!(size, "there is no such key; here there are width, depth");
        assert_eq!(said::<Size>("{ width = 1 }"), "depth must be set too");
    }

    #[test]
    fn an_address_is_told_how_it_is_written() {
        for value in ["\"localhost:8080\"", "\"8080\"", "\"127.0.0.1\""] {
            assert_eq!(said::<SocketAddr>(value), format!("must be {ADDRESS}"));
        }
        assert!(said::<SocketAddr>("8080").starts_with("must be IP:PORT such as 127.0.0.1:8080"));
    }
}
