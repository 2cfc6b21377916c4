//! The one-line service in a process of its own, under real signals.

use crate::support::{get, soon, until};
use axum::{Router, routing::get as on_get};
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

/// Where the child writes its address; only the child has it.
const ADDRESS_FILE: &str = "MAINSTAY_TEST_ADDRESS_FILE";

/// Ends the child when its test fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Process {
    /// Starts the child and waits until it serves, and so listens for signals.
    async fn start() -> (Self, SocketAddr) {
        Self::start_under(Command::new(std::env::current_exe().unwrap())).await
    }

    /// Starts it by another program, which must become it.
    async fn start_by(program: &[&str]) -> (Self, SocketAddr) {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(std::env::current_exe().unwrap());
        Self::start_under(command).await
    }

    async fn start_under(mut command: Command) -> (Self, SocketAddr) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("address");
        command.args(["--exact", "signals::child", "--ignored"]).env(ADDRESS_FILE, &file);
        let process = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        until(|| file.exists()).await;
        let addr = fs::read_to_string(&file).unwrap().parse().unwrap();
        assert_eq!(get(addr, "/", "").await.header("connection"), None);
        (process, addr)
    }

    fn signal(&self, name: &str) {
        // The shell's own `kill`: small images have no such program.
        let kill = format!("kill -s {name} {}", self.0.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.unwrap().success());
    }

    async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until(|| {
            status = self.0.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

#[tokio::test]
#[ignore = "the process that the other tests here start"]
async fn child() {
    let Some(file) = std::env::var_os(ADDRESS_FILE).map(PathBuf::from) else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Renamed, so that nobody reads half an address.
    let draft = file.with_extension("draft");
    fs::write(&draft, listener.local_addr().unwrap().to_string()).unwrap();
    fs::rename(draft, file).unwrap();
    let app = Router::new().route("/", on_get(async || "hello"));
    mainstay::serve(listener, app).await.unwrap();
}

#[tokio::test]
async fn a_signal_drains_and_a_second_one_ends_at_once() {
    let (mut process, addr) = Process::start().await;
    process.signal("TERM");
    // The lame duck of the defaults is 5 s: long enough to be seen, and to be cut short.
    soon(async { while get(addr, "/", "").await.header("connection") != Some("close") {} }).await;
    // Those within half a second count as one with the first.
    let mut status = None;
    until(|| {
        process.signal("INT");
        status = process.0.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(!status.unwrap().success(), "a forced end is an error");
}

#[tokio::test]
async fn a_hangup_is_a_stop_like_any_other() {
    let (mut process, _) = Process::start_by(&["env", "--default-signal=HUP"]).await;
    process.signal("HUP");
    assert!(process.end().await.success());
}

#[tokio::test]
async fn a_hangup_that_is_to_be_ignored_is() {
    let (mut process, addr) = Process::start_by(&["env", "--ignore-signal=HUP"]).await;
    process.signal("HUP");
    assert_eq!(get(addr, "/", "").await.header("connection"), None, "it serves on");
    process.signal("TERM");
    assert!(process.end().await.success());
}

#[tokio::test]
async fn an_orderly_end_is_a_success() {
    let (mut process, _) = Process::start().await;
    process.signal("TERM");
    assert!(process.end().await.success());
}
