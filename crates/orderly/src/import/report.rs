//! What became of the lines.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use orders_api::problem::{FieldError, Problem};
use serde::Serialize;
use serde_json::json;

use super::{Outcome, lines::Line};
use crate::console::{many, say, whole};

/// Refusals shown in full on the terminal; all of them are in the report file.
const SHOWN: usize = 10;

/// What became of the lines. Refusals go to the report file as they come, so that however many there
/// are, they take no memory and none is lost when the import has to stop.
#[derive(Debug)]
pub(crate) struct Report {
    lines: u64,
    blank: u64,
    accepted: u64,
    replayed: u64,
    refused: u64,
    by_code: BTreeMap<&'static str, u64>,
    shown: Vec<Refusal>,
    file: Option<Written>,
}

/// The report file.
#[derive(Debug)]
struct Written {
    path: PathBuf,
    file: BufWriter<File>,
}

/// Why the report cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report {}: {error}", path.display())]
pub(crate) struct Unwritable {
    path: PathBuf,
    error: io::Error,
}

impl Written {
    fn create(path: &Path) -> Result<Self, Unwritable> {
        let path = whole(path);
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file: BufWriter::new(file) }),
            Err(error) => Err(Unwritable { path, error }),
        }
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), Unwritable> {
        write(&mut self.file).map_err(|error| Unwritable { path: self.path.clone(), error })
    }
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
    /// A report, also to this file if one is named.
    pub(crate) fn new(path: Option<&Path>) -> Result<Self, Unwritable> {
        let mut file = path.map(Written::create).transpose()?;
        if let Some(file) = &mut file {
            file.write(|file| file.write_all(b"{\"refusals\":["))?;
        }
        Ok(Self {
            lines: 0,
            blank: 0,
            accepted: 0,
            replayed: 0,
            refused: 0,
            by_code: BTreeMap::new(),
            shown: Vec::new(),
            file,
        })
    }

    /// Whether a line was refused.
    pub(crate) const fn has_refusals(&self) -> bool {
        self.refused > 0
    }

    /// Counts a line.
    pub(crate) fn count(&mut self, line: &Line, outcome: Outcome) -> Result<(), Unwritable> {
        self.lines += 1;
        match outcome {
            Outcome::Blank => self.blank += 1,
            Outcome::Accepted => self.accepted += 1,
            Outcome::Replayed => self.replayed += 1,
            Outcome::Refused(problem) => self.refuse(line, &problem)?,
        }
        Ok(())
    }

    fn refuse(&mut self, line: &Line, problem: &Problem) -> Result<(), Unwritable> {
        let refusal = Refusal {
            line: line.number,
            idempotency_key: key(&line.text),
            code: problem.code.as_str(),
            detail: problem.detail.clone(),
            errors: problem.errors().to_vec(),
        };
        if let Some(file) = &mut self.file {
            let first = self.refused == 0;
            file.write(|file| {
                file.write_all(if first { b"\n" } else { b",\n" })?;
                Ok(serde_json::to_writer(file, &refusal)?)
            })?;
        }
        self.refused += 1;
        *self.by_code.entry(refusal.code).or_default() += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(refusal);
        }
        Ok(())
    }

    /// Ends the report: completes the file and tells a person.
    pub(crate) fn finish(mut self, elapsed: Duration) -> Result<(), Unwritable> {
        let Self { lines, blank, accepted, replayed, refused, .. } = self;
        let seconds = elapsed.as_secs_f64();
        let mut full_list = "--report FILE lists";
        if let Some(mut file) = self.file.take() {
            full_list = "the report lists";
            let sums = json!({
                "lines": lines,
                "blank": blank,
                "accepted": accepted,
                "replayed": replayed,
                "refused": refused,
                "seconds": seconds,
            });
            // The sums go on behind the list, as members of the same object.
            let sums = sums.to_string();
            file.write(|file| {
                writeln!(file, "\n],{}", sums.trim_start_matches('{'))?;
                file.flush()
            })?;
        }
        let lines = many(lines, "line");
        let blank = if blank == 0 { String::new() } else { format!(", {blank} blank") };
        say(&format!(
            "{lines} in {seconds:.1} s: {accepted} accepted, {replayed} replayed (accepted \
             before), {refused} refused{blank}"
        ));
        self.show(full_list);
        Ok(())
    }

    fn show(&self, full_list: &str) {
        for refusal in &self.shown {
            let Refusal { line, code, detail, errors, .. } = refusal;
            say(&format!("  line {line}: {code}"));
            if errors.is_empty() {
                say(&format!("    {detail}"));
            }
            for error in errors {
                let place = error.pointer.as_deref().filter(|pointer| !pointer.is_empty());
                let place = place.map_or_else(String::new, |pointer| format!("{pointer}: "));
                say(&format!("    {place}{}", error.detail));
            }
        }
        if usize::try_from(self.refused).is_ok_and(|refused| refused > self.shown.len()) {
            say(&format!("  and more; {full_list} every one:"));
            for (code, count) in &self.by_code {
                say(&format!("    {count} × {code}"));
            }
        }
    }
}

/// The key of a line that could not be placed, as far as it can be read.
fn key(text: &[u8]) -> Option<String> {
    let line: serde_json::Value = serde_json::from_slice(text).ok()?;
    Some(line.get("idempotency_key")?.as_str()?.to_owned())
}
