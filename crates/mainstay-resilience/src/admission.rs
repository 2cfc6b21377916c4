//! Refuses work early that could not be done in time, and gives every tenant its turn.
//!
//! So much is in service at a time; what comes beyond that waits, in a line for each tenant, and
//! the lines take turns. Whoever would wait longer than its deadline allows is refused as it comes,
//! before anything was done for it, and so is whoever finds the queue full, or its tenant's share of
//! it. How long it would wait is predicted from the usual time of service and from how many have
//! their turn before it; what it would wait for afterwards, such as a store's queue, is told by whoever
//! asks. Where the processor is what is short, requests wait before anybody has seen them: whoever serves
//! [tells](Admission::take_up) for how long each did, and once that is too long for a while, what has waited
//! is refused until the line is short again.
//!
//! ```
//! use mainstay_context::Context;
//! use mainstay_resilience::{Jitter, admission::{Admission, Config, Reason}};
//! use std::time::{Duration, Instant};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let admission = Admission::new(Config::default(), Jitter::system());
//! let deadline = Instant::now() + Duration::from_secs(1);
//! let cx = Context::new("one".parse().unwrap()).with_deadline(deadline);
//! let permit = admission.acquire(Some(&cx), Duration::from_millis(10)).await;
//! assert!(permit.is_ok());
//! let refused = admission.acquire(Some(&cx), Duration::from_secs(9)).await.unwrap_err();
//! assert_eq!(refused.reason, Reason::Late);
//! # });
//! ```
//!
//! Guarantees: never more than [`Config::in_service`] permits are out; no tenant is given more than three
//! quarters of those that the others leave, so that of 16 or more one is free for a third tenant however
//! much two ask for, and of 64 or more for a fourth; never more than [`Config::queue`] wait, of one tenant
//! never more than [`Config::queue_per_tenant`]; none waits beyond its deadline or its cancellation, and
//! whoever has no deadline does not wait; while others wait, a tenant gets one place in turn with them,
//! however much it asks for; a permit is free again when it, or the future that holds or waits for it, is
//! dropped.
//!
//! Not guaranteed: that what was let in ends in time: times of service vary, and the prediction is made
//! of the usual one. Nothing is shared between processes.
//!
//! Deliberately absent: a limit that adapts to times of service. One that reads load from latency took a
//! healthy change of it for overload and gave away most of what a service can do.

mod core;
mod lag;
mod layer;

pub use self::{
    lag::Behind,
    layer::{Layer, Service},
};

use self::core::{Ask, Core, Entry, Owner};
use crate::{Jitter, clock};
use mainstay_context::{Activity, Cause, Context};
use std::{
    error::Error,
    fmt,
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// The least time after which to come again.
const SOONEST: Duration = Duration::from_millis(500);
/// What is drawn on top of it, so that those who are refused together do not come back together.
const SPREAD: Duration = Duration::from_millis(2_500);
/// The most of a predicted wait that whoever is refused is told to stay away for.
const LONGEST: Duration = Duration::from_secs(30);

/// How much at a time, and how much that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The most in service at a time, at least 1, and of one tenant at most three quarters of what the
    /// others leave. Default 1,024.
    pub in_service: usize,
    /// The most that wait; one more is refused at once. Default 4,096.
    pub queue: usize,
    /// The most that wait of one tenant. Default 1,024.
    pub queue_per_tenant: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { in_service: 1_024, queue: 4_096, queue_per_tenant: 1_024 }
    }
}

/// Why work was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By what waits before it, it could not be done by its deadline.
    Late,
    /// As much waits as may, or it has no deadline to wait for.
    Full,
    /// As much of its tenant waits as may.
    Share,
    /// The threads are behind, it has waited to be taken up, and its tenant asks for as much as others or
    /// more.
    Behind,
    /// The threads are far behind, and it was refused before anything was known of it.
    Shed,
    /// It ended itself, before its turn came.
    Ended(Cause),
}

impl Reason {
    /// Each, by its name.
    pub const NAMES: [&'static str; 6] = ["late", "full", "share", "behind", "shed", "ended"];

    /// Its name, for people and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Full => "full",
            Self::Share => "share",
            Self::Behind => "behind",
            Self::Shed => "shed",
            Self::Ended(_) => "ended",
        }
    }
}

/// Work was not let in, and nothing was done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why not.
    pub reason: Reason,
    /// When to come again: the wait that was predicted, and a time drawn on top.
    pub retry_after: Duration,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Late => f.write_str("too much waits already for it to be done in time"),
            Reason::Full => f.write_str("too much waits already"),
            Reason::Share => f.write_str("too much of its tenant waits already"),
            Reason::Behind | Reason::Shed => f.write_str("more comes than the processors can do"),
            Reason::Ended(cause) => write!(f, "waiting for its turn: {cause}"),
        }
    }
}

impl Error for Refused {}

/// What became of work that asked to be let in, where that is not simply that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was let in after it had waited this long.
    Waited(Duration),
    /// It was refused.
    Refused(Reason),
}

/// What is known at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How much is in service.
    pub in_service: usize,
    /// How much waits.
    pub waiting: usize,
    /// Of how many tenants.
    pub tenants: usize,
    /// The usual time of service of late; zero before the first.
    pub usual: Duration,
    /// How far the threads are behind.
    pub behind: Behind,
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

type Listener = Arc<dyn Fn(Told) + Send + Sync>;

/// So much in service at a time, and a queue before it. Clones share both.
#[derive(Clone)]
pub struct Admission {
    shared: Arc<Shared>,
    listener: Option<Listener>,
}

#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    jitter: Jitter,
    /// Who owns what nobody does.
    nobody: Owner,
}

impl Admission {
    /// Nothing in service yet; `jitter` spreads the times after which to come again.
    pub fn new(config: Config, jitter: Jitter) -> Self {
        let core = Mutex::new(Core::new(config, processors()));
        Self { shared: Arc::new(Shared { core, jitter, nobody: "".into() }), listener: None }
    }

    /// Tells `listener` what becomes of those who ask this clone, and clones made of it. It is called
    /// outside the lock, and not for those who are let in at once.
    #[must_use]
    pub fn with_listener(mut self, listener: impl Fn(Told) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Waits for a permit in the turn of the tenant of `cx`, if that and what is waited for `beyond` it
    /// can be over by its deadline. What `cx` has been [queued](Activity::Queued) for until then is how long
    /// it waited to be taken up.
    ///
    /// # Errors
    ///
    /// Fails when it could not be, the queue is full, or the call has ended.
    pub async fn acquire(&self, cx: Option<&Context>, beyond: Duration) -> Result<Permit, Refused> {
        let now = clock::now();
        if let Some(cause) = cx.and_then(|cx| cx.ended(now)) {
            return Err(self.refused(Reason::Ended(cause), Duration::ZERO));
        }
        let owner = cx.and_then(Context::principal).map(|principal| &principal.tenant);
        let owner = owner.unwrap_or(&self.shared.nobody);
        let deadline = cx.and_then(Context::deadline);
        let waited = cx.map_or(Duration::ZERO, |cx| cx.spent(Activity::Queued, now));
        let ask = Ask { owner, deadline, waited, beyond };
        let entry = self.shared.core().enter(&ask, now);
        let place = match entry {
            Ok(Entry::Served) => return Ok(Permit::new(&self.shared, owner, now)),
            Ok(Entry::Queued(number, called)) => {
                let (shared, owner) = (Arc::clone(&self.shared), Arc::clone(owner));
                Place { shared, owner, number, called, is_served: false }
            }
            Err((reason, wait)) => return Err(self.refused(reason, wait)),
        };
        let _queued = Queued::begin(cx, now);
        let permit = place.served(cx).await;
        let permit = permit.map_err(|cause| self.refused(Reason::Ended(cause), Duration::ZERO))?;
        self.tell(Told::Waited(permit.since.saturating_duration_since(now)));
        Ok(permit)
    }

    /// Tells that a request is taken up which has waited for so long to be read. To be asked of each before
    /// anything is done for it: without it nobody is refused for [`Reason::Behind`] or [`Reason::Shed`].
    ///
    /// # Errors
    ///
    /// Fails when it is not to be served, because the threads are [far](Behind::Far) behind.
    pub fn take_up(&self, waited: Duration) -> Result<(), Refused> {
        let mut core = self.shared.core();
        let in_service = core.in_service();
        let is_late = core.lag.takes_up(waited, in_service, clock::now());
        drop(core);
        if is_late { Err(self.refused(Reason::Shed, waited)) } else { Ok(()) }
    }

    fn refused(&self, reason: Reason, wait: Duration) -> Refused {
        self.tell(Told::Refused(reason));
        Refused { reason, retry_after: self.retry_after(wait) }
    }

    /// When whoever would have waited this long is to come again: also for those who are refused by what is
    /// behind this.
    pub fn retry_after(&self, wait: Duration) -> Duration {
        SOONEST + wait.min(LONGEST) + self.shared.jitter.up_to(SPREAD)
    }

    fn tell(&self, told: Told) {
        if let Some(listener) = &self.listener {
            listener(told);
        }
    }

    /// What it knows now.
    pub fn snapshot(&self) -> Snapshot {
        let core = self.shared.core();
        Snapshot {
            in_service: core.in_service(),
            waiting: core.waiting(),
            tenants: core.owners(),
            usual: core.usual(),
            behind: core.lag.behind(),
        }
    }
}

/// Shows nobody's name.
impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admission").field(&self.snapshot()).finish()
    }
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        // Nothing in there panics half-way, so a poisoned lock still guards what is sound.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a place that one of this owner left to whose turn it is.
    fn hand_on(&self, owner: &Owner, now: Instant) {
        let mut next = self.core().next(owner, now);
        while let Some((owner, called)) = next {
            next = if called.send(()).is_ok() {
                self.core().more(now)
            } else {
                // Whoever has left the queue meanwhile is passed over.
                self.core().next(&owner, now)
            };
        }
    }
}

/// The leave to be served, until it is dropped.
#[derive(Debug)]
#[must_use = "the place is free again when it is dropped"]
pub struct Permit {
    shared: Arc<Shared>,
    owner: Owner,
    since: Instant,
}

impl Permit {
    fn new(shared: &Arc<Shared>, owner: &Owner, since: Instant) -> Self {
        Self { shared: Arc::clone(shared), owner: Arc::clone(owner), since }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = clock::now();
        self.shared.core().served(now.saturating_duration_since(self.since));
        self.shared.hand_on(&self.owner, now);
    }
}

/// A place in the queue; whoever drops it has left.
struct Place {
    shared: Arc<Shared>,
    owner: Owner,
    number: u64,
    called: oneshot::Receiver<()>,
    is_served: bool,
}

impl Place {
    /// Waits for the turn, or for the end of the call.
    async fn served(mut self, cx: Option<&Context>) -> Result<Permit, Cause> {
        let called = tokio::select! {
            biased;
            called = &mut self.called => called,
            cause = clock::ended(cx) => return Err(cause),
        };
        // Its turn came after its time was spent.
        called.map_err(|_passed_over| Cause::DeadlineExceeded)?;
        self.is_served = true;
        Ok(Permit::new(&self.shared, &self.owner, clock::now()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_served {
            return;
        }
        self.called.close();
        if self.called.try_recv().is_ok() {
            // Its turn came in the very moment in which it left.
            self.shared.hand_on(&self.owner, clock::now());
        } else {
            self.shared.core().leave(&self.owner, self.number);
        }
    }
}

/// Says of a call that it waits, for as long as it does.
struct Queued<'a>(Option<&'a Context>);

impl<'a> Queued<'a> {
    fn begin(cx: Option<&'a Context>, now: Instant) -> Self {
        if let Some(cx) = cx {
            cx.enter(Activity::Queued, now);
        }
        Self(cx)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if let Some(cx) = self.0 {
            cx.enter(Activity::Working, clock::now());
        }
    }
}

#[cfg(test)]
mod tests;
