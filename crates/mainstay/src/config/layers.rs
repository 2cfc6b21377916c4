//! The merged tree of keys, and which layer each value came from.

use super::Problem;
use serde::{Deserialize, de::DeserializeOwned};
use serde_path_to_error::Segment;
use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};
use toml::{Table, Value, de::ValueDeserializer};

/// Where a value of a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The program itself.
    Default,
    /// This TOML file.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The command line, by this key.
    Flag(String),
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(key) => write!(f, "flag {key}"),
        }
    }
}

type Keys = Vec<String>;

/// The keys of a dotted path.
pub(super) fn path(dotted: &str) -> Keys {
    dotted.split('.').map(str::to_owned).collect()
}

#[derive(Default)]
pub(super) struct Layers {
    tree: Table,
    origins: BTreeMap<Keys, Layer>,
    /// Where tables without a value were written. What they leave out is not theirs.
    empty: BTreeMap<Keys, Layer>,
    /// The texts that were read as something else than text, which may have been wrong.
    texts: BTreeMap<Keys, String>,
}

impl Layers {
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), Problem> {
        let layer = Layer::File(path.to_owned());
        let refuse = |message| Problem { key: String::new(), layer: layer.clone(), message };
        let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        // Not the error's own text, which quotes the line and with it perhaps a secret.
        let table = text.parse::<Table>().map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            refuse(format!("line {}: {}", before.matches('\n').count() + 1, error.message()))
        })?;
        self.add_table(&mut Keys::new(), table, &layer);
        Ok(())
    }

    fn add_table(&mut self, at: &mut Keys, table: Table, layer: &Layer) {
        for (key, value) in table {
            at.push(key);
            match value {
                // Not nothing: its presence may mean something, or be wrong.
                Value::Table(table) if table.is_empty() => {
                    self.set(at, table.into(), layer.clone());
                    self.origins.remove(at);
                    self.empty.insert(at.clone(), layer.clone());
                }
                Value::Table(table) => self.add_table(at, table, layer),
                Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_) => self.set(at, value, layer.clone()),
            }
            at.pop();
        }
    }

    pub(super) fn add_text(&mut self, key: &str, layer: Layer, text: String) {
        let keys = path(key);
        let read = ValueDeserializer::parse(&text).ok().and_then(|d| Value::deserialize(d).ok());
        match read {
            Some(value) => {
                self.set(&keys, value, layer);
                self.texts.insert(keys, text);
            }
            None => self.set(&keys, Value::String(text), layer),
        }
    }

    /// Sets one value, over whatever was there or in the way.
    fn set(&mut self, keys: &[String], value: Value, layer: Layer) {
        let Some((last, above)) = keys.split_last() else { return };
        let mut table = &mut self.tree;
        for key in above {
            let below = table.entry(key).or_insert_with(|| Table::new().into());
            if !below.is_table() {
                *below = Table::new().into();
            }
            let Value::Table(next) = below else { return };
            table = next;
        }
        table.insert(last.clone(), value);
        self.texts.remove(keys);
        self.origins.retain(|known, _| !known.starts_with(keys) && !keys.starts_with(known));
        self.origins.insert(keys.to_vec(), layer);
    }

    /// Takes away what is at `keys`; tells whether there was something.
    fn remove(&mut self, keys: &[String]) -> bool {
        let Some((last, above)) = keys.split_last() else { return false };
        let table = above.iter().try_fold(&mut self.tree, |table, key| {
            table.get_mut(key).and_then(Value::as_table_mut)
        });
        table.is_some_and(|table| table.remove(last).is_some())
    }

    /// The layer of the value at `keys`, of a part of it, or of what it is a part of; or of the empty
    /// table there.
    pub(super) fn origin(&self, keys: &[String]) -> Layer {
        let related =
            |(known, _): &(&Keys, &Layer)| known.starts_with(keys) || keys.starts_with(known);
        let origin = self.origins.iter().find(related).map(|(_, layer)| layer);
        origin.or_else(|| self.empty.get(keys)).cloned().unwrap_or(Layer::Default)
    }

    /// Reads a `T`, and adds what is wrong to `problems`.
    ///
    /// Deserializing stops at the first error; so the value at fault is noted, taken away and the
    /// rest read again, until nothing is wrong.
    pub(super) fn read<T: DeserializeOwned>(&mut self, problems: &mut Vec<Problem>) -> Option<T> {
        let mut first_messages = BTreeMap::new();
        loop {
            let tree = Value::Table(self.tree.clone());
            let (keys, message) = match serde_path_to_error::deserialize(tree) {
                Ok(value) => return Some(value),
                Err(error) => (keys(&error), error.inner().message().to_owned()),
            };
            if let Some(text) = self.texts.get(&keys).cloned() {
                let layer = self.origin(&keys);
                self.set(&keys, Value::String(text), layer);
                first_messages.insert(keys, message);
                continue;
            }
            let message = first_messages.remove(&keys).unwrap_or(message);
            problems.push(Problem { key: keys.join("."), layer: self.origin(&keys), message });
            if !self.remove(&keys) {
                return None;
            }
        }
    }
}

impl fmt::Debug for Layers {
    /// Without the values: any of them may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").field("origins", &self.origins).finish_non_exhaustive()
    }
}

/// The keys of tables on the way to an error.
fn keys(error: &serde_path_to_error::Error<toml::de::Error>) -> Keys {
    let key = |segment: &Segment| match segment {
        Segment::Map { key } => Some(key.clone()),
        Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
    };
    error.path().iter().map_while(key).collect()
}
