//! Committed files that are made from the code.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file of this repository, by its path from the root.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// Holds a committed file against what the code makes; `make generate` writes it instead.
pub fn is_committed(name: &str, made: &str) {
    let path = path(name);
    if is_asked_for() {
        fs::write(&path, made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "{name} is stale; run: make generate");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a switch for whoever runs the test, not configuration"
)]
fn is_asked_for() -> bool {
    std::env::var("UPDATE_GENERATED").is_ok()
}
