//! Tries rows, each in a thread of its own and for no longer than a bound.

use crate::{
    published::Subject,
    suite::row::{Row, Verdict},
};
use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};
use tokio::runtime::Builder;

/// The longest that a row may take; far more than one that ends does.
const BOUND: Duration = Duration::from_mins(1);

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Told(Verdict),
    /// It had not ended when its time was over.
    Hangs,
    Panics,
}

impl Outcome {
    pub(crate) fn passes(&self) -> bool {
        *self == Self::Told(Verdict::Passes)
    }

    /// Its name, for the table and the record.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Told(Verdict::Passes) => "passes",
            Self::Told(Verdict::Fails(_)) => "fails",
            Self::Told(Verdict::Absent) => "n/a",
            Self::Hangs => "hangs",
            Self::Panics => "panics",
        }
    }

    /// What was found, where it fails.
    pub(crate) fn found(&self) -> Option<&str> {
        match self {
            Self::Told(Verdict::Fails(found)) => Some(found),
            Self::Told(Verdict::Passes | Verdict::Absent) | Self::Hangs | Self::Panics => None,
        }
    }
}

/// One row of one subject, and what became of it.
#[derive(Debug)]
pub(crate) struct Tried {
    pub(crate) part: &'static str,
    pub(crate) fact: &'static str,
    pub(crate) package: &'static str,
    pub(crate) what: &'static str,
    pub(crate) outcome: Outcome,
}

/// Tries all rows of a subject, one after another: they measure time.
pub(crate) fn subject(subject: Subject) -> Vec<Tried> {
    let Subject { package, what, rows } = subject;
    let tried = |row: Row| {
        let (part, fact) = (row.part, row.fact);
        Tried { part, fact, package, what, outcome: bounded(row) }
    };
    rows.into_iter().map(tried).collect()
}

fn bounded(row: Row) -> Outcome {
    let (tell, told) = mpsc::channel();
    let named = thread::Builder::new().name(row.fact.to_owned());
    // Nobody joins it: one that hangs ends with the process.
    let started = named.spawn(move || tell.send(alone(row)).unwrap_or_default());
    if let Err(error) = started {
        return Outcome::Told(Verdict::Fails(format!("there is no thread for it: {error}")));
    }
    match told.recv_timeout(BOUND) {
        Ok(verdict) => Outcome::Told(verdict),
        Err(RecvTimeoutError::Timeout) => Outcome::Hangs,
        Err(RecvTimeoutError::Disconnected) => Outcome::Panics,
    }
}

/// In real time: most crates know no other.
fn alone(row: Row) -> Verdict {
    match Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime.block_on(row.run()),
        Err(error) => Verdict::Fails(format!("there is no runtime for it: {error}")),
    }
}
