//! What people see on the terminal; logs go elsewhere.

use std::{
    error::Error,
    io::{self, Write as _},
};

/// What a command ends with when it fails: its text says what to do.
pub(crate) type Failure = Box<dyn Error>;

/// Says a line on standard output. A reader that is gone is no reason to fail.
pub(crate) fn say(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// Says something beside the output proper, on standard error.
pub(crate) fn remark(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Says what went wrong and why, on standard error.
pub(crate) fn complain(error: &Failure) {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}\n  because: {error}");
        source = error.source();
    }
    drop(writeln!(io::stderr(), "{text}"));
}
