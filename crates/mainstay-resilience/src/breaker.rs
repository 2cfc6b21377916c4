//! Refuses calls to a dependency that fails or is slow, until it answers again.
//!
//! Closed means calls flow, open means calls are refused. It opens on a number of failures in a
//! row, on a ratio of failures, or on a ratio of slow calls; the ratios are of a ring of time
//! buckets and need a least number of calls. After a time that grows with every opening, drawn
//! with full jitter and never shorter than a `Retry-After` (up to [`Config::open_most`]), a few
//! probes are let through; when all succeed it closes.
//!
//! ```
//! use mainstay_resilience::{Jitter, breaker::{Breaker, Config, Outcome, State}};
//! use std::time::{Duration, Instant};
//!
//! let now = Instant::now();
//! let breaker = Breaker::new(Config::default(), Jitter::system(), now);
//! while let Ok(permit) = breaker.admit(now) {
//!     permit.finish(Outcome::FAILURE, now);
//! }
//! assert_eq!(breaker.state(now), State::Open);
//! assert_eq!(breaker.state(now + Duration::from_secs(2)), State::HalfOpen);
//! ```
//!
//! Guarantees: no number of old successes hides new failures; while half-open never more than
//! [`Config::probes`] calls are out, and one that hangs longer than [`Config::probe_timeout`] is a
//! failure; what began before the state changed cannot change it; a [`Permit`] that is dropped
//! frees its place and counts for nothing.
//!
//! Not guaranteed: that calls whose callers give up early are counted, since nobody knows what
//! would have become of them: let the time limit of a try be shorter than the patience of callers.
//! A state is not shared between processes. Nothing runs by itself: what time decides is seen when
//! somebody calls or looks.

mod core;
mod keyed;
mod layer;
mod window;

pub use self::keyed::{Key, Set};
pub use self::layer::{Layer, ResponseFuture, Service};

use self::core::{Core, Ticket};
use crate::Jitter;
use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// When a breaker opens, for how long, and how it closes.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The failures in a row that open it; `None` for no such limit. Default 5.
    pub consecutive_failures: Option<u32>,
    /// The part of the calls whose failure opens it; above 1 for no such limit. Default 0.5.
    pub failure_ratio: f64,
    /// From this time on a call is slow. Default 1 s.
    pub slow_call: Duration,
    /// The part of the calls whose slowness opens it; above 1 for no such limit. Default 0.8.
    pub slow_ratio: f64,
    /// The time over which ratios are taken; it is forgotten by tenths. Default 10 s.
    pub window: Duration,
    /// The least calls in the window for a ratio to mean anything. Default 20.
    pub least_calls: u32,
    /// The least time it stays open; the first time lasts at most twice as long. Default 1 s.
    pub open_least: Duration,
    /// The most time it stays open, also when a `Retry-After` asks for more. Default 10 s: so soon is
    /// a dependency used again that was away for long.
    pub open_most: Duration,
    /// How many calls are tried when it is half-open, and must succeed to close it. Default 3.
    pub probes: u32,
    /// How long a probe may take before it counts as failed. Default 5 s.
    pub probe_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            consecutive_failures: Some(5),
            failure_ratio: 0.5,
            slow_call: Duration::from_secs(1),
            slow_ratio: 0.8,
            window: Duration::from_secs(10),
            least_calls: 20,
            open_least: Duration::from_secs(1),
            open_most: Duration::from_secs(10),
            probes: 3,
            probe_timeout: Duration::from_secs(5),
        }
    }
}

/// How a call ended, as far as the health of the dependency is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered as it should.
    Success,
    /// It was not, and that is the dependency's fault.
    Failure {
        /// How long the dependency asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// It was refused for what it asked (4xx, a declined card): no part of any ratio, but a probe
    /// that is refused has found somebody who answers.
    Declined,
    /// It says nothing about the dependency, such as when its caller went away.
    Ignored,
}

impl Outcome {
    /// A failure that says nothing of when to come back.
    pub const FAILURE: Self = Self::Failure { retry_after: None };

    fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Failure { retry_after } => retry_after,
            Self::Success | Self::Declined | Self::Ignored => None,
        }
    }
}

/// Whether calls flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls flow.
    Closed,
    /// A few calls are tried, the others refused.
    HalfOpen,
    /// Calls are refused.
    Open,
}

impl State {
    /// Its name, for people and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// What an operator has decided, whatever the results say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forced {
    /// Refuse all calls.
    Open,
    /// Let all calls flow, and count none.
    Closed,
}

/// A state that became another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state from then on; the same when it was only forced to stay.
    pub to: State,
    /// What an operator has decided, if that is why.
    pub forced: Option<Forced>,
}

/// What a breaker knows at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether calls flow.
    pub state: State,
    /// What an operator has decided.
    pub forced: Option<Forced>,
    /// The calls counted in the window; none unless closed.
    pub calls: u32,
    /// Those of them that failed.
    pub failures: u32,
    /// Those of them that were slow.
    pub slow: u32,
    /// When calls are tried again, if it is open by itself.
    pub retry_in: Option<Duration>,
    /// How often it has opened by itself.
    pub opened: u64,
}

/// A call was not made: the breaker is open, or half-open with its probes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When calls are tried again; `None` when a probe or an operator decides that.
    pub retry_in: Option<Duration>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("circuit open")
    }
}

impl Error for Refused {}

type Listener = Arc<dyn Fn(Change) + Send + Sync>;

/// A circuit breaker. Clones are the same one.
#[derive(Clone)]
pub struct Breaker {
    core: Arc<Mutex<Core>>,
    listener: Option<Listener>,
}

impl Breaker {
    /// A closed breaker whose open times are drawn from `jitter`.
    pub fn new(config: Config, jitter: Jitter, now: Instant) -> Self {
        Self { core: Arc::new(Mutex::new(Core::new(config, jitter, now))), listener: None }
    }

    /// Tells `listener` of every change that this clone, and clones made of it, bring about.
    /// It is called outside the lock, so that changes of two threads may be told in either order.
    #[must_use]
    pub fn with_listener(mut self, listener: impl Fn(Change) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Lets a call through, or refuses it.
    ///
    /// # Errors
    ///
    /// Fails when the breaker is open, or half-open and its probes are out.
    pub fn admit(&self, now: Instant) -> Result<Permit, Refused> {
        let ticket = self.with(|core| core.admit(now))?;
        Ok(Permit { breaker: self.clone(), ticket: Some(ticket) })
    }

    /// Overrules the results until it is called with `None`; then the breaker is closed, and counts
    /// from nothing.
    pub fn force(&self, forced: Option<Forced>, now: Instant) {
        self.with(|core| core.force(forced, now));
    }

    /// What it knows at `now`.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        self.with(|core| core.snapshot(now))
    }

    /// Whether calls flow at `now`.
    pub fn state(&self, now: Instant) -> State {
        self.snapshot(now).state
    }

    fn with<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.lock();
        let result = act(&mut core);
        let changes = core.take_changes();
        drop(core);
        if let Some(listener) = &self.listener {
            for change in changes {
                listener(change);
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Breaker").field(&self.lock()).finish()
    }
}

/// The leave to make one call. Dropped without a result it counts for nothing, and a probe's place
/// is free again.
#[derive(Debug)]
#[must_use = "the call is not counted without its result"]
pub struct Permit {
    breaker: Breaker,
    /// Taken when the result is told.
    ticket: Option<Ticket>,
}

impl Permit {
    /// Tells how the call ended.
    pub fn finish(mut self, outcome: Outcome, now: Instant) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.with(|core| core.finish(&ticket, outcome, now));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.with(|core| core.release(&ticket));
        }
    }
}
