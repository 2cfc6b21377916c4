//! A run of a program, whose output goes to files: nobody needs to read along.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use tempfile::NamedTempFile;

use super::until;

/// A program under way; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    printed: NamedTempFile,
    log: NamedTempFile,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

impl Process {
    pub(crate) fn start(command: Command) -> Self {
        let log = NamedTempFile::new().unwrap();
        let file = log.reopen().unwrap();
        Self::start_with(command, file.into(), log)
    }

    /// A program whose standard error goes elsewhere; its [`log`](Self::log) stays empty.
    pub(crate) fn start_logging_to(command: Command, log: Stdio) -> Self {
        Self::start_with(command, log, NamedTempFile::new().unwrap())
    }

    fn start_with(mut command: Command, stderr: Stdio, log: NamedTempFile) -> Self {
        let printed = NamedTempFile::new().unwrap();
        command.stdout(printed.reopen().unwrap()).stderr(stderr);
        let started = command.spawn();
        let child = started.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, printed, log }
    }

    /// Its standard output so far.
    pub(crate) fn printed(&self) -> String {
        read(&self.printed)
    }

    /// Its standard error so far.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal by its name, such as `-TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill is needed");
        assert!(sent.success(), "cannot send {signal}");
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Ran {
        until("the program ends", async || self.has_ended().then_some(())).await;
        let status = self.child.wait().unwrap();
        Ran { code: status.code(), out: self.printed(), err: self.log() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read(file: &NamedTempFile) -> String {
    String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned()
}
