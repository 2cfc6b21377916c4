//! What serde says of a body or a query, in the words of people who write them: no types of ours, no
//! vocabulary of a library, and no value that came, since an error is kept and passed on in places
//! where a buyer's address must not be. Names of fields stay.

use serde_json::error::Category;

/// What is wrong at a place in a JSON body. Reads on from the place.
pub(super) fn of_json(error: &serde_json::Error, pointer: &str) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&place).unwrap_or(&message);
    match error.classify() {
        Category::Data if pointer.ends_with("/amount_minor") => {
            unquoted(message).unwrap_or_else(|| of_data(message))
        }
        Category::Data => of_data(message),
        Category::Eof if error.column() == 0 => "there is nothing where JSON is wanted".to_owned(),
        Category::Eof => format!("the JSON breaks off before its end, at {}", where_in(error)),
        Category::Syntax | Category::Io => {
            format!("this is not JSON: {}, at {}", of_syntax(message), where_in(error))
        }
    }
}

/// What is wrong with a parameter of a query. Reads on from its name.
pub(super) fn of_query(message: &str) -> String {
    match message {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "must be a whole number".to_owned()
        }
        "number too large to fit in target type" => "is too large".to_owned(),
        "provided string was not `true` or `false`" => "must be true or false".to_owned(),
        other => of_data(other).replace("field", "parameter"),
    }
}

/// An amount that is not in quotes; it is no buyer's, so that it may be told.
fn unquoted(message: &str) -> Option<String> {
    let came = message.strip_prefix("invalid type: ")?.strip_suffix(", expected a string")?;
    Some(match came.strip_prefix("integer `").and_then(|came| came.strip_suffix('`')) {
        Some(amount) => format!("must be a string: write it as \"{amount}\""),
        None => "must be a string of minor units: write \"499\" for 4.99 EUR".to_owned(),
    })
}

fn of_data(message: &str) -> String {
    let said = mistyped(message).or_else(|| misnamed(message));
    let field = |begin: &str| message.strip_prefix(begin)?.strip_suffix('`');
    said.or_else(|| Some(format!("the field {} is missing", field("missing field `")?)))
        .or_else(|| field("duplicate field `").map(|_| "the field is there twice".to_owned()))
        .unwrap_or_else(|| message.to_owned())
}

/// `invalid type: string "x", expected i64`.
fn mistyped(message: &str) -> Option<String> {
    let wrong = ["invalid type: ", "invalid value: ", "invalid length "];
    let rest = wrong.iter().find_map(|wrong| message.strip_prefix(wrong))?;
    let (came, expected) = rest.rsplit_once(", expected ")?;
    let expected = wanted(expected);
    // The kind of a value stands before it: string "..", integer `..`.
    Some(match kind(came.split(['"', '`']).next().unwrap_or_default().trim_end()) {
        Some(kind) if kind != expected => format!("must be {expected}, not {kind}"),
        Some(_) => format!("must be {expected} of another size"),
        None => format!("must be {expected}"),
    })
}

/// `unknown field ..` and `unknown variant ..`; the pointer names the field.
fn misnamed(message: &str) -> Option<String> {
    let field = message.starts_with("unknown field `");
    if !field && !message.starts_with("unknown variant `") {
        return None;
    }
    let known = message.rsplit_once(", expected ").map_or("", |(_, known)| known);
    // Every second piece between backticks is a name.
    let known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
    Some(match (field, known.is_empty()) {
        (true, true) => "there is no such field".to_owned(),
        (true, false) => format!("there is no such field; there are {}", known.join(", ")),
        (false, _) => format!("must be one of {}", known.join(", ")),
    })
}

fn wanted(expected: &str) -> &str {
    match expected {
        "a string" | "a borrowed string" => "a string",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        "f32" | "f64" => "a number",
        "option" => "null or a value",
        _ if expected.starts_with("struct ") => "an object",
        _ if is_integer(expected) => "a whole number",
        other => other,
    }
}

fn is_integer(name: &str) -> bool {
    ["i8", "i16", "i32", "i64", "isize", "u8", "u16", "u32", "u64", "usize"].contains(&name)
}

fn kind(came: &str) -> Option<&'static str> {
    Some(match came {
        "string" => "a string",
        "integer" => "a whole number",
        "floating point" => "a number with a fraction or with too many digits",
        "boolean" => "true or false",
        "null" | "unit value" => "null",
        "sequence" => "a list",
        "map" => "an object",
        _ => return None,
    })
}

fn of_syntax(message: &str) -> &'static str {
    let known = [
        ("expected value", "a value is wanted"),
        ("expected ident", "only true, false and null may stand without quotes"),
        ("key must be a string", "a name must stand in double quotes"),
        ("trailing characters", "something follows its end"),
        ("trailing comma", "a comma stands where nothing follows"),
        ("expected `:`", "a colon is wanted"),
        ("expected `,`", "a comma or an end is wanted"),
        ("control character", "a string holds a control character that is not escaped"),
        ("recursion limit exceeded", "it is nested too deeply"),
        ("number out of range", "a number is too large"),
        ("invalid number", "a number is not written as JSON has it"),
        ("invalid unicode code point", "it is not UTF-8"),
    ];
    let escapes = ["invalid escape", "lone leading surrogate", "unexpected end of hex escape"];
    if escapes.iter().any(|begin| message.starts_with(begin)) {
        return "a backslash in a string escapes nothing";
    }
    let known = known.iter().find(|(begin, _)| message.starts_with(begin));
    known.map_or("something is wrong", |(_, said)| said)
}

/// The line is told only where there is more than one.
fn where_in(error: &serde_json::Error) -> String {
    match (error.line(), error.column()) {
        (0 | 1, column) => format!("column {column}"),
        (line, column) => format!("line {line}, column {column}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, de::DeserializeOwned};

    use super::*;

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
        depth: Option<bool>,
    }

    /// What is said of this JSON where a `T` is wanted.
    #[track_caller]
    fn said<T: DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
        let said = of_json(&serde_json::from_str::<T>(json).unwrap_err(), "");
        for word in ["invalid", "expected", "u8", "u32", "struct", "variant", "EOF", "ident", "`"] {
            assert!(!said.contains(word), "{word}: {said}");
        }
        said
    }

    #[test]
    fn an_error_says_what_kind_of_value_came_and_not_the_value() {
        for value in [r#""secret""#, r#""secret, expected \"\u0060 by all""#] {
            assert_eq!(said::<u8>(value), "must be a whole number, not a string");
        }
        let fraction = "a number with a fraction or with too many digits";
        assert_eq!(said::<u8>("5.5"), format!("must be a whole number, not {fraction}"));
        assert_eq!(said::<u8>("true"), "must be a whole number, not true or false");
        assert_eq!(said::<u8>("300"), "must be a whole number of another size");
        assert_eq!(said::<Colour>(r#""secret""#), "must be one of red, blue");
        assert_eq!(said::<BTreeMap<u8, u8>>("[]"), "must be an object, not a list");
        assert_eq!(said::<String>("null"), "must be a string, not null");
        assert_eq!(said::<Size>("7"), "must be an object, not a whole number");
    }

    #[test]
    fn fields_are_told_by_name() {
        let unknown = said::<Size>(r#"{"width":1,"hight":2}"#);
        assert_eq!(unknown, "there is no such field; there are width, depth");
        assert_eq!(said::<Size>("{}"), "the field width is missing");
        assert_eq!(said::<Size>(r#"{"width":1,"width":1}"#), "the field is there twice");
    }

    #[test]
    fn an_amount_without_quotes_is_told_how_to_write_it() {
        let said = |json: &str, pointer: &str| {
            of_json(&serde_json::from_str::<String>(json).unwrap_err(), pointer)
        };
        let amount = "/lines/0/unit_price/amount_minor";
        assert_eq!(said("499", amount), "must be a string: write it as \"499\"");
        assert_eq!(
            said("4.99", amount),
            "must be a string of minor units: write \"499\" for 4.99 EUR"
        );
        assert_eq!(said("4930123456", "/personal/phone"), "must be a string, not a whole number");
    }

    #[test]
    fn what_is_no_json_is_told_by_its_place() {
        assert_eq!(said::<Size>(""), "there is nothing where JSON is wanted");
        let broken = "the JSON breaks off before its end, at column 9";
        assert_eq!(said::<Size>(r#"{"width":"#), broken);
        let unquoted = "this is not JSON: a name must stand in double quotes, at column 2";
        assert_eq!(said::<Size>("{width:1}"), unquoted);
        let comma = "this is not JSON: a comma stands where nothing follows, at line 2, column 1";
        assert_eq!(said::<Size>("{\"width\":1,\n}"), comma);
        let ident =
            "this is not JSON: only true, false and null may stand without quotes, at column 2";
        assert_eq!(said::<Size>("nope"), ident);
        for json in ["{} x", "[1 2]", "\"\u{1}\"", "\"\\x\"", "01", "{\"a\" 1}", "@"] {
            let said = said::<serde_json::Value>(json);
            assert!(
                said.starts_with("this is not JSON: ") && !said.contains("something is"),
                "{said}"
            );
        }
    }

    #[test]
    fn parameters_are_told_in_words() {
        let digits = "12x".parse::<u8>().unwrap_err().to_string();
        assert_eq!(of_query(&digits), "must be a whole number");
        let large = "999".parse::<u8>().unwrap_err().to_string();
        assert_eq!(of_query(&large), "is too large");
        let flag = "yes".parse::<bool>().unwrap_err().to_string();
        assert_eq!(of_query(&flag), "must be true or false");
        let unknown = of_query("unknown field `sort`, expected one of `state`, `page_size`");
        assert_eq!(unknown, "there is no such parameter; there are state, page_size");
        assert_eq!(of_query("duplicate field `state`"), "the parameter is there twice");
    }
}
