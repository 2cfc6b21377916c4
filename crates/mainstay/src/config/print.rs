use super::{layers::Layers, reference::Entry};
use serde::Serialize;
use toml::{Table, Value};

/// `value` as TOML, each line with the layer it came from; a key of `root` that has no value is there
/// as a comment.
pub(super) fn annotated(value: &impl Serialize, root: &Entry, layers: &Layers) -> String {
    match Table::try_from(value) {
        Ok(table) => {
            let mut blocks = Vec::new();
            Printer { root, layers }.add(&mut blocks, &mut Vec::new(), &table);
            blocks.join("\n")
        }
        Err(error) => format!("# cannot be shown: {error}\n"),
    }
}

struct Printer<'a> {
    root: &'a Entry,
    layers: &'a Layers,
}

impl Printer<'_> {
    /// Adds a block of lines for the table at `at`, and one for each table below it.
    fn add(&self, blocks: &mut Vec<String>, at: &mut Vec<String>, table: &Table) {
        let block: String =
            self.values(at, table).into_iter().chain(self.unset(at, table)).collect();
        blocks.extend((!block.is_empty()).then_some(block));
        for (key, value) in table {
            if let Value::Table(below) = value {
                at.push(key.clone());
                self.add(blocks, at, below);
                at.pop();
            }
        }
    }

    /// The heading, unless nothing would belong to it, and the values.
    fn values(&self, at: &[String], table: &Table) -> Vec<String> {
        let values = table.iter().filter(|(_, value)| !value.is_table()).map(|(key, value)| {
            let keys: Vec<_> = at.iter().chain([key]).cloned().collect();
            format!("{} = {value}  # {}\n", quoted(key), self.layers.origin(&keys))
        });
        let mut lines: Vec<_> = values.collect();
        if !lines.is_empty() && !at.is_empty() {
            let heading: Vec<_> = at.iter().map(|key| quoted(key)).collect();
            lines.insert(0, format!("[{}]\n", heading.join(".")));
        }
        lines
    }

    /// What could be set here and is not, by its whole key: it may stand below no heading.
    fn unset(&self, at: &[String], table: &Table) -> Vec<String> {
        let all = self.root.all().into_iter().filter(|entry| !entry.is_section());
        let here = all.filter(|entry| {
            let below = entry.keys.strip_prefix(at).and_then(<[String]>::first);
            below.is_some_and(|key| !table.contains_key(key))
        });
        here.map(|entry| format!("# {} is not set\n", entry.keys.join("."))).collect()
    }
}

pub(super) fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}
