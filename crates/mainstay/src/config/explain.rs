//! One key or section in words: meaning, default, effective value, and the layer it is from.

use super::{
    Loaded,
    print::quoted,
    reference::{Entry, Kind, wrap},
};
use schemars::JsonSchema;
use serde::Serialize;
use toml::{Table, Value};

/// How alike two keys must be for one to be meant by the other, from 0 to 1.
const ALIKE: f64 = 0.6;

/// The longest line of the text.
const WIDTH: usize = 80;

/// There is no such key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no key {key}{}", did_you_mean(.nearest))]
pub struct UnknownKey {
    /// The key that was asked for.
    pub key: String,
    /// At most three keys that may be meant, the most alike first.
    pub nearest: Vec<String>,
}

fn did_you_mean(keys: &[String]) -> String {
    if keys.is_empty() {
        "; `config print --defaults` shows them all".to_owned()
    } else {
        format!("; did you mean {}?", keys.join(" or "))
    }
}

impl<T: JsonSchema + Serialize + Default> Loaded<T> {
    /// Explains a key such as `server.idle_timeout`, or all keys of a section such as `server`:
    /// meaning, what may stand there, default, effective value and the layer it came from. A
    /// [`Secret`](super::Secret) is shown as `[hidden]`.
    ///
    /// # Errors
    ///
    /// Fails when there is no such key, and names those most like it.
    pub fn explain(&self, key: &str) -> Result<String, UnknownKey> {
        let root = Entry::of::<T>();
        let all = root.all();
        let Some(entry) = all.iter().find(|entry| entry.keys.join(".") == key) else {
            return Err(UnknownKey { key: key.to_owned(), nearest: most_alike(key, &all) });
        };
        let values = Table::try_from(&self.value).unwrap_or_default();
        Ok(match &entry.kind {
            Kind::Section { .. } => self.section(entry, &values),
            Kind::Value { accepts, default, .. } => {
                let default = default.as_ref().map_or("none".to_owned(), Value::to_string);
                format!(
                    "{key}\n\n{}\n\naccepts  {accepts}\ndefault  {default}\nvalue    {}\nfrom     {}\n",
                    indented(&entry.doc, ""),
                    shown(&values, &entry.keys),
                    self.layers.origin(&entry.keys),
                )
            }
        })
    }

    fn section(&self, entry: &Entry, values: &Table) -> String {
        let head = format!("[{}]\n{}\n", entry.keys.join("."), indented(&entry.doc, ""));
        let values = entry.all().into_iter().filter(|below| !below.is_section()).map(|below| {
            format!(
                "\n{} = {}  # {}\n{}\n",
                below.keys.iter().map(|key| quoted(key)).collect::<Vec<_>>().join("."),
                shown(values, &below.keys),
                self.layers.origin(&below.keys),
                indented(&below.doc, "    "),
            )
        });
        std::iter::once(head).chain(values).collect()
    }
}

/// The effective value, or that there is none.
fn shown(values: &Table, keys: &[String]) -> String {
    let Some((first, below)) = keys.split_first() else { return String::new() };
    let value = below.iter().try_fold(values.get(first), |value, key| Some(value?.get(key)));
    value.flatten().map_or("not set".to_owned(), Value::to_string)
}

fn indented(text: &str, by: &str) -> String {
    let lines = wrap(text, WIDTH - by.len()).into_iter();
    lines.map(|line| format!("{by}{line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The keys most like `wanted`, as a whole or in their last part.
fn most_alike(wanted: &str, all: &[&Entry]) -> Vec<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let alike = strsim::normalized_damerau_levenshtein;
    let mut ranked: Vec<_> = all
        .iter()
        .map(|entry| entry.keys.join("."))
        .map(|key| (alike(wanted, &key), alike(&last(wanted), &last(&key)), key))
        .filter(|(whole, last, key)| whole.max(*last) >= ALIKE && !key.is_empty())
        .collect();
    ranked.sort_by(|one, other| (other.0 + other.1).total_cmp(&(one.0 + one.1)));
    ranked.into_iter().take(3).map(|(_, _, key)| key).collect()
}
