//! What goes wrong: named faults, and the plan that says when.
//!
//! A fault strikes a request by a token (see the crate's instruments), because the plan says "the
//! next N", or by its rate. Rates are drawn from one stream of random numbers per fault, so that a
//! rate that is added does not reshuffle the others; with one caller at a time, a seed gives the
//! same faults in every run.
//!
//! The plan is of the process and not of the ledger: a restart begins with the configured rates.

mod name;
mod plan;

pub use self::{
    name::{Fault, UnknownFault},
    plan::{Down, DownMode, Next, Plan, Target},
};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainstay::config::duration;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What goes wrong by itself, and how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the rates are drawn with. Default 1.
    pub seed: u64,
    /// How likely each fault strikes an operation, from 0 to 1, by the fault's name. Default: none.
    pub rates: BTreeMap<Fault, f64>,
    /// How long `hang` holds an answer back. Default 30 s.
    #[serde(with = "duration::Text")]
    pub hang: Duration,
    /// The pause before each byte of an answer under `slow-drip`. Default 100 ms.
    #[serde(with = "duration::Text")]
    pub drip: Duration,
    /// How much later `late-apply` takes effect. Default 2 s.
    #[serde(with = "duration::Text")]
    pub late: Duration,
    /// How many operations a `burst-429` refuses that was drawn by its rate. Default 10.
    pub burst: u32,
    /// How many bytes `huge-answer` has. Default 1,073,741,824 (1 GiB).
    pub huge_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            rates: BTreeMap::new(),
            hang: Duration::from_secs(30),
            drip: Duration::from_millis(100),
            late: Duration::from_secs(2),
            burst: 10,
            huge_bytes: 1 << 30,
        }
    }
}

/// A rate is no probability.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the rate of {0} must be from 0 to 1, and is {1}")]
pub struct InvalidRate(Fault, f64);

/// Whether each rate is a probability.
///
/// # Errors
/// Tells the first that is none.
pub fn check_rates(rates: &BTreeMap<Fault, f64>) -> Result<(), InvalidRate> {
    let wrong = rates.iter().find(|(_, rate)| !(0.0..=1.0).contains(*rate));
    wrong.map_or(Ok(()), |(fault, rate)| Err(InvalidRate(*fault, *rate)))
}

/// The faults that strike one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strike(BTreeSet<Fault>);

impl Strike {
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    pub(crate) fn faults(&self) -> impl Iterator<Item = Fault> {
        self.0.iter().copied()
    }
}

/// The faults in force. Everything takes effect for the next request.
#[derive(Debug)]
pub struct Faults {
    config: Config,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    streams: BTreeMap<Fault, ChaCha8Rng>,
    rates: BTreeMap<Fault, f64>,
    next: Vec<Next>,
    down: Option<(DownMode, Option<Instant>)>,
    struck: BTreeMap<Fault, u64>,
    redirects_followed: u64,
}

impl State {
    fn of(config: &Config) -> Self {
        Self {
            streams: streams(config.seed),
            rates: config.rates.clone(),
            next: Vec::new(),
            down: None,
            struck: BTreeMap::new(),
            redirects_followed: 0,
        }
    }

    /// What the first entry of the plan that is for this request has for it.
    fn planned(&mut self, target: Target) -> Vec<Fault> {
        let Some(at) = self.next.iter().position(|next| next.is_for(target)) else {
            return Vec::new();
        };
        let next = &mut self.next[at];
        next.count -= 1;
        if next.count > 0 { next.faults.clone() } else { self.next.remove(at).faults }
    }

    /// The faults that their rates bring.
    fn drawn(&mut self) -> Vec<Fault> {
        let (rates, streams) = (&self.rates, &mut self.streams);
        let strikes = |(fault, rate): (&Fault, &f64)| {
            let stream = streams.get_mut(fault)?;
            (unit(stream) < *rate).then_some(*fault)
        };
        rates.iter().filter_map(strikes).collect()
    }
}

/// One stream for each fault.
fn streams(seed: u64) -> BTreeMap<Fault, ChaCha8Rng> {
    let stream = |(number, fault): (u64, Fault)| {
        let mut stream = ChaCha8Rng::seed_from_u64(seed);
        stream.set_stream(number);
        (fault, stream)
    };
    (0..).zip(Fault::ALL).map(stream).collect()
}

/// A number from 0 to below 1.
fn unit(stream: &mut ChaCha8Rng) -> f64 {
    f64::from(stream.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

impl Faults {
    /// The configured rates, and nothing planned.
    pub fn new(config: Config) -> Self {
        let state = Mutex::new(State::of(&config));
        Self { config, state }
    }

    /// How much of it each fault does.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The faults of this request: those it brings itself, the planned and the drawn.
    pub(crate) fn strike(&self, target: Target, own: &[Fault]) -> Strike {
        let mut state = self.state();
        let mut faults = state.planned(target);
        faults.extend(own);
        if target != Target::Lookup {
            let drawn = state.drawn();
            let rest = self.config.burst.saturating_sub(1);
            if drawn.contains(&Fault::Burst429) && !faults.contains(&Fault::Burst429) && rest > 0 {
                state.next.insert(0, Next::new(Fault::Burst429, rest));
            }
            faults.extend(drawn);
        }
        let strike = Strike(faults.into_iter().collect());
        for fault in &strike.0 {
            *state.struck.entry(*fault).or_default() += 1;
        }
        strike
    }

    /// Strikes the next so many operations of any kind, lookups excepted, once what was planned
    /// before is used up.
    pub fn next(&self, fault: Fault, count: u32) {
        self.plan_next(Next::new(fault, count));
    }

    /// Strikes the next so many requests of one kind.
    pub fn next_of(&self, target: impl Into<Target>, fault: Fault, count: u32) {
        self.plan_next(Next { kind: Some(target.into()), ..Next::new(fault, count) });
    }

    /// Strikes the next requests, with several faults at once if wanted.
    pub fn plan_next(&self, next: Next) {
        if next.count > 0 {
            self.state().next.push(next);
        }
    }

    /// Lets a fault strike each operation with this probability.
    ///
    /// # Errors
    /// Fails when it is none.
    pub fn set_rate(&self, fault: Fault, rate: f64) -> Result<(), InvalidRate> {
        check_rates(&BTreeMap::from([(fault, rate)]))?;
        self.state().rates.insert(fault, rate);
        Ok(())
    }

    /// Takes the API down, for a time or until [`up`](Self::up).
    pub fn down(&self, mode: DownMode, time: Option<Duration>) {
        let until = time.and_then(|time| Instant::now().checked_add(time));
        self.state().down = Some((mode, until));
    }

    /// Ends [`down`](Self::down).
    pub fn up(&self) {
        self.state().down = None;
    }

    /// How the API is down, if it is.
    pub fn down_now(&self) -> Option<DownMode> {
        let mut state = self.state();
        let over = |until: Option<Instant>| until.is_some_and(|until| Instant::now() >= until);
        if state.down.is_some_and(|(_, until)| over(until)) {
            state.down = None;
        }
        state.down.map(|(mode, _)| mode)
    }

    /// How often a fault has struck since the start or the last [`clear`](Self::clear).
    pub fn struck(&self, fault: Fault) -> u64 {
        self.state().struck.get(&fault).copied().unwrap_or_default()
    }

    /// How often a redirect was followed, which no caller should.
    pub fn redirects_followed(&self) -> u64 {
        self.state().redirects_followed
    }

    pub(crate) fn redirect_followed(&self) {
        self.state().redirects_followed += 1;
    }

    /// What is in force now.
    pub fn plan(&self) -> Plan {
        let down = self.down_now();
        let state = self.state();
        let left = state.down.and_then(|(_, until)| until).map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
        });
        Plan {
            seed: None,
            rates: state.rates.clone(),
            next: state.next.clone(),
            down: down.map(|mode| Down { mode, for_ms: left }),
        }
    }

    /// How often each fault has struck.
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        self.state().struck.clone()
    }

    /// Puts a plan in the place of what is in force.
    ///
    /// # Errors
    /// Fails, and changes nothing, when a rate is no probability.
    pub fn set(&self, plan: Plan) -> Result<(), InvalidRate> {
        check_rates(&plan.rates)?;
        let mut state = self.state();
        state.rates = plan.rates;
        state.next = plan.next.into_iter().filter(|next| next.count > 0).collect();
        if let Some(seed) = plan.seed {
            state.streams = streams(seed);
        }
        drop(state);
        match plan.down {
            Some(down) => self.down(down.mode, down.for_ms.map(Duration::from_millis)),
            None => self.up(),
        }
        Ok(())
    }

    /// Goes back to the configured rates and their first draw, with nothing planned or counted.
    pub fn clear(&self) {
        *self.state() = State::of(&self.config);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATION: Target = Target::Capture;

    fn faults(rates: &[(Fault, f64)]) -> Faults {
        Faults::new(Config { rates: rates.iter().copied().collect(), ..Config::default() })
    }

    fn hits(faults: &Faults, fault: Fault, requests: usize) -> Vec<usize> {
        (0..requests).filter(|_| faults.strike(OPERATION, &[]).has(fault)).collect()
    }

    #[test]
    fn a_plan_strikes_so_many_of_its_kind() {
        let faults = faults(&[]);
        faults.next_of(Target::Capture, Fault::Hang, 2);
        faults.next(Fault::Reset, 1);
        let refund = faults.strike(Target::Refund, &[]);
        assert!(refund.has(Fault::Reset) && !refund.has(Fault::Hang));
        assert_eq!(hits(&faults, Fault::Hang, 5), [0, 1]);
        assert_eq!((faults.struck(Fault::Hang), faults.struck(Fault::Reset)), (2, 1));
    }

    #[test]
    fn lookups_are_struck_only_when_they_are_named() {
        let faults = faults(&[(Fault::Hang, 1.0)]);
        faults.next(Fault::Reset, 1);
        assert_eq!(faults.strike(Target::Lookup, &[]), Strike::default());
        faults.next_of(Target::Lookup, Fault::Redirect, 1);
        assert!(faults.strike(Target::Lookup, &[]).has(Fault::Redirect));
    }

    #[test]
    fn a_seed_gives_the_same_faults_and_another_rate_does_not_reshuffle_them() {
        let alone = hits(&faults(&[(Fault::AnswerLost, 0.3)]), Fault::AnswerLost, 1_000);
        let both = [(Fault::AnswerLost, 0.3), (Fault::Hang, 0.5)];
        assert_eq!(hits(&faults(&both), Fault::AnswerLost, 1_000), alone);
        assert!((200..400).contains(&alone.len()), "{}", alone.len());
        let other = faults(&[(Fault::AnswerLost, 0.3)]);
        other.set(Plan { seed: Some(2), ..other.plan() }).unwrap();
        assert_ne!(hits(&other, Fault::AnswerLost, 1_000), alone);
    }

    #[test]
    fn a_rate_of_0_never_strikes_and_of_1_always() {
        let faults = faults(&[(Fault::Hang, 0.0), (Fault::Reset, 1.0)]);
        assert_eq!(hits(&faults, Fault::Hang, 200), [0; 0]);
        assert_eq!(hits(&faults, Fault::Reset, 200).len(), 200);
    }

    #[test]
    fn a_burst_that_is_drawn_goes_on() {
        let faults = faults(&[(Fault::Burst429, 0.01)]);
        let hits = hits(&faults, Fault::Burst429, 2_000);
        let first = hits[0];
        assert!(hits.starts_with(&(first..first + 10).collect::<Vec<_>>()), "{hits:?}");
    }

    #[test]
    fn what_is_no_probability_is_refused_and_changes_nothing() {
        let faults = faults(&[]);
        for rate in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(faults.set_rate(Fault::Hang, rate).is_err(), "{rate}");
            let rates = BTreeMap::from([(Fault::Hang, rate)]);
            assert!(faults.set(Plan { rates, ..Plan::default() }).is_err(), "{rate}");
        }
        assert_eq!(faults.plan(), Plan::default());
    }

    #[tokio::test(start_paused = true)]
    async fn down_ends_by_itself() {
        let faults = faults(&[]);
        faults.down(DownMode::Refuse, Some(Duration::from_secs(5)));
        assert_eq!(faults.down_now(), Some(DownMode::Refuse));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(faults.down_now(), None);
        faults.down(DownMode::Hang, None);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(faults.down_now(), Some(DownMode::Hang));
        faults.up();
        assert_eq!(faults.down_now(), None);
    }
}
