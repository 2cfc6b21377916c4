//! The binary under test in a folder of its own, and waiting on conditions.

#[path = "../../../mainstay/tests/it/support/authority.rs"]
mod authority;
mod calls;
mod client;
mod collector;
mod guarded;
mod process;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use self::{
    authority::Authority,
    calls::{Calls, calls},
    client::{Answer, Client, Line, Lost, Told, Watcher, get, get_as, order, text, with_json},
    collector::{Collector, Span},
    guarded::{Guarded, Visitor},
    process::{Process, Ran},
};

/// Longer than anything here takes; only a broken test waits that long.
const PATIENCE: Duration = Duration::from_mins(1);

/// `work`, or a failed test when it hangs.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it hangs")
}

/// Looks again and again until there is something to see.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// A folder with a store in it, and how the binary is told to use it.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    folder: Arc<TempDir>,
    store: PathBuf,
    settings: Vec<String>,
    has_keys: bool,
}

impl Home {
    /// An empty folder, where the service makes itself a development key.
    pub(crate) fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let store = folder.path().join("orderly.db");
        let home = Self { folder, store, settings: Vec::new(), has_keys: false };
        // Nobody balances load here, so that a stop need not wait for anybody to notice.
        home.set("lifecycle.lame_duck=0s")
    }

    /// An empty folder with the settings for keys of one's own; there are none yet.
    pub(crate) fn with_keys() -> Self {
        Self::new().keyed()
    }

    /// The same with the settings for keys of one's own; there are none yet.
    pub(crate) fn keyed(self) -> Self {
        let (keys, pepper) = (self.path("keys.toml"), self.path("pepper"));
        let mut home = self
            .set(&format!("auth.keys_file={}", keys.display()))
            .set(&format!("auth.pepper_file={}", pepper.display()));
        home.has_keys = true;
        home
    }

    /// The same with one more `KEY=VALUE`.
    pub(crate) fn set(mut self, setting: &str) -> Self {
        self.settings.extend(["--set".to_owned(), setting.to_owned()]);
        self
    }

    /// The same folder and settings, and another store.
    pub(crate) fn with_store(mut self, name: &str) -> Self {
        self.store = self.path(name);
        self
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// The binary with these arguments, the store and the settings; the environment is empty.
    pub(crate) fn orderly(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderly"));
        command.current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command.args(arguments).arg("--store").arg(&self.store).args(&self.settings);
        command
    }

    /// Runs the binary to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        Process::start(self.orderly(arguments)).end().await
    }

    /// The binary with these arguments in the folder; it knows neither store nor settings.
    pub(crate) fn alone(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderly"));
        command.current_dir(self.folder.path()).env_clear().stdin(Stdio::null()).args(arguments);
        command
    }

    /// Runs such a command to its end.
    pub(crate) async fn run_alone(&self, arguments: &[&str]) -> Ran {
        Process::start(self.alone(arguments)).end().await
    }

    /// A running service, on free ports.
    pub(crate) async fn serve(&self) -> Service {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        Service::start(Process::start(self.orderly(&arguments)), self.has_keys).await
    }

    /// As [`serve`](Self::serve), with its standard error going there.
    pub(crate) async fn serve_logging_to(&self, log: Stdio) -> Service {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let process = Process::start_logging_to(self.orderly(&arguments), log);
        Service::start(process, self.has_keys).await
    }

    /// Makes a key with `orderly key new`.
    pub(crate) async fn new_key(&self, tenant: &str, principal: &str) -> String {
        let ran = self.run(&["key", "new", "--tenant", tenant, "--principal", principal]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.out.trim().to_owned()
    }

    /// What `orderly audit --json` says of a store that must be sound.
    pub(crate) async fn sound(&self) -> Value {
        let ran = self.run(&["audit", "--json"]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(report["findings"], serde_json::json!([]));
        report
    }
}

/// A running service.
#[derive(Debug)]
pub(crate) struct Service {
    process: Process,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The development key, where one was made.
    key: Option<String>,
}

impl Service {
    pub(crate) async fn start(mut process: Process, has_keys: bool) -> Self {
        let last = if has_keys { "/metrics\n" } else { "Ctrl-C stops the service.\n" };
        until("the service says where it is", async || {
            assert!(!process.has_ended(), "the service ended: {}", process.log());
            process.printed().contains(last).then_some(())
        })
        .await;
        let banner = process.printed();
        let after = |text: &str| {
            let rest = banner.split_once(text)?.1;
            rest.split(['/', '\n']).next().map(str::to_owned)
        };
        let api = after("listening on http://").or_else(|| after("listening on https://"));
        let api = api.unwrap().parse().unwrap();
        let admin = after("health   http://").unwrap().parse().unwrap();
        let service = Self { process, api, admin, key: after("  key      ") };
        // The banner comes a moment before the service listens to signals.
        until("the service is ready", async || (service.reasons().await.is_empty()).then_some(()))
            .await;
        service
    }

    /// What it printed when it was up.
    pub(crate) fn banner(&self) -> String {
        self.process.printed()
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// A client with the development key.
    pub(crate) fn client(&self) -> Client {
        self.client_with(self.key.as_ref().expect("a development key"))
    }

    /// A client with this key.
    pub(crate) fn client_with(&self, key: &str) -> Client {
        Client::new(self.api, key)
    }

    /// Why the service is not ready; nothing when it is.
    pub(crate) async fn reasons(&self) -> Vec<String> {
        let answer = get(self.admin, "/readyz").await;
        let reasons = answer.json()["reasons"].as_array().unwrap().iter().map(text).collect();
        assert_eq!(answer.status == 200, answer.json()["ready"] == true);
        reasons
    }

    /// How many requests are under way.
    pub(crate) async fn in_flight(&self) -> usize {
        let value = self.metric("order_service_http_requests_in_flight").await.to_string();
        value.parse().unwrap()
    }

    /// The metrics, as Prometheus reads the older text.
    pub(crate) async fn metrics(&self) -> String {
        get(self.admin, "/metrics").await.text()
    }

    /// The first sample whose line begins so; 0 when there is none.
    pub(crate) async fn metric(&self, begin: &str) -> f64 {
        let metrics = self.metrics().await;
        let mut lines = metrics.lines().filter(|line| line.starts_with(begin));
        lines.next().map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }

    /// The lines of the log that hold this request's id.
    pub(crate) fn logged(&self, request_id: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["request_id"] == request_id).collect()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    pub(crate) fn sigterm(&self) {
        self.process.signal("-TERM");
    }

    /// Ends it as a power cut would, as far as a process can feel one.
    pub(crate) async fn kill9(self) {
        self.process.signal("-KILL");
        let ran = self.end().await;
        assert_eq!(ran.code, None, "{ran:?}");
    }

    /// Waits for its end.
    pub(crate) async fn end(self) -> Ran {
        self.process.end().await
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.sigterm();
        let ran = self.end().await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}
