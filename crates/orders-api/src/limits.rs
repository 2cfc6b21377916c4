//! How much may be asked: by each address before it is known who asks, by each principal after.
//!
//! What a request counts as is told by its route: a [`Class`]. A batch costs nothing itself; each of
//! its orders counts as a write, also one that cannot be read, and waits for its turn. What its principal
//! may not do counts as if it might, and a batch that may not be sent as one order. Every answer of a
//! limited route tells what is left, in the headers of draft-ietf-httpapi-ratelimit-headers-10, which are
//! the metadata of a call.
//!
//! A request is refused before anything is decided about it, so that no key remembers the refusal.

mod gate;
mod minute;
mod told;

use std::{
    collections::HashMap,
    hash::Hash,
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

use self::minute::Minute;
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
    address: Limit<IpAddr>,
    read: Limit<Principal>,
    write: Limit<Principal>,
    watch: Limit<Principal>,
}

/// One limit, and what comes of it.
#[derive(Debug)]
struct Limit<K> {
    limiter: Limiter<K>,
    meter: Arc<Meter>,
}

/// How one limit stands in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub limit: &'static str,
    /// What it allows an address or a principal that has no override; `None` is without a limit.
    pub rate: Option<Rate>,
    /// How many addresses or principals are held.
    pub held: usize,
    /// How many of them have nothing left just now.
    pub spent: usize,
    /// How often something was refused in the last minute, or would have been but for the shadow.
    pub refused: u64,
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
            u32::try_from(counted.held()).map_or(f64::INFINITY, f64::from)
        });
        Self(Some(shared))
    }

    /// How each limit stands that there is; for people, since it looks at everybody who is held.
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
            .map(|class| (class.as_str(), shared.limit(class).limiter.clone()))
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
        shared.limit(class).limiter.check(&counted(principal), rate, cost, now).map(Some)
    }

    /// Waits until one order of a batch may be placed, as long as its context allows.
    pub(crate) async fn wait(&self, cx: &Context) -> Result<(), Problem> {
        let (Some(shared), Some(principal)) = (&self.0, cx.principal()) else { return Ok(()) };
        let Some(rate) = shared.rates(principal).write else { return Ok(()) };
        let principal = counted(principal);
        let waited = shared.write.limiter.acquire(&principal, rate, 1, Some(cx)).await;
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
            Limit::new(Limiter::new(&rule, now), meter, Principal::to_string)
        };
        let (read, write, watch) = (of(Class::Read), of(Class::Write), of(Class::Watch));
        let meter = Meter::new(ADDRESS, counter.clone());
        // Whose address it is stays out of the log.
        let address =
            Limit::new(Limiter::new(&rule, now), meter, |_: &IpAddr| "an address".to_owned());
        Self { config, overrides, address, read, write, watch }
    }

    const fn limit(&self, class: Class) -> &Limit<Principal> {
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
        let address = self.config.address;
        let of_addresses = address.map(|_| self.address.standing(address, |_| address));
        let of = |class: Class| {
            let rate = |principal: &Principal| self.rates(principal).of(class);
            self.limit(class).standing(self.config.principal.of(class), rate)
        };
        of_addresses.into_iter().chain(self.config.classes().map(of)).collect()
    }

    /// How many addresses and principals are held under limits that there are.
    fn held(&self) -> usize {
        let address = self.config.address.map_or(0, |_| self.address.limiter.held());
        let of = |class: Class| self.limit(class).limiter.held();
        address + self.config.classes().map(of).sum::<usize>()
    }
}

impl<K: Clone + Eq + Hash + 'static> Limit<K> {
    /// A limit that `meter` hears of, and which calls those that it refuses by `name`.
    fn new(limiter: Limiter<K>, meter: Meter, name: fn(&K) -> String) -> Self {
        let meter = Arc::new(meter);
        let hears = Arc::clone(&meter);
        let limiter =
            limiter.with_listener(move |key: &K, outcome| hears.count(outcome, || name(key)));
        Self { limiter, meter }
    }

    /// How it stands, with this rate where there is no override, and for each the rate that `of` tells.
    fn standing(&self, rate: Option<Rate>, of: impl Fn(&K) -> Option<Rate>) -> Standing {
        let (limiter, now) = (&self.limiter, Instant::now());
        Standing {
            limit: self.meter.limit,
            rate,
            held: limiter.held(),
            spent: limiter.spent(now.into_std(), of),
            refused: self.meter.minute.count(now),
            waiting: limiter.waiting(),
            share: limiter.share().as_millionths(),
        }
    }
}

/// Whom a limit counts: the principal, whatever the key or token that it shows opens. With its scopes it
/// would have a limit for each set of them.
fn counted(principal: &Principal) -> Principal {
    Principal::new(Arc::clone(&principal.tenant), Arc::clone(&principal.subject))
}

/// Counts what comes of one limit, and tells now and then of what it refuses.
#[derive(Debug)]
struct Meter {
    limit: &'static str,
    counter: Counter,
    minute: Minute,
    /// What was over the limit since the last line.
    over: AtomicU64,
    next: Mutex<Option<Instant>>,
}

impl Meter {
    fn new(limit: &'static str, counter: Counter) -> Self {
        let (minute, over) = (Minute::new(Instant::now()), AtomicU64::new(0));
        Self { limit, counter, minute, over, next: Mutex::new(None) }
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
        self.minute.add(now);
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

    #[tokio::test(start_paused = true)]
    async fn it_is_told_who_has_nothing_left_and_what_was_refused_in_the_last_minute() {
        let one = Override { tenant: "rival".to_owned(), principal: None, rates: writes(3) };
        let config = Config { principal: writes(2), overrides: vec![one], ..Config::default() };
        let limits = Limits::new(config, &Metrics::new("test"));
        let ask = |tenant: &str, times: usize| {
            let principal = Principal::new(tenant, "till");
            let rate = limits.rate(&principal, Class::Write).unwrap();
            let asked = (0..times).map(|_| limits.check(&principal, Class::Write, rate, 1));
            asked.filter(Result::is_err).count()
        };
        assert_eq!((ask("shop", 5), ask("rival", 2)), (3, 0));
        let told = || {
            let [standing] = limits.standing()[..] else { panic!("one limit") };
            (standing.rate, standing.held, standing.spent, standing.refused)
        };
        assert_eq!(told(), (Some(rate(2)), 2, 1, 3));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(told(), (Some(rate(2)), 2, 0, 3));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(told(), (Some(rate(2)), 2, 0, 0));
    }

    #[test]
    fn where_nothing_is_limited_nothing_is_held() {
        let limits = Limits::new(Config::default(), &Metrics::new("test"));
        assert_eq!((limits.standing(), limits.shared().len()), (Vec::new(), 0));
    }
}
