//! Processes of servers: under which account, how they end, and what their log says.

use std::{
    fs::{self, File},
    io,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

/// Who runs the servers when the tests are root's: PostgreSQL and PgBouncer refuse to be root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// The user `postgres`, or `nobody`; none unless the tests are root's.
    pub(super) fn of_servers() -> Option<Self> {
        if fs::metadata("/proc/self").expect("/proc, so Linux").uid() != 0 {
            return None;
        }
        let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
        let account = |name: &str| {
            let fields: Vec<_> =
                users.lines().map(|line| line.split(':').collect::<Vec<_>>()).collect();
            let user = fields.into_iter().find(|fields| fields.first() == Some(&name))?;
            Some(Self { uid: user.get(2)?.parse().ok()?, gid: user.get(3)?.parse().ok()? })
        };
        Some(account("postgres").or_else(|| account("nobody")).expect("a user postgres or nobody"))
    }
}

/// `program` in `directory`, under the account of the servers. It gets `signal` when this process
/// ends, provided that a [`Process`] is made of it.
pub(super) fn command(program: &Path, signal: &str, directory: &Path) -> Command {
    of(Account::of_servers(), program, signal, directory)
}

/// The same under the account of the tests, for what lies where only they can read.
pub(super) fn command_as_self(program: &Path, signal: &str, directory: &Path) -> Command {
    of(None, program, signal, directory)
}

fn of(account: Option<Account>, program: &Path, signal: &str, directory: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]).current_dir(directory);
    if let Some(Account { uid, gid }) = account {
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
    }
    command.arg("--").arg(program);
    command
}

/// What a command that must succeed prints.
pub(super) fn output(command: &mut Command) -> String {
    output_from(command, Stdio::null())
}

/// The same of one that reads from there.
pub(super) fn output_from(command: &mut Command, input: impl Into<Stdio>) -> String {
    let output = command
        .stdin(input)
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}; run `make setup`"));
    assert!(
        output.status.success(),
        "{command:?} failed, {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("output in UTF-8").trim_end().to_owned()
}

/// A server's process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it prints goes to `log`.
    pub(super) fn start(name: &'static str, mut command: Command, log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("a log file");
        // A process group of its own: Ctrl-C is for the tests, whose end ends the server.
        command
            .stdin(Stdio::null())
            .stderr(output.try_clone().expect("a second handle of the log"))
            .stdout(output)
            .process_group(0);
        let child = spawn(command)
            .unwrap_or_else(|error| panic!("{name} does not start: {error}; run `make setup`"));
        Self { name, child, log: log.to_owned() }
    }

    /// Returns once it is ready.
    ///
    /// # Panics
    /// When it ends before, or is not ready within a minute.
    pub(super) fn until(&mut self, mut ready: impl FnMut() -> bool) {
        let in_time = within_a_minute(|| {
            if let Some(status) = self.child.try_wait().expect("its state") {
                panic!(
                    "{} ended, {status}; does `make setup` help?\n{}",
                    self.name,
                    self.log_end()
                );
            }
            ready()
        });
        assert!(in_time, "{} is not ready after a minute\n{}", self.name, self.log_end());
    }

    /// Sends it a signal and returns once it has ended.
    pub(super) fn stop(mut self, signal: &str) {
        let id = self.child.id().to_string();
        // The shell's own `kill`: the standard library sends no other signal than KILL.
        output(Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "kill", signal, &id]));
        let ended = within_a_minute(|| self.child.try_wait().expect("its state").is_some());
        assert!(ended, "{} goes on a minute after {signal}\n{}", self.name, self.log_end());
    }

    fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let skipped = lines.len().saturating_sub(30);
        format!("the end of {}:\n{}", self.log.display(), lines[skipped..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The place of a process that can be stopped and started again.
#[derive(Debug, Default)]
pub(super) struct Place(Mutex<Option<Process>>);

impl Place {
    /// Puts a process there.
    ///
    /// # Panics
    /// When one is there.
    pub(super) fn fill(&self, start: impl FnOnce() -> Process) {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(place.is_none(), "it is running");
        *place = Some(start());
    }

    /// Stops the process there, if any.
    pub(super) fn empty(&self, signal: &str) {
        let process = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(process) = process {
            process.stop(signal);
        }
    }

    /// Returns once the process there is ready.
    ///
    /// # Panics
    /// When none is there, it ends before, or is not ready within a minute.
    pub(super) fn until(&self, ready: impl FnMut() -> bool) {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        place.as_mut().expect("it was started").until(ready);
    }
}

/// Asks again and again until the answer is yes; says whether it was within a minute.
#[expect(clippy::disallowed_methods, reason = "a server is waited for outside any runtime")]
pub(super) fn within_a_minute(mut holds: impl FnMut() -> bool) -> bool {
    const PAUSE: Duration = Duration::from_millis(25);
    const TRIES: u32 = 2_400;
    (0..TRIES).any(|_| {
        holds() || {
            thread::sleep(PAUSE);
            false
        }
    })
}

/// Starts a process from a thread that ends only with this process. The kernel's signal to a child is
/// due when the *thread* that started it ends, and threads of tests end early.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, SyncSender<io::Result<Child>>);
    static SPAWNER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, taken) = sync_channel::<Order>(1);
        thread::spawn(move || {
            for (mut command, answer) in taken {
                answer.send(command.spawn()).expect("whoever orders a process waits for it");
            }
        });
        orders
    });
    let (answer, answered) = sync_channel(1);
    spawner.send((command, answer)).expect("the spawner never ends");
    answered.recv().expect("the spawner never ends")
}
