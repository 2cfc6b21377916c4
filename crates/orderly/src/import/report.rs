//! What became of the lines.

use std::{collections::BTreeMap, time::Duration};

use orders_api::problem::FieldError;
use serde::Serialize;

use super::{Outcome, lines::Line};
use crate::console::say;

/// Refusals shown in full on the terminal; all of them are in the report file.
const SHOWN: usize = 10;

/// What became of the lines, and each refusal.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    lines: u64,
    accepted: u64,
    replayed: u64,
    refused: u64,
    seconds: f64,
    refusals: Vec<Refusal>,
}

/// A line that was not taken.
#[derive(Debug, Serialize)]
struct Refusal {
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
}

impl Report {
    /// Counts a line.
    pub(crate) fn count(&mut self, line: &Line, outcome: Outcome) {
        self.lines += 1;
        match outcome {
            Outcome::Accepted => self.accepted += 1,
            Outcome::Replayed => self.replayed += 1,
            Outcome::Refused(problem) => {
                self.refused += 1;
                self.refusals.push(Refusal {
                    line: line.number,
                    idempotency_key: key(&line.text),
                    code: problem.code.as_str(),
                    detail: problem.detail.clone(),
                    errors: problem.errors().to_vec(),
                });
            }
        }
    }

    /// Notes how long it took.
    pub(crate) fn after(mut self, elapsed: Duration) -> Self {
        self.seconds = elapsed.as_secs_f64();
        self
    }

    /// Tells a person.
    pub(crate) fn show(&self) {
        let Self { lines, accepted, replayed, refused, seconds, .. } = self;
        say(&format!(
            "{lines} lines in {seconds:.1} s: {accepted} orders placed, {replayed} were there \
             already, {refused} refused"
        ));
        for refusal in self.refusals.iter().take(SHOWN) {
            say(&format!("  line {}: {}", refusal.line, refusal.code));
            for error in &refusal.errors {
                let pointer = error.pointer.as_deref().unwrap_or_default();
                say(&format!("    {pointer} {}", error.detail));
            }
        }
        if self.refusals.len() > SHOWN {
            say("  and more; --report FILE lists every one:");
            for (code, count) in self.by_code() {
                say(&format!("    {count} × {code}"));
            }
        }
    }

    fn by_code(&self) -> BTreeMap<&'static str, u64> {
        let mut codes = BTreeMap::new();
        for refusal in &self.refusals {
            *codes.entry(refusal.code).or_default() += 1;
        }
        codes
    }
}

/// The key of a line that could not be placed, as far as it can be read.
fn key(text: &[u8]) -> Option<String> {
    let line: serde_json::Value = serde_json::from_slice(text).ok()?;
    Some(line.get("idempotency_key")?.as_str()?.to_owned())
}
