//! How far the live feeds are behind.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use ::orders::domain::Position;

/// The live feeds there are, and what each has told its client. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Watchers(Arc<Mutex<Vec<Weak<AtomicU64>>>>);

/// One feed's place; it is off the list once this is dropped.
pub(super) struct Watcher(Arc<AtomicU64>);

impl Watchers {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.told().iter().filter(|told| told.strong_count() > 0).count()
    }

    /// By how many positions the feed that is furthest behind trails `head`; 0 without feeds. A
    /// feed falls behind when its client reads slowly, or when the store does.
    pub fn lag(&self, head: Position) -> u64 {
        let told = self.told();
        let told = told.iter().filter_map(Weak::upgrade).map(|told| told.load(Relaxed));
        told.map(|told| head.0.saturating_sub(told)).max().unwrap_or(0)
    }

    /// Adds a feed whose client knows of everything up to `told`.
    pub(super) fn add(&self, told: Position) -> Watcher {
        let watcher = Watcher(Arc::new(AtomicU64::new(told.0)));
        let mut all = self.told();
        all.retain(|told| told.strong_count() > 0);
        all.push(Arc::downgrade(&watcher.0));
        watcher
    }

    fn told(&self) -> MutexGuard<'_, Vec<Weak<AtomicU64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// The last position that the client knows of.
    pub(super) fn told(&self) -> Position {
        Position(self.0.load(Relaxed))
    }

    pub(super) fn tell(&self, position: Position) {
        self.0.store(position.0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_that_of_the_slowest_feed_there_is() {
        let watchers = Watchers::default();
        assert_eq!((watchers.count(), watchers.lag(Position(9))), (0, 0));
        let (slow, quick) = (watchers.add(Position(2)), watchers.add(Position(9)));
        assert_eq!((watchers.count(), watchers.lag(Position(9))), (2, 7));
        slow.tell(Position(4));
        assert_eq!(watchers.lag(Position(9)), 5);
        drop(slow);
        assert_eq!((watchers.count(), watchers.lag(Position(9))), (1, 0));
        drop(quick);
        drop(watchers.add(Position(1)));
        assert_eq!(watchers.told().len(), 1, "what is gone is forgotten");
    }
}
