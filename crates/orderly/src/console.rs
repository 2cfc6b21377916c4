//! What people see on the terminal; logs go elsewhere.

use std::{
    error::Error,
    io::{self, Write as _},
    path::{self, Path, PathBuf},
};

/// What a command ends with when it fails: its text says what to do.
pub(crate) type Failure = Box<dyn Error>;

/// Says a line or several on standard output, in one write: nothing comes between them. A reader that
/// is gone is no reason to fail.
pub(crate) fn say(text: &str) {
    drop(io::stdout().write_all(format!("{text}\n").as_bytes()));
}

/// The path from the root on, as far as that is known: so that it is seen which file was meant.
pub(crate) fn whole(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// `1 order`, `2 orders`.
pub(crate) fn many(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
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
        let cause = error.to_string();
        // Some errors say what they come from themselves.
        if !text.ends_with(&cause) {
            text = format!("{text}\n  because: {cause}");
        }
        source = error.source();
    }
    drop(writeln!(io::stderr(), "{text}"));
}
