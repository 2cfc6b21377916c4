//! Where and of what a record was made.

use serde::Serialize;
use std::{fs, time::Duration};
use tokio::{process::Command, time::timeout};

const GIT_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpus: usize,
    pub(crate) cpu_model: String,
    pub(crate) kernel: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            // Of the machine: a pinned generator may use fewer.
            cpus: info.lines().filter(|line| line.starts_with("processor")).count(),
            cpu_model: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            kernel: kernel.trim().to_owned(),
        }
    }
}

/// The commit of the current directory, marked when files differ from it.
pub(crate) async fn commit() -> Option<String> {
    let describe = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .kill_on_drop(true)
        .output();
    let output = timeout(GIT_LIMIT, describe).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
