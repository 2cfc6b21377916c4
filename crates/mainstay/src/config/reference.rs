//! What can be set, read from the types of a configuration: their doc comments are its text.

use super::words::ADDRESS;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::Value as Schema;
use std::{fmt::Write, net::SocketAddr};
use toml::{Table, Value};

/// The longest line of the text.
const WIDTH: usize = 98;

/// One key, or a section of keys.
#[derive(Debug)]
pub(super) struct Entry {
    /// The way to it; empty for the whole configuration.
    pub(super) keys: Vec<String>,
    /// Its meaning, from the doc comment of its field or else of its type.
    pub(super) doc: String,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Section {
        /// Its keys, then its sections, of which those that are not there come first.
        below: Vec<Entry>,
        /// Whether it is there when nothing is set.
        is_set: bool,
    },
    Value {
        /// What may stand there, in words.
        accepts: String,
        /// What stands there when nothing is set.
        default: Option<Value>,
        /// Something that may stand there.
        example: Value,
    },
}

impl Entry {
    /// The whole configuration `T`.
    pub(super) fn of<T: JsonSchema + Serialize + Default>() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|all| all.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<T>();
        let defaults = Table::try_from(T::default()).map(Value::from).ok();
        Self::read(Vec::new(), schema.as_value(), defaults.as_ref())
    }

    fn read(keys: Vec<String>, schema: &Schema, default: Option<&Value>) -> Self {
        let variants = present(schema);
        // A section that is not there still has defaults, once there is one.
        let own = schema.get("default").and_then(|default| Value::try_from(default).ok());
        let default = default.or(own.as_ref().filter(|own| !own.is_table()));
        let text = |one: &&Schema| one["description"].as_str().map(tidy);
        let doc = std::iter::once(&schema).chain(&variants).find_map(text).unwrap_or_default();
        let kind = match variants.iter().find_map(|one| one["properties"].as_object()) {
            Some(fields) => {
                let mut below: Vec<_> = fields
                    .iter()
                    .map(|(key, schema)| {
                        let keys = keys.iter().chain([key]).cloned().collect();
                        Self::read(keys, schema, default.and_then(|table| table.get(key)))
                    })
                    .collect();
                // What has no heading first: after one, it would belong to that.
                below.sort_by_key(|entry| {
                    (entry.is_section(), entry.has_heading(), entry.keys.clone())
                });
                Kind::Section { below, is_set: default.is_some() }
            }
            None => Kind::Value {
                accepts: accepts(&variants, default),
                // A secret's default would be shown as hidden, which is not the default.
                default: default.filter(|_| !is_secret(&variants)).cloned(),
                example: example(schema, &variants),
            },
        };
        Self { keys, doc, kind }
    }

    pub(super) fn is_section(&self) -> bool {
        matches!(self.kind, Kind::Section { .. })
    }

    /// Whether it is a section that is there when nothing is set.
    fn has_heading(&self) -> bool {
        matches!(self.kind, Kind::Section { is_set: true, .. })
    }

    /// This entry and all below it.
    pub(super) fn all(&self) -> Vec<&Self> {
        let below: &[Self] = match &self.kind {
            Kind::Section { below, .. } => below,
            Kind::Value { .. } => &[],
        };
        std::iter::once(self).chain(below.iter().flat_map(Self::all)).collect()
    }

    /// Its meaning, and what may stand there where that is one of a few values.
    fn text(&self) -> String {
        match &self.kind {
            Kind::Value { accepts, .. } if accepts.starts_with('"') => {
                format!("{} One of {}.", self.doc, accepts.replace(" or ", ", "))
            }
            Kind::Value { .. } | Kind::Section { .. } => self.doc.clone(),
        }
    }

    /// A TOML file with all of it: a key without a value is there as `#key = example`.
    pub(super) fn file(&self) -> String {
        let mut text = comment(&self.doc);
        self.add_below(&mut text, self.keys.len());
        text
    }

    /// Adds what is below it to a file whose last heading has `depth` keys.
    fn add_below(&self, text: &mut String, depth: usize) {
        let Kind::Section { below, .. } = &self.kind else { return };
        for entry in below {
            let absent = if self.keys.len() > depth { "#" } else { "" };
            // A section that is not there has no heading: its keys name it, so that each can be
            // uncommented by itself.
            let name = entry.keys[depth..].join(".");
            let line = match &entry.kind {
                Kind::Section { is_set: true, .. } => format!("[{}]\n", entry.keys.join(".")),
                Kind::Section { is_set: false, .. } => String::new(),
                Kind::Value { default: Some(value), .. } => format!("{absent}{name} = {value}\n"),
                Kind::Value { default: None, example, .. } => format!("#{name} = {example}\n"),
            };
            // Writing to a string cannot fail.
            let _written = write!(text, "\n{}{line}", comment(&entry.text())).is_ok();
            entry.add_below(text, if entry.has_heading() { entry.keys.len() } else { depth });
        }
    }
}

/// What a value may be, other than absent.
fn present(schema: &Schema) -> Vec<&Schema> {
    let among = ["anyOf", "oneOf"].iter().find_map(|key| schema[key].as_array());
    among.map_or_else(
        || vec![schema],
        |among| among.iter().filter(|one| one["type"] != "null").flat_map(present).collect(),
    )
}

fn accepts(variants: &[&Schema], default: Option<&Value>) -> String {
    // The schema of an address says no more than that it is text.
    let address = default.and_then(Value::as_str).map(str::parse::<SocketAddr>);
    if matches!(address, Some(Ok(_))) {
        return ADDRESS.to_owned();
    }
    let mut words: Vec<_> = variants.iter().map(|one| word(one)).collect();
    words.dedup();
    words.join(" or ")
}

fn word(schema: &Schema) -> String {
    if let Some(constant) = schema.get("const") {
        return constant.to_string();
    }
    if let Some(constants) = schema["enum"].as_array() {
        let all: Vec<_> = constants.iter().filter(|one| !one.is_null()).collect();
        return all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    }
    match type_of(schema) {
        "string" if schema["writeOnly"] == true => "text, kept secret".to_owned(),
        "string" if schema["format"] == "duration" => {
            "a duration such as 500ms, 2s, 1h30m or 7d".to_owned()
        }
        "string" => "text".to_owned(),
        "integer" => "a whole number".to_owned(),
        "number" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => format!("a list, each: {}", word(&schema["items"])),
        "object" => "a table".to_owned(),
        other => format!("a {other}"),
    }
}

/// The type other than null.
fn type_of(schema: &Schema) -> &str {
    let one = &schema["type"];
    let types = one.as_array().map_or_else(|| std::slice::from_ref(one), Vec::as_slice);
    types.iter().filter_map(Schema::as_str).find(|one| *one != "null").unwrap_or("value")
}

fn is_secret(variants: &[&Schema]) -> bool {
    variants.iter().any(|one| one["writeOnly"] == true)
}

/// The first example that the type gives, or else something of the right type.
fn example(schema: &Schema, variants: &[&Schema]) -> Value {
    let given = |one: &&Schema| {
        let first = one["examples"].get(0).or_else(|| one.get("const"))?;
        Value::try_from(first).ok()
    };
    let simple = || match variants.first().map_or("string", |one| type_of(one)) {
        "integer" => 0.into(),
        "number" => 0.0.into(),
        "boolean" => false.into(),
        "array" => Value::Array(Vec::new()),
        "object" => Table::new().into(),
        _ => "".into(),
    };
    std::iter::once(&schema).chain(variants).find_map(given).unwrap_or_else(simple)
}

/// A doc comment as text: its links are for the documentation of the code.
fn tidy(doc: &str) -> String {
    doc.replace("[`", "`").replace("`]", "`")
}

/// Text as comment lines of at most [`WIDTH`], paragraphs apart.
fn comment(text: &str) -> String {
    wrap(text, WIDTH - 2)
        .iter()
        .map(|line| format!("# {line}").trim_end().to_owned() + "\n")
        .collect()
}

/// The lines of a text, an empty one between paragraphs.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split("\n\n").filter(|text| !text.trim().is_empty()) {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.len() + 1 + word.len() > width {
                lines.push(std::mem::take(&mut line));
            }
            line += if line.is_empty() { "" } else { " " };
            line += word;
        }
        lines.push(line);
    }
    lines
}
