//! What each key owes: a bounded number of keys.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The parts that are locked by themselves.
const SHARDS: usize = 16;

/// Fewer keys than this are in one part.
const FEW: usize = 1_024;

/// How often a part that is full is looked through for keys that owe nothing, at most: a flood of new
/// keys must not have it looked through for each.
const SWEEP: u64 = 100_000_000;

pub(super) struct Keyed<K> {
    hasher: RandomState,
    shards: Vec<Mutex<Shard<K>>>,
    /// The most keys of each.
    most: usize,
    /// What those owe together for whom there is no room.
    other: Mutex<u64>,
}

struct Shard<K> {
    owed: HashMap<K, u64>,
    /// When it may be looked through again.
    sweep: u64,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self { owed: HashMap::new(), sweep: 0 }
    }
}

impl<K: Clone + Eq + Hash> Keyed<K> {
    pub(super) fn new(most: usize) -> Self {
        let count = if most < FEW { 1 } else { SHARDS };
        let shards = (0..count).map(|_| Mutex::default()).collect();
        let most = (most / count).max(1);
        Self { hasher: RandomState::new(), shards, most, other: Mutex::new(0) }
    }

    /// Does something with what `key` owes.
    pub(super) fn with<T>(&self, key: &K, now: u64, act: impl FnOnce(&mut u64) -> T) -> T {
        let mut shard = self.shard(key);
        if let Some(owed) = shard.owed.get_mut(key) {
            return act(owed);
        }
        if shard.owed.len() < self.most || shard.make_room(self.most, now) {
            return act(shard.owed.entry(key.clone()).or_insert(0));
        }
        drop(shard);
        act(&mut lock(&self.other))
    }

    /// What `key` owes now.
    pub(super) fn owed(&self, key: &K) -> u64 {
        let shard = self.shard(key);
        let own = shard.owed.get(key).copied();
        let is_full = shard.owed.len() >= self.most;
        drop(shard);
        own.unwrap_or_else(|| if is_full { *lock(&self.other) } else { 0 })
    }

    /// How many keys are held.
    pub(super) fn held(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).owed.len()).sum()
    }

    /// How many keys there are of which this holds, by what they owe.
    pub(super) fn count(&self, holds: impl Fn(&K, u64) -> bool) -> usize {
        let of = |shard: &Mutex<Shard<K>>| {
            lock(shard).owed.iter().filter(|(key, owed)| holds(key, **owed)).count()
        };
        self.shards.iter().map(of).sum()
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K>> {
        let count = self.shards.len() as u64;
        let at = usize::try_from(self.hasher.hash_one(key) % count).unwrap_or(0);
        lock(&self.shards[at])
    }
}

impl<K: Eq + Hash> Shard<K> {
    /// Forgets keys that owe nothing, and only those: of them there is nothing to remember.
    fn make_room(&mut self, most: usize, now: u64) -> bool {
        if now < self.sweep {
            return false;
        }
        self.sweep = now.saturating_add(SWEEP);
        self.owed.retain(|_, owed| *owed > now);
        self.owed.len() < most
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has each of these keys owe until `until`.
    fn owe(keyed: &Keyed<u32>, keys: std::ops::Range<u32>, now: u64, until: u64) {
        for key in keys {
            keyed.with(&key, now, |owed| *owed = until.max(*owed));
        }
    }

    #[test]
    fn no_flood_of_keys_makes_it_grow_or_forget_one_that_owes() {
        for most in [10, 4_096] {
            let keyed = Keyed::new(most);
            owe(&keyed, 0..1, 0, u64::MAX);
            for round in 1..20_u64 {
                let now = round * SWEEP;
                owe(&keyed, 1..20_000, now, now + 1);
                assert!(keyed.held() <= most, "{}", keyed.held());
                assert_eq!(keyed.owed(&0), u64::MAX);
            }
        }
    }

    #[test]
    fn a_key_that_owes_nothing_makes_room() {
        let keyed = Keyed::new(2);
        owe(&keyed, 0..2, 0, 50);
        owe(&keyed, 2..3, 60, 70);
        assert_eq!((keyed.held(), keyed.owed(&0), keyed.owed(&2)), (1, 0, 70));
    }

    #[test]
    fn where_each_key_owes_new_ones_share_one_limit() {
        let keyed = Keyed::new(2);
        owe(&keyed, 0..2, 0, 500);
        owe(&keyed, 2..3, 0, 70);
        assert_eq!((keyed.held(), keyed.owed(&3), keyed.owed(&0)), (2, 70, 500));
    }

    #[test]
    fn it_is_not_looked_through_for_every_new_key() {
        let keyed = Keyed::new(2);
        owe(&keyed, 0..2, 0, 50);
        owe(&keyed, 2..3, 0, 70);
        owe(&keyed, 3..4, SWEEP - 1, 80);
        assert_eq!(keyed.owed(&3), 80, "together with the others");
        assert_eq!(keyed.owed(&4), 80);
        owe(&keyed, 3..4, SWEEP, SWEEP + 1);
        assert_eq!((keyed.held(), keyed.owed(&3), keyed.owed(&4)), (1, SWEEP + 1, 0));
    }
}
