//! How much may be asked: by each address before it is known who asks, by each principal after.
//!
//! What a request counts as is told by its route: a [`Class`]. A batch costs nothing itself; each of
//! its orders counts as a write, also one that cannot be read, and waits for its turn. Every answer of a
//! limited route tells what is left, in the headers of draft-ietf-httpapi-ratelimit-headers-10, which are
//! the metadata of a call.
//!
//! A request is refused before anything is decided about it, so that no key remembers the refusal.

mod gate;
mod told;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use mainstay::metrics::{Counter, Metrics};
use mainstay_context::{Context, Principal};
use mainstay_resilience::rate_limit::{self, Left, Limiter, Outcome, Rate, Refused};
use tokio::time::Instant;

pub(crate) use self::{
    gate::limit,
    told::{RATE_LIMIT, RATE_LIMIT_POLICY, seconds},
};
use crate::problem::Problem;

/// The name of the limit on addresses.
const ADDRESS: &str = "address";

/// Between two lines of the log that tell of one limit.
const SILENCE: Duration = Duration::from_secs(10);

/// What a request is to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Looks at what is there.
    Read,
    /// Changes something, or is one order of a batch.
    Write,
    /// Opens a live feed.
    Watch,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Watch];

    /// The name of its limit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Watch => "watch",
        }
    }
}

/// What one principal may ask; `None` is without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of what looks.
    pub read: Option<Rate>,
    /// Of what changes, and of orders in batches.
    pub write: Option<Rate>,
    /// Of live feeds that are opened.
    pub watch: Option<Rate>,
}

impl Rates {
    const fn of(&self, class: Class) -> Option<Rate> {
        match class {
            Class::Read => self.read,
            Class::Write => self.write,
            Class::Watch => self.watch,
        }
    }
}

/// Other rates than the usual for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The tenant.
    pub tenant: String,
    /// One of its principals; `None` for each that has no other override.
    pub principal: Option<String>,
    /// All that they may ask.
    pub rates: Rates,
}

/// What is limited. Default: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Whether nothing is refused, and what would be is only counted and logged.
    pub shadow: bool,
    /// What one address may ask, whoever it is. A request that is not authenticated costs
    /// [`GUESS`] more.
    pub address: Option<Rate>,
    /// What each principal may ask.
    pub principal: Rates,
    /// For whom it is otherwise.
    pub overrides: Vec<Override>,
}

impl Config {
    fn limits_anything(&self) -> bool {
        self.address.is_some() || self.classes().next().is_some()
    }

    /// The classes in which anybody has a limit.
    fn classes(&self) -> impl Iterator<Item = Class> {
        let all =
            || std::iter::once(&self.principal).chain(self.overrides.iter().map(|one| &one.rates));
        Class::ALL.into_iter().filter(move |class| all().any(|rates| rates.of(*class).is_some()))
    }
}

/// What a request costs its address beside itself when it is not authenticated: whoever guesses keys gets
/// far fewer tries than requests.
pub const GUESS: u32 = 19;

/// The limits of this process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Limits(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    config: Config,
    /// By tenant.
    overrides: HashMap<String, Vec<Override>>,
    address: Limiter<IpAddr>,
    read: Limiter<Principal>,
    write: Limiter<Principal>,
    watch: Limiter<Principal>,
}

/// How one limit stands in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub limit: &'static str,
    /// How many addresses or principals are held.
    pub held: usize,
    /// How many orders of batches wait.
    pub waiting: usize,
    /// The share of this process, in millionths.
    pub share: u32,
}

impl Limits {
    /// These limits, counted by `rate_limit_total{limit,outcome}` and `rate_limit_keys`.
    pub fn new(config: Config, metrics: &Metrics) -> Self {
        if !config.limits_anything() {
            return Self::default();
        }
        let shared = Arc::new(Shared::new(config, metrics));
        let counted = Arc::clone(&shared);
        let told = "Addresses and principals of which it is remembered what they asked";
        metrics.gauge_fn("rate_limit_keys", told, move || {
            let held: usize = counted.standing().iter().map(|standing| standing.held).sum();
            u32::try_from(held).map_or(f64::INFINITY, f64::from)
        });
        Self(Some(shared))
    }

    /// How each limit stands that there is.
    pub fn standing(&self) -> Vec<Standing> {
        self.0.as_ref().map_or_else(Vec::new, |shared| shared.standing())
    }

    /// Whether nothing is refused.
    pub fn is_shadow(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.config.shadow)
    }

    /// The limits that several processes keep together, by name: those on principals. An address is
    /// limited by each process alone, since it is refused for the sake of that process.
    pub fn shared(&self) -> Vec<(&'static str, Limiter<Principal>)> {
        let Some(shared) = &self.0 else { return Vec::new() };
        shared
            .config
            .classes()
            .map(|class| (class.as_str(), shared.limiter(class).clone()))
            .collect()
    }

    /// What this principal may ask of this class; `None` is without a limit.
    pub(crate) fn rate(&self, principal: &Principal, class: Class) -> Option<Rate> {
        self.0.as_ref()?.rates(principal).of(class)
    }

    /// Takes from the limit of a principal, or refuses.
    pub(crate) fn check(
        &self,
        principal: &Principal,
        class: Class,
        rate: Rate,
        cost: u32,
    ) -> Result<Option<Left>, Refused> {
        let Some(shared) = &self.0 else { return Ok(None) };
        let now = Instant::now().into_std();
        shared.limiter(class).check(&counted(principal), rate, cost, now).map(Some)
    }

    /// Waits until one order of a batch may be placed, as long as its context allows.
    pub(crate) async fn wait(&self, cx: &Context) -> Result<(), Problem> {
        let (Some(shared), Some(principal)) = (&self.0, cx.principal()) else { return Ok(()) };
        let Some(rate) = shared.rates(principal).write else { return Ok(()) };
        let principal = counted(principal);
        let waited = shared.write.acquire(&principal, rate, 1, Some(cx)).await;
        waited.map_err(|refused| Problem::limited(Class::Write.as_str(), refused))?;
        Ok(())
    }
}

impl Shared {
    fn new(config: Config, metrics: &Metrics) -> Self {
        let mut overrides: HashMap<String, Vec<Override>> = HashMap::new();
        for one in &config.overrides {
            overrides.entry(one.tenant.clone()).or_default().push(one.clone());
        }
        let counter = metrics.counter(
            "rate_limit_total",
            "What was asked under a limit, by what came of it: allowed, limited (refused), shadow \
             (would have been refused)",
            &["limit", "outcome"],
        );
        let address = config.address.map(|_| ADDRESS);
        for limit in address.into_iter().chain(config.classes().map(Class::as_str)) {
            for outcome in Outcome::ALL {
                // From the start, so that a rate over them has something to begin from.
                counter.add(0, &[limit, outcome.as_str()]);
            }
        }
        let rule = rate_limit::Config { shadow: config.shadow, ..rate_limit::Config::default() };
        let now = Instant::now().into_std();
        let of = |class: Class| {
            let meter = Meter::new(class.as_str(), counter.clone());
            Limiter::new(&rule, now).with_listener(move |principal: &Principal, outcome| {
                meter.count(outcome, || principal.to_string());
            })
        };
        let (read, write, watch) = (of(Class::Read), of(Class::Write), of(Class::Watch));
        let meter = Meter::new(ADDRESS, counter.clone());
        // Whose address it is stays out of the log.
        let address = Limiter::new(&rule, now)
            .with_listener(move |_: &IpAddr, outcome| meter.count(outcome, || "an address".into()));
        Self { config, overrides, address, read, write, watch }
    }

    const fn limiter(&self, class: Class) -> &Limiter<Principal> {
        match class {
            Class::Read => &self.read,
            Class::Write => &self.write,
            Class::Watch => &self.watch,
        }
    }

    /// What a principal may ask.
    fn rates(&self, principal: &Principal) -> &Rates {
        let of_tenant =
            self.overrides.get(&*principal.tenant).map(Vec::as_slice).unwrap_or_default();
        let own =
            of_tenant.iter().find(|one| one.principal.as_deref() == Some(&*principal.subject));
        let own = own.or_else(|| of_tenant.iter().find(|one| one.principal.is_none()));
        own.map_or(&self.config.principal, |one| &one.rates)
    }

    fn standing(&self) -> Vec<Standing> {
        let address = self.config.address.map(|_| standing(ADDRESS, &self.address));
        let of = |class: Class| standing(class.as_str(), self.limiter(class));
        address.into_iter().chain(self.config.classes().map(of)).collect()
    }
}

fn standing<K: Clone + Eq + std::hash::Hash>(limit: &'static str, of: &Limiter<K>) -> Standing {
    let (held, waiting, share) = (of.held(), of.waiting(), of.share().as_millionths());
    Standing { limit, held, waiting, share }
}

/// Whom a limit counts: the principal, whatever the key or token that it shows opens. With its scopes it
/// would have a limit for each set of them.
fn counted(principal: &Principal) -> Principal {
    Principal::new(Arc::clone(&principal.tenant), Arc::clone(&principal.subject))
}

/// Counts what comes of one limit, and tells now and then of what it refuses.
struct Meter {
    limit: &'static str,
    counter: Counter,
    /// What was over the limit since the last line.
    over: AtomicU64,
    next: Mutex<Option<Instant>>,
}

impl Meter {
    fn new(limit: &'static str, counter: Counter) -> Self {
        Self { limit, counter, over: AtomicU64::new(0), next: Mutex::new(None) }
    }

    fn count(&self, outcome: Outcome, who: impl FnOnce() -> String) {
        self.counter.inc(&[self.limit, outcome.as_str()]);
        let is_shadow = match outcome {
            Outcome::Allowed => return,
            Outcome::Limited => false,
            Outcome::Shadow => true,
        };
        self.over.fetch_add(1, Relaxed);
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_some_and(|next| now < next) {
            return;
        }
        *next = Some(now + SILENCE);
        drop(next);
        let (limit, over, last) = (self.limit, self.over.swap(0, Relaxed), who());
        if is_shadow {
            tracing::warn!(limit, over, last, "over the limit, which only looks on");
        } else {
            tracing::warn!(limit, over, last, "refused what is over the limit");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(count: u32) -> Rate {
        let count = NonZeroU32::new(count).unwrap();
        Rate::new(count, Duration::from_secs(1), count)
    }

    fn writes(count: u32) -> Rates {
        Rates { write: Some(rate(count)), ..Rates::default() }
    }

    #[test]
    fn a_principals_own_rates_come_before_its_tenants_and_those_before_the_usual() {
        let one = |principal: Option<&str>, count| Override {
            tenant: "shop".to_owned(),
            principal: principal.map(str::to_owned),
            rates: writes(count),
        };
        let config = Config {
            principal: Rates { read: Some(rate(9)), ..writes(1) },
            overrides: vec![one(None, 2), one(Some("import"), 3)],
            ..Config::default()
        };
        let limits = Limits::new(config, &Metrics::new("test"));
        let of = |tenant: &str, subject: &str, class| {
            limits.rate(&Principal::new(tenant, subject), class)
        };
        assert_eq!(of("rival", "import", Class::Write), Some(rate(1)));
        assert_eq!(of("shop", "till", Class::Write), Some(rate(2)));
        assert_eq!(of("shop", "import", Class::Write), Some(rate(3)));
        assert_eq!(of("rival", "till", Class::Read), Some(rate(9)));
        assert_eq!(of("shop", "till", Class::Read), None, "an override stands for all of it");
        let shared: Vec<_> = limits.shared().into_iter().map(|(name, _)| name).collect();
        assert_eq!(shared, ["read", "write"]);
    }

    #[test]
    fn a_principal_has_one_limit_whatever_its_keys_and_tokens_open() {
        let config = Config { principal: writes(1), ..Config::default() };
        let limits = Limits::new(config, &Metrics::new("test"));
        let passes = |scopes: &[&'static str]| {
            let principal = Principal::new("shop", "till").with_scopes(scopes);
            limits.check(&principal, Class::Write, rate(1), 1).is_ok()
        };
        assert!(passes(&["orders:write"]));
        assert!(!passes(&["orders:read", "orders:write"]));
    }

    #[test]
    fn where_nothing_is_limited_nothing_is_held() {
        let limits = Limits::new(Config::default(), &Metrics::new("test"));
        assert_eq!((limits.standing(), limits.shared().len()), (Vec::new(), 0));
    }
}
