//! Bounds how much may be asked in a time, for each key by itself.
//!
//! A limit is a [`Rate`]: so much in a time, and so much at once. What is asked has a cost, and each key
//! is counted by GCRA in whole nanoseconds: one number for a key, which says until when all that was
//! asked is paid for. Who asks too much is told when to come back ([`Limiter::check`]), or waits as long
//! as its deadline allows ([`Limiter::acquire`]).
//!
//! ```
//! use mainstay_resilience::rate_limit::{Config, Limiter, Rate};
//! use std::{num::NonZeroU32, time::{Duration, Instant}};
//!
//! let now = Instant::now();
//! let ten = NonZeroU32::new(10).unwrap();
//! let rate = Rate::new(ten, Duration::from_secs(1), ten);
//! let limiter = Limiter::new(&Config::default(), now);
//! for _ in 0..10 {
//!     assert!(limiter.check(&"shop", rate, 1, now).is_ok());
//! }
//! let refused = limiter.check(&"shop", rate, 1, now).unwrap_err();
//! assert_eq!(refused.retry_after, Some(Duration::from_millis(100)));
//! assert!(limiter.check(&"rival", rate, 1, now).is_ok());
//! ```
//!
//! Guarantees: in no window of time more passes of a key than its burst and its rate times the window;
//! never more than [`Config::keys`] keys are held, and one that owes anything is never forgotten to make
//! room, so that no flood of other keys frees it of its limit; no wait is longer than [`Limiter::MOST_WAIT`],
//! its deadline or its cancellation; those who wait for one key are served in the order they came, and
//! one that is dropped has taken nothing; one that is not polled holds up the others for a moment only.
//! Where too many wait, or too many for one key, whoever comes is served at once or refused.
//!
//! Where every key that is held owes something, new ones share one limit, until some of those are paid;
//! then each begins with nothing owed.
//!
//! Several processes keep one limit when each has a [`Share`] of it, and all shares together are no more
//! than the whole. A share slows the time by which everything is paid: so none of it is lost or made when
//! it changes. A lone request up to the whole burst passes whatever the share is, and is paid for by it.
//!
//! Not guaranteed: that somebody who does not wait comes after those who do.

mod core;
mod keyed;
mod layer;
mod pace;
mod queues;

pub use self::core::Rate;
pub use self::layer::{Layer, ResponseFuture, Rules, Service};
pub use self::pace::Share;

use self::{
    keyed::Keyed,
    pace::{Moment, Pace},
    queues::Queues,
};
use crate::clock;
use mainstay_context::Context;
use std::{
    error::Error,
    fmt,
    hash::Hash,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How many keys are held, and whether they are limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The most keys that are told apart. Default 65,536.
    pub keys: usize,
    /// Whether nothing is refused: what would be is only told to the listener. Default `false`.
    pub shadow: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { keys: 65_536, shadow: false }
    }
}

/// What is left of a limit for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// What may be asked at once.
    pub remaining: u64,
    /// In what time all of it is there again.
    pub reset: Duration,
}

/// More was asked than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When the same may be asked again, by what is known now; `None` when never, since it costs more
    /// than the limit allows at once.
    pub retry_after: Option<Duration>,
    /// What is left.
    pub left: Left,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.retry_after {
            Some(_) => "rate limit reached",
            None => "more than the rate limit allows at once",
        })
    }
}

impl Error for Refused {}

/// What became of something that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It passed.
    Allowed,
    /// It was refused.
    Limited,
    /// It passed, and would have been refused but for [`Config::shadow`].
    Shadow,
}

impl Outcome {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Allowed, Self::Limited, Self::Shadow];

    /// Its name, for labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Limited => "limited",
            Self::Shadow => "shadow",
        }
    }
}

type Listener<K> = Arc<dyn Fn(&K, Outcome) + Send + Sync>;

/// A limit for each key. Clones are the same one.
pub struct Limiter<K> {
    shared: Arc<Shared<K>>,
    shadow: bool,
    listener: Option<Listener<K>>,
}

struct Shared<K> {
    start: Instant,
    pace: RwLock<Pace>,
    keyed: Keyed<K>,
    queues: Queues<K>,
    /// What was asked since somebody looked.
    asked: AtomicU64,
}

impl<K: Clone + Eq + Hash> Limiter<K> {
    /// The longest wait, where no deadline is nearer.
    pub const MOST_WAIT: Duration = Duration::from_secs(10);

    /// A limiter to which nobody owes anything.
    pub fn new(config: &Config, now: Instant) -> Self {
        let shared = Shared {
            start: now,
            pace: RwLock::new(Pace::default()),
            keyed: Keyed::new(config.keys),
            queues: Queues::default(),
            asked: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), shadow: config.shadow, listener: None }
    }

    /// Tells `listener` of everything that this clone, and clones made of it, let pass or refuse.
    #[must_use]
    pub fn with_listener(mut self, listener: impl Fn(&K, Outcome) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Takes `cost` of the limit of `key`, or refuses.
    ///
    /// # Errors
    ///
    /// Fails when less is left.
    pub fn check(&self, key: &K, rate: Rate, cost: u32, now: Instant) -> Result<Left, Refused> {
        self.shared.ask(cost);
        let taken = self.shared.take(key, rate, cost, now);
        self.judge(key, taken)
    }

    /// Takes `cost` of the limit of `key`, and waits for it as long as `cx` allows.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be had in time, which is told as soon as it is known, or not at once where too
    /// many wait.
    pub async fn acquire(
        &self,
        key: &K,
        rate: Rate,
        cost: u32,
        cx: Option<&Context>,
    ) -> Result<Left, Refused> {
        self.shared.ask(cost);
        let taken = if self.shadow {
            // Nobody waits for what is not refused.
            self.shared.take(key, rate, cost, clock::now())
        } else {
            self.shared.wait(key, rate, cost, cx).await
        };
        self.judge(key, taken)
    }

    /// Has `key` owe `cost` more, whether there is as much left or not: for what turned out to have
    /// been worth more than was asked.
    pub fn charge(&self, key: &K, rate: Rate, cost: u32, now: Instant) {
        let at = self.shared.moment(now);
        self.shared.keyed.with(key, at.now, |owed| rate.charge(owed, cost, at));
    }

    /// Leaves this process `share` of the rate, from `now` on. It is the whole until this is called.
    pub fn set_share(&self, share: Share, now: Instant) {
        let since = self.shared.since(now);
        self.shared.pace.write().unwrap_or_else(PoisonError::into_inner).set(share, since);
    }

    /// The share that this process has.
    pub fn share(&self) -> Share {
        self.shared.pace.read().unwrap_or_else(PoisonError::into_inner).share()
    }

    /// What was asked, let pass or not, since this was called last.
    pub fn take_asked(&self) -> u64 {
        self.shared.asked.swap(0, Relaxed)
    }

    /// How many keys are held.
    pub fn held(&self) -> usize {
        self.shared.keyed.held()
    }

    /// How many keys could have nothing at `now`, each by the rate that `rate` tells of it; `None` is without
    /// a limit. It looks at every key that is held: it is for people, not for a request.
    pub fn spent(&self, now: Instant, rate: impl Fn(&K) -> Option<Rate>) -> usize {
        let at = self.shared.moment(now);
        let is_spent = |key: &K, owed| rate(key).is_some_and(|rate: Rate| rate.is_spent(owed, at));
        self.shared.keyed.count(is_spent)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.shared.queues.waiting()
    }

    fn judge(&self, key: &K, taken: Result<Left, Refused>) -> Result<Left, Refused> {
        let (outcome, judged) = match taken {
            Ok(left) => (Outcome::Allowed, Ok(left)),
            Err(refused) if self.shadow => (Outcome::Shadow, Ok(refused.left)),
            Err(refused) => (Outcome::Limited, Err(refused)),
        };
        if let Some(listener) = &self.listener {
            listener(key, outcome);
        }
        judged
    }
}

impl<K> Clone for Limiter<K> {
    fn clone(&self) -> Self {
        let (shared, listener) = (Arc::clone(&self.shared), self.listener.clone());
        Self { shared, shadow: self.shadow, listener }
    }
}

impl<K> fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("shadow", &self.shadow).finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash> Shared<K> {
    fn ask(&self, cost: u32) {
        self.asked.fetch_add(cost.into(), Relaxed);
    }

    fn since(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn moment(&self, now: Instant) -> Moment {
        let since = self.since(now);
        self.pace.read().unwrap_or_else(PoisonError::into_inner).at(since)
    }

    fn take(&self, key: &K, rate: Rate, cost: u32, now: Instant) -> Result<Left, Refused> {
        let at = self.moment(now);
        self.keyed.with(key, at.now, |owed| rate.take(owed, cost, at))
    }

    /// What is told to one that waited in vain; takes nothing.
    fn in_vain(&self, key: &K, rate: Rate, cost: u32) -> Refused {
        let at = self.moment(clock::now());
        let mut owed = self.keyed.owed(key);
        match rate.take(&mut owed, cost, at) {
            // It could be had now, and its time is over.
            Ok(left) => Refused { retry_after: Some(Duration::ZERO), left },
            Err(refused) => refused,
        }
    }

    async fn wait(
        &self,
        key: &K,
        rate: Rate,
        cost: u32,
        cx: Option<&Context>,
    ) -> Result<Left, Refused> {
        let Some(place) = self.queues.join(key) else {
            // It need not wait, if others have filled the queue and it is within its limit.
            return self.take(key, rate, cost, clock::now());
        };
        let started = clock::now();
        let served = async {
            let turn = place.turn().await;
            loop {
                let now = clock::now();
                let taken = self.take(key, rate, cost, now);
                let Err(Refused { retry_after: Some(after), .. }) = taken else { return taken };
                if after > time_left(cx, started, now, Limiter::<K>::MOST_WAIT) {
                    return taken;
                }
                if turn.is_some() {
                    place.will_look_again(now + after);
                }
                tokio::time::sleep(after).await;
            }
        };
        tokio::select! {
            biased;
            _cause = clock::ended(cx) => Err(self.in_vain(key, rate, cost)),
            served = served => served,
            () = tokio::time::sleep(Limiter::<K>::MOST_WAIT) => Err(self.in_vain(key, rate, cost)),
        }
    }
}

/// How long one that began to wait at `started` may go on from `now`.
fn time_left(cx: Option<&Context>, started: Instant, now: Instant, most: Duration) -> Duration {
    let left = most.saturating_sub(now.saturating_duration_since(started));
    cx.and_then(|cx| cx.remaining(now)).map_or(left, |remaining| remaining.min(left))
}

#[cfg(test)]
mod tests;
