//! Each server starts, answers, comes back, and is gone in the end.

mod kafka;
mod killed;
mod pgbouncer;
mod postgres;

use std::{fs, path::Path, process::Command};

/// The processes that run in this directory, or one below it.
fn processes_in(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path().join("cwd")).ok())
        .filter_map(|path| path.to_str().map(str::to_owned))
        .filter(|path| path.starts_with(directory))
        .collect()
}

/// What psql prints for a statement on this database.
fn ask(url: &str, statement: &str) -> String {
    let output = Command::new("psql").args(["-XAtq", "-d", url, "-c", statement]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
