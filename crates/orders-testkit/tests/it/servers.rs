//! Each server starts, answers, comes back, and is gone in the end.

mod postgres;

use std::{fs, path::Path};

/// The processes that run in this directory, or one below it.
fn processes_in(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().expect("a path in UTF-8");
    fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| fs::read_link(entry.ok()?.path().join("cwd")).ok())
        .filter_map(|path| path.to_str().map(str::to_owned))
        .filter(|path| path.starts_with(directory))
        .collect()
}
