//! The table and the record.

use crate::run::Tried;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
};

/// What was built, by which the versions are known.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// A table for each part: a line for each fact, a column for each subject.
pub(crate) fn table(all: &[Tried]) -> String {
    let mut text = String::new();
    for part in in_order(all.iter().map(|one| one.part)) {
        let of_part: Vec<_> = all.iter().filter(|one| one.part == part).collect();
        let subjects = in_order(of_part.iter().map(|one| (one.package, one.what)));
        let names: Vec<_> = subjects.iter().map(|(package, what)| name(package, what)).collect();
        let _written = writeln!(text, "\n{part}");
        for (number, name) in names.iter().enumerate() {
            let _written = writeln!(text, "  {}  {name}", letter(number));
        }
        let heads = cells((0..names.len()).map(letter));
        let _written = writeln!(text, "  {:48}{heads}", "");
        for fact in in_order(of_part.iter().map(|one| one.fact)) {
            let of_fact = of_part.iter().filter(|one| one.fact == fact);
            let told = cells(of_fact.map(|one| one.outcome.as_str()));
            let _written = writeln!(text, "  {fact:48}{told}");
        }
        for one in of_part {
            if let Some(found) = one.outcome.found() {
                let name = name(one.package, one.what);
                let _written = writeln!(text, "    {name}: {}: {found}", one.fact);
            }
        }
    }
    text
}

/// The same for programs, with the version of each crate.
pub(crate) fn record(all: &[Tried]) -> Value {
    let packages = in_order(all.iter().map(|one| one.package));
    let versions: BTreeMap<_, _> = packages.into_iter().map(|one| (one, version(one))).collect();
    let rows = all.iter().map(|one| {
        json!({
            "part": one.part,
            "fact": one.fact,
            "crate": one.package,
            "what": one.what,
            "outcome": one.outcome.as_str(),
            "found": one.outcome.found(),
        })
    });
    json!({ "versions": versions, "rows": rows.collect::<Vec<_>>() })
}

/// Columns of one width.
fn cells(values: impl Iterator<Item = impl Display>) -> String {
    let mut text = String::new();
    for value in values {
        let _written = write!(text, "{value:<8}");
    }
    text.trim_end().to_owned()
}

fn name(package: &str, what: &str) -> String {
    format!("{package} {} {what}", version(package)).trim_end().to_owned()
}

/// The version of a crate that has only one in the lock file.
fn version(package: &str) -> &'static str {
    let named = format!("name = \"{package}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != named);
    let line = lines.nth(1).and_then(|line| line.strip_prefix("version = \""));
    line.and_then(|line| line.strip_suffix('"')).unwrap_or("unknown")
}

/// A name for a column: there are never more than letters.
fn letter(number: usize) -> char {
    ('a'..='z').nth(number).unwrap_or('?')
}

/// Each value once, in the order in which they come first.
fn in_order<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.fold(Vec::new(), |mut seen, value| {
        if !seen.contains(&value) {
            seen.push(value);
        }
        seen
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{run::Outcome, suite::row::Verdict};

    fn tried(package: &'static str, outcome: Outcome) -> Tried {
        Tried { part: "race", fact: "the first one wins", package, what: "", outcome }
    }

    #[test]
    fn the_table_has_a_column_for_each_subject_and_says_what_was_found() {
        let fails = Outcome::Told(Verdict::Fails("the last one won".to_owned()));
        let all =
            [tried("mainstay-resilience", Outcome::Told(Verdict::Passes)), tried("tokio", fails)];
        let table = table(&all);
        let line = |text: &str| table.lines().filter(|line| line.contains(text)).count();
        assert_eq!(line("passes  fails"), 1, "{table}");
        assert_eq!(line(": the first one wins: the last one won"), 1, "{table}");
    }

    #[test]
    fn the_version_of_every_crate_is_known() {
        for subject in crate::published::ours().iter().chain(&crate::published::others()) {
            assert!(version(subject.package).contains('.'), "{}", subject.package);
        }
        assert_eq!(version("no-such-crate"), "unknown");
    }

    #[test]
    fn a_hang_and_a_panic_are_told_and_pass_nothing() {
        for (outcome, name) in [(Outcome::Hangs, "hangs"), (Outcome::Panics, "panics")] {
            assert_eq!((outcome.as_str(), outcome.passes(), outcome.found()), (name, false, None));
        }
    }
}
