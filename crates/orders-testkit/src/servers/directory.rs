//! Directories that go away with the test process, however it ends.

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::process::Account;

/// Waits until the test process closes its end of the pipe, or is gone. A server that is still
/// stopping can put files where some were just removed, hence the loop.
const SWEEPER: &str = r#"
cat >/dev/null
tries=600
until rm -rf -- "$1" 2>/dev/null || [ "$tries" -eq 0 ]; do tries=$((tries - 1)); sleep 0.1; done
"#;

/// A directory of a server, owned by the account that runs it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    sweeper: Child,
}

impl Directory {
    /// An empty one, for a server of this name.
    pub(super) fn new(server: &str) -> Self {
        let path = tempfile::Builder::new()
            .prefix(&format!("orderly-{server}-"))
            .tempdir()
            .expect("a temporary directory")
            .keep();
        // A process group of its own: Ctrl-C ends the tests, and not what tidies up after them.
        let sweeper = Command::new("sh")
            .args(["-c", SWEEPER, "sweeper"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let directory = Self { path, sweeper };
        give(&directory.path);
        directory
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that only the server can read.
    pub(super) fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, contents).expect("a file in the server's directory");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its permissions");
        give(&path);
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        self.sweeper.wait().expect("the sweeper ends");
    }
}

fn give(path: &Path) {
    if let Some(account) = Account::of_servers() {
        chown(path, Some(account.uid), Some(account.gid)).expect("root may give files away");
    }
}
