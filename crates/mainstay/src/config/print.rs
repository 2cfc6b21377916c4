use super::layers::Layers;
use serde::Serialize;
use std::fmt::{self, Write};
use toml::{Table, Value};

/// `value` as TOML, each line with the layer it came from.
pub(super) fn annotated(value: &impl Serialize, layers: &Layers) -> String {
    let mut text = String::new();
    let printed = match Table::try_from(value) {
        Ok(table) => print(&mut text, &mut Vec::new(), &table, layers),
        Err(error) => writeln!(text, "# cannot be shown: {error}"),
    };
    debug_assert!(printed.is_ok(), "writing to a string cannot fail");
    text
}

fn print(text: &mut String, at: &mut Vec<String>, table: &Table, layers: &Layers) -> fmt::Result {
    // Plain values first: after a heading, they would belong to it.
    for (key, value) in table.iter().filter(|(_, value)| !value.is_table()) {
        at.push(key.clone());
        writeln!(text, "{} = {value}  # {}", quoted(key), layers.origin(at))?;
        at.pop();
    }
    for (key, value) in table {
        if let Value::Table(below) = value {
            at.push(key.clone());
            let heading: Vec<_> = at.iter().map(|key| quoted(key)).collect();
            writeln!(text, "\n[{}]", heading.join("."))?;
            print(text, at, below, layers)?;
            at.pop();
        }
    }
    Ok(())
}

pub(super) fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}
