//! From start to stop: the phases of a process, its readiness, and a shutdown nothing can hold up.
//!
//! `Starting → Ready → LameDuck → Draining → Flushing → Stopped`, never backwards. Guarantees:
//! each phase of the shutdown has a budget; a fatal error ends the process within about a
//! second; a second stop ends it at once; a report says what was cut.
//!
//! The admin listener can be served from the first moment ([`Lifecycle::serve_admin`]); what the start
//! takes, it shows as unready. [`Lifecycle::run`] declares the process ready.
//!
//! A task that blocks its thread is named and left behind. Dropping a Tokio runtime, which is the end
//! of `#[tokio::main]`, waits for such a thread all the same: a process in which one may exist ends
//! its runtime by `Runtime::shutdown_background`.
//!
//! A service manager that sets `NOTIFY_SOCKET` is told `READY=1` and `STOPPING=1`.
//!
//! Readiness checks are for local conditions only: a check of a shared dependency would take the
//! whole fleet down together.

mod notify;
mod report;
mod shutdown;
mod signals;

pub use self::report::{End, Report};
pub use self::signals::{Signals, stop_signal};

use crate::{server::Mode, tasks::Tasks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::TaskTracker;

/// How often it is noted that the runtime runs tasks.
const BEAT: Duration = Duration::from_secs(1);

/// Where a process stands between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Not yet able to serve.
    Starting,
    /// Serving.
    Ready,
    /// Still serving, but telling load balancers and clients to go elsewhere.
    LameDuck,
    /// Finishing requests in flight and work in hand; streams end.
    Draining,
    /// Finishing background tasks, which the work could rely on until now.
    Flushing,
    /// Done.
    Stopped,
}

/// The name in reports, metrics and logs: lower case, words joined by a hyphen.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::LameDuck => "lame-duck",
            Self::Draining => "draining",
            Self::Flushing => "flushing",
            Self::Stopped => "stopped",
        })
    }
}

/// The budgets of a shutdown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long to serve while unready, so that load balancers notice. Default 5 s; 0 is allowed.
    #[serde(with = "crate::config::duration::Text")]
    pub lame_duck: Duration,
    /// The most time for requests in flight and work in hand. Default 10 s.
    #[serde(with = "crate::config::duration::Text")]
    pub drain: Duration,
    /// The most time for background tasks. Default 5 s.
    #[serde(with = "crate::config::duration::Text")]
    pub flush: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lame_duck: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            flush: Duration::from_secs(5),
        }
    }
}

/// A condition of readiness: `Err` says in words why the process is not ready.
pub type ReadinessCheck = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The phase, readiness and background tasks of one process. Clones share them.
#[derive(Clone)]
pub struct Lifecycle(Arc<Shared>);

struct Shared {
    config: Config,
    started: Instant,
    phase: watch::Sender<Phase>,
    /// When the phase was entered.
    since: Mutex<Instant>,
    /// When the runtime last ran a task; nothing before [`Lifecycle::run`].
    beat: Mutex<Option<Instant>>,
    /// How often a stop was asked for.
    stops: watch::Sender<u32>,
    failure: watch::Sender<Option<String>>,
    checks: Mutex<Vec<(String, ReadinessCheck)>>,
    tasks: Tasks,
    /// Those of the tasks that the drain waits for.
    work: TaskTracker,
    /// What serves, the admin listener included; not among the tasks, which end before it.
    servers: Tasks,
    admin_mode: watch::Sender<Mode>,
}

impl Lifecycle {
    /// A process that is starting.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Shared {
            config,
            started: Instant::now(),
            since: Mutex::new(Instant::now()),
            beat: Mutex::default(),
            phase: watch::Sender::new(Phase::Starting),
            stops: watch::Sender::new(0),
            failure: watch::Sender::new(None),
            checks: Mutex::default(),
            tasks: Tasks::new(),
            work: TaskTracker::new(),
            servers: Tasks::new(),
            admin_mode: watch::Sender::new(Mode::Open),
        }))
    }

    /// Where the process stands.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// How long the process has been in its phase.
    pub fn phase_age(&self) -> Duration {
        self.0.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// How long ago this lifecycle was made, which is the start of the process or soon after.
    pub fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// How long ago the runtime of [`run`](Self::run) last ran a task of ours, which is asked to
    /// run each second; `None` before that.
    pub(crate) fn last_beat(&self) -> Option<Duration> {
        self.0.beat.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    /// Notes again and again that the runtime runs tasks, until the end.
    pub(crate) async fn beat(&self) {
        let mut ended = false;
        while !ended {
            *self.0.beat.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            ended = tokio::time::timeout(BEAT, self.reached(Phase::Stopped)).await.is_ok();
        }
    }

    /// Follows the phases; a reader that looks late sees the latest only.
    pub fn subscribe(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    /// Waits until the process is in `phase` or past it.
    ///
    /// A background task ends at [`Phase::Flushing`], a stream of a client and
    /// [work](Self::spawn_work) at [`Phase::Draining`].
    pub async fn reached(&self, phase: Phase) {
        // Cannot fail: `self` holds the sender.
        let _reached = self.subscribe().wait_for(|now| *now >= phase).await.is_ok();
    }

    /// The owner of the background tasks, which get the time of [`Config::flush`] at the end.
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// Runs `work` as one of the [tasks](Self::tasks) which takes nothing new from
    /// [`Phase::Draining`] on and ends with what it has in hand: that phase lasts until it has, or
    /// its budget is spent. Whatever is still needed for it is to be kept until [`Phase::Flushing`].
    ///
    /// # Panics
    ///
    /// Panics outside a Tokio runtime.
    pub fn spawn_work(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let in_hand = self.0.work.token();
        self.tasks().spawn(name, async move {
            work.await;
            drop(in_hand);
        });
    }

    /// Waits until all work has ended.
    async fn work_ended(&self) {
        self.0.work.close();
        self.0.work.wait().await;
    }

    /// Makes readiness depend on `check`, which must be quick and ask for local conditions only.
    pub fn add_readiness_check(&self, name: impl Into<String>, check: ReadinessCheck) {
        let mut checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.push((name.into(), check));
    }

    /// Why the process is not ready, one reason each; empty when it is.
    pub fn unready_reasons(&self) -> Vec<String> {
        let phase = self.phase();
        let mut reasons = Vec::new();
        if phase != Phase::Ready {
            reasons.push(format!("phase: {phase}"));
        }
        reasons.extend(self.failure().map(|reason| format!("failed: {reason}")));
        // Copied, so that a check may take its time, or register another, without the lock.
        let checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let failed = |(name, check): (String, ReadinessCheck)| {
            check().err().map(|reason| format!("{name}: {reason}"))
        };
        reasons.extend(checks.into_iter().filter_map(failed));
        reasons
    }

    /// Reports that a part failed for good: the process is unready at once, and
    /// [`run`](Self::run) ends as failed within about a second. The first reason stays.
    pub fn fail(&self, reason: impl Into<String>) {
        self.0.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| reason.into());
            first
        });
    }

    /// Asks for an orderly stop; asked a second time, [`run`](Self::run) ends at once.
    pub fn stop(&self) {
        self.0.stops.send_modify(|stops| *stops += 1);
    }

    fn failure(&self) -> Option<String> {
        self.0.failure.borrow().clone()
    }

    /// Moves on to `phase`, never back.
    pub(crate) fn advance(&self, phase: Phase) {
        let moved = self.0.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
        if moved {
            *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            tracing::info!(%phase, "phase entered");
            notify::phase(phase);
        }
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_never_go_back() {
        let lifecycle = Lifecycle::new(Config::default());
        assert_eq!(lifecycle.phase(), Phase::Starting);
        assert_eq!(lifecycle.unready_reasons(), ["phase: starting"]);
        lifecycle.advance(Phase::Ready);
        assert!(lifecycle.unready_reasons().is_empty());
        lifecycle.advance(Phase::Draining);
        lifecycle.advance(Phase::Ready);
        assert_eq!(lifecycle.phase(), Phase::Draining);
    }
}
