//! The program: its listeners, its settings, its end.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use http_body_util::Full;
use tempfile::TempDir;

use crate::support::{request, send};

/// The program itself.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Process {
    pub(crate) fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway-sim"));
        command.args(["serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"]);
        command.arg("--ledger").arg(folder.join("ledger.db"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let told: Vec<String> = lines.take(4).collect();
        let address = |line: &str| {
            let address = line.rsplit("http://").next().unwrap();
            address.split('/').next().unwrap().parse().unwrap()
        };
        Self { child, address: address(&told[0]), admin: address(&told[3]) }
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill().is_ok();
        let _ended = self.child.wait().is_ok();
    }
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway-sim"));
    command.args(arguments).envs(variables.iter().copied()).output().unwrap()
}

#[tokio::test]
async fn it_serves_the_contract_and_its_operators_on_two_listeners() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path());
    let get = async |address, path: &str| {
        send(address, request("GET", path).body(Full::default()).unwrap()).await.unwrap()
    };
    assert_eq!(get(process.address, "/v1/capabilities").await.json()["contract"], "1");
    assert_eq!(get(process.admin, "/readyz").await.status, 200);
    let metrics = get(process.admin, "/metrics").await.text();
    assert!(metrics.contains("gateway_sim_http_request_duration_seconds_count{"), "{metrics}");
    let status = get(process.admin, "/status").await.json();
    assert!(status.to_string().contains("\"rates\""), "{status}");
}

#[test]
fn settings_come_from_a_file_the_environment_and_flags_and_secrets_are_not_shown() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("sim.toml");
    std::fs::write(&file, "[faults]\nseed = 7\nhang = \"3s\"\n[faults.rates]\nhang = 0.25\n")
        .unwrap();
    let shown = run(
        &["config", "print", "--config", file.to_str().unwrap(), "--set", "faults.hang=4s"],
        &[
            ("GATEWAY_SIM__HTTP__SECRET", "a-secret-from-outside"),
            ("GATEWAY_SIM__LEDGER__IDEMPOTENCY_WINDOW", "2h"),
        ],
    );
    let text = String::from_utf8(shown.stdout).unwrap();
    for line in
        ["seed = 7", "hang = \"4s\"", "hang = 0.25", "idempotency_window = \"2h\"", "[hidden]"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("a-secret-from-outside"), "{text}");
}

#[test]
fn what_is_not_safe_or_not_possible_is_refused_by_its_key() {
    for (setting, key) in [
        ("http.listen=0.0.0.0:0", "http.listen"),
        ("http.secret=short", "http.secret"),
        ("faults.rates.hang=2.0", "faults.rates"),
        ("webhooks.url=https://shop.example/hooks", "webhooks.url"),
        ("webhooks.secret=whsec_c2hvcnQ=", "webhooks.secret"),
        ("ledger.idempotency_window=0s", "ledger.idempotency_window"),
        ("admin.listen=0.0.0.0:0", "admin.listen"),
        ("faults.rates.gremlins=0.5", "faults.rates"),
    ] {
        let ended = run(&["serve", "--set", setting], &[]);
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{setting}: {told}");
        assert!(told.contains(key), "{setting}: {told}");
    }
}

#[test]
fn the_reference_of_all_settings_can_be_loaded() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("sim.toml");
    std::fs::write(&file, run(&["config", "print", "--defaults"], &[]).stdout).unwrap();
    let shown = run(&["config", "print", "--config", file.to_str().unwrap()], &[]);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
}
