//! The parts of the demonstration: a provider in this process, and the service as a child of it.

use std::{
    cell::RefCell,
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use gateway_sim::{DEVELOPMENT_SECRET, Sim};
use tempfile::TempDir;

use super::{client::Client, patience::until};
use crate::console::Failure;

/// How long the service may take to be up.
const STARTING: Duration = Duration::from_secs(30);
/// How long a command of ours may take.
const RUNNING: Duration = Duration::from_mins(1);

/// The last line of what the service says when it is up with a key for development.
const UP: &str = "Ctrl-C stops the service.";

/// Where everything is kept: in a folder that goes with this, or in one that stays.
#[derive(Debug)]
pub(super) enum Folder {
    Passing(TempDir),
    Staying(PathBuf),
}

impl Folder {
    /// The folder that is named, which must be new or empty; else one for this run only.
    pub(super) fn new(named: Option<&Path>) -> Result<Self, Failure> {
        let Some(folder) = named else {
            return Ok(Self::Passing(tempfile::Builder::new().prefix("orderly-demo-").tempdir()?));
        };
        let cannot = |error| format!("cannot use {}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(cannot)?;
        if fs::read_dir(folder).map_err(cannot)?.next().is_some() {
            return Err(format!("{} is not empty: name a new folder", folder.display()).into());
        }
        // The service is started in it, so that a relative path would lead elsewhere.
        Ok(Self::Staying(folder.canonicalize().map_err(cannot)?))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Passing(folder) => folder.path(),
            Self::Staying(folder) => folder,
        }
    }

    /// Keeps it, for whoever wants to know what went wrong.
    pub(super) fn keep(self) -> PathBuf {
        match self {
            Self::Passing(folder) => folder.keep(),
            Self::Staying(folder) => folder,
        }
    }
}

/// The service under way. Dropping it kills it.
#[derive(Debug)]
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The provider, and the service that pays through it.
#[derive(Debug)]
pub(super) struct Stage {
    folder: PathBuf,
    pub(super) sim: Sim,
    service: RefCell<Option<Service>>,
    /// Where the service listens, once that is known: the same after every start.
    address: RefCell<Option<SocketAddr>>,
}

impl Stage {
    /// Starts the provider. The service is started by [`start`](Self::start).
    pub(super) async fn new(folder: &Path, seed: u64) -> Result<Self, Failure> {
        let mut config = gateway_sim::Config::default();
        config.http.listen = ([127, 0, 0, 1], 0).into();
        config.ledger.path = folder.join("gateway-sim.db");
        config.faults.seed = seed;
        // As long as a provider may need, and short enough for somebody who watches.
        config.faults.hang = Duration::from_millis(1_500);
        config.faults.late = Duration::from_millis(300);
        config.faults.drip = Duration::from_millis(1);
        config.faults.burst = 2;
        config.faults.huge_bytes = 1 << 20;
        let sim = Sim::start(config).await?;
        fs::write(folder.join("gateway-secret"), DEVELOPMENT_SECRET)?;
        let (service, address) = (RefCell::default(), RefCell::default());
        Ok(Self { folder: folder.to_owned(), sim, service, address })
    }

    /// Starts the service, and waits until it is up; tells its process id and a client of it.
    pub(super) async fn start(&self) -> Result<(u32, Client), Failure> {
        let printed = self.folder.join("orderly.out");
        let log =
            File::options().create(true).append(true).open(self.folder.join("orderly.log"))?;
        let listen = *self.address.borrow();
        let listen = listen.unwrap_or_else(|| ([127, 0, 0, 1], 0).into()).to_string();
        let mut command = self.orderly("serve")?;
        command.args(["--listen", &listen, "--admin-listen", "127.0.0.1:0"]);
        command.args(["--set", "lifecycle.lame_duck=0s"]);
        command.args(["--set", &format!("gateway.client.base_url={}", self.sim.url())]);
        command.args(["--set", "gateway.client.try_timeout=1s"]);
        command.args(["--set", "gateway.secret_file=gateway-secret"]);
        command.stdout(File::create(&printed)?).stderr(log);
        // Not in our group: Ctrl-C is for us, and we end it.
        command.process_group(0);
        let service = Service(command.spawn()?);
        let pid = service.0.id();
        *self.service.borrow_mut() = Some(service);
        let banner = until("the service is up", STARTING, async || {
            let printed = fs::read_to_string(&printed).unwrap_or_default();
            let ended = self.has_ended();
            (printed.contains(UP) || ended).then_some(printed)
        })
        .await?;
        let (address, key) = read(&banner).ok_or_else(|| {
            let log = self.folder.join("orderly.log");
            format!("the service did not start; see {}", log.display())
        })?;
        *self.address.borrow_mut() = Some(address);
        Ok((pid, Client::new(address, key)?))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Kills the service as a power cut would, as far as a process can feel one.
    pub(super) fn kill(&self) {
        drop(self.service.borrow_mut().take());
    }

    fn has_ended(&self) -> bool {
        let mut service = self.service.borrow_mut();
        service.as_mut().is_none_or(|service| !matches!(service.0.try_wait(), Ok(None)))
    }

    /// Runs a command on the store beside the service, to its end.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<(ExitStatus, String), Failure> {
        let (first, rest) = arguments.split_first().ok_or("no command")?;
        let mut command = self.orderly(first)?;
        command.args(rest).stdout(Stdio::piped()).stderr(Stdio::piped());
        let run = tokio::task::spawn_blocking(move || command.output());
        let late = |_| format!("orderly {first} does not end");
        let Output { status, stdout, stderr } =
            tokio::time::timeout(RUNNING, run).await.map_err(late)???;
        let text = [stdout, stderr].concat();
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }

    /// This very program, on the store of the demonstration, and knowing nothing of other settings.
    fn orderly(&self, command: &str) -> Result<Command, Failure> {
        let mut orderly = Command::new(std::env::current_exe()?);
        orderly.current_dir(&self.folder).env_clear().stdin(Stdio::null()).arg(command);
        orderly.arg("--store").arg(self.folder.join("orderly.db"));
        Ok(orderly)
    }

    /// Stops both.
    pub(super) async fn end(self) {
        self.kill();
        self.sim.stop().await;
    }
}

/// Where the service listens, and its key.
fn read(banner: &str) -> Option<(SocketAddr, String)> {
    let after = |text: &str| banner.split_once(text)?.1.split(['/', '\n']).next();
    Some((after("listening on http://")?.parse().ok()?, after("  key      ")?.to_owned()))
}
