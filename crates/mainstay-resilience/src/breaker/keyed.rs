use super::{Breaker, Config, Forced, Snapshot, State};
use crate::Jitter;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// What fails on its own: one endpoint of one dependency.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The dependency's name.
    pub dependency: Arc<str>,
    /// The pattern of the endpoint, not its path: paths have ids in them.
    pub endpoint: Arc<str>,
}

impl Key {
    /// This endpoint of this dependency.
    pub fn new(dependency: impl Into<Arc<str>>, endpoint: impl Into<Arc<str>>) -> Self {
        Self { dependency: dependency.into(), endpoint: endpoint.into() }
    }
}

/// A breaker for each key, at most so many. Clones share them.
///
/// When there are too many, the closed one that was not asked for the longest makes room, and loses
/// what it has counted. Where none is closed and unforced, new keys share one breaker.
#[derive(Clone, Debug)]
pub struct Set(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    jitter: Jitter,
    most: usize,
    other: Breaker,
    keyed: Mutex<Keyed>,
}

#[derive(Debug, Default)]
struct Keyed {
    breakers: HashMap<Key, Entry>,
    /// Counts the requests, to tell which breaker was not asked for the longest.
    asked: u64,
}

#[derive(Debug)]
struct Entry {
    breaker: Breaker,
    asked: u64,
}

impl Set {
    /// A set of at most `most` breakers, all alike.
    pub fn new(config: Config, jitter: Jitter, most: usize, now: Instant) -> Self {
        let other = Breaker::new(config.clone(), jitter.clone(), now);
        Self(Arc::new(Shared { config, jitter, most, other, keyed: Mutex::default() }))
    }

    /// The breaker of `key`, made when there is none.
    pub fn get(&self, key: &Key, now: Instant) -> Breaker {
        let mut keyed = self.keyed();
        keyed.asked += 1;
        let asked = keyed.asked;
        if let Some(entry) = keyed.breakers.get_mut(key) {
            entry.asked = asked;
            return entry.breaker.clone();
        }
        if keyed.breakers.len() >= self.0.most && !keyed.make_room(now) {
            return self.0.other.clone();
        }
        let breaker = Breaker::new(self.0.config.clone(), self.0.jitter.clone(), now);
        keyed.breakers.insert(key.clone(), Entry { breaker: breaker.clone(), asked });
        breaker
    }

    /// Overrules the results for `key`; `false` when it has no breaker.
    pub fn force(&self, key: &Key, forced: Option<Forced>, now: Instant) -> bool {
        let breaker = self.keyed().breakers.get(key).map(|entry| entry.breaker.clone());
        breaker.map(|breaker| breaker.force(forced, now)).is_some()
    }

    /// What each breaker knows at `now`, by key.
    pub fn snapshot(&self, now: Instant) -> Vec<(Key, Snapshot)> {
        let keyed = self.keyed();
        let told = |(key, entry): (&Key, &Entry)| (key.clone(), entry.breaker.snapshot(now));
        let mut all: Vec<_> = keyed.breakers.iter().map(told).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn keyed(&self) -> MutexGuard<'_, Keyed> {
        self.0.keyed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keyed {
    /// Drops the breaker whose loss matters least; `false` when each matters.
    fn make_room(&mut self, now: Instant) -> bool {
        let idle = |entry: &Entry| {
            let seen = entry.breaker.snapshot(now);
            seen.state == State::Closed && seen.forced.is_none()
        };
        let closed = self.breakers.iter().filter(|(_, entry)| idle(entry));
        let oldest = closed.min_by_key(|(_, entry)| entry.asked).map(|(key, _)| key.clone());
        oldest.and_then(|key| self.breakers.remove(&key)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::Outcome;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn set(most: usize) -> Set {
        Set::new(Config::default(), Jitter::none(), most, now())
    }

    fn key(endpoint: usize) -> Key {
        Key::new("payments", endpoint.to_string())
    }

    fn trip(breaker: &Breaker) {
        while let Ok(permit) = breaker.admit(now()) {
            permit.finish(Outcome::FAILURE, now());
        }
    }

    fn state(set: &Set, endpoint: usize) -> State {
        set.get(&key(endpoint), now()).state(now())
    }

    #[test]
    fn one_endpoint_opens_alone() {
        let set = set(10);
        trip(&set.clone().get(&key(1), now()));
        assert_eq!((state(&set, 1), state(&set, 2)), (State::Open, State::Closed));
        let orders = Key::new("orders", "1");
        assert_eq!(set.get(&orders, now()).state(now()), State::Closed);
    }

    #[test]
    fn no_number_of_keys_makes_it_grow_or_forget_an_open_breaker() {
        let set = set(10);
        trip(&set.get(&key(0), now()));
        assert!(set.force(&key(0), None, now()) && !set.force(&key(1), None, now()));
        trip(&set.get(&key(0), now()));
        set.get(&key(1), now()).force(Some(Forced::Closed), now());
        for endpoint in 2..10_000 {
            drop(set.get(&key(endpoint), now()));
            assert!(set.snapshot(now()).len() <= 10);
        }
        assert_eq!(state(&set, 0), State::Open);
        assert_eq!(set.get(&key(1), now()).snapshot(now()).forced, Some(Forced::Closed));
        let left: Vec<_> = set.snapshot(now()).into_iter().map(|(key, _)| key).collect();
        assert!(left.contains(&key(9_999)) && !left.contains(&key(9_000)), "{left:?}");
    }

    #[test]
    fn where_none_can_go_new_keys_share_one() {
        let set = set(2);
        trip(&set.get(&key(0), now()));
        trip(&set.get(&key(1), now()));
        trip(&set.get(&key(2), now()));
        assert_eq!(state(&set, 3), State::Open);
        assert_eq!(set.snapshot(now()).len(), 2);
    }
}
