//! Which keys are parked: a fold over the dead letter topic.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The keys that have records in the dead letter topic, and how far that was read.
#[derive(Debug, Default)]
pub(super) struct Parked {
    keys: HashMap<Vec<u8>, BTreeSet<i64>>,
    next: BTreeMap<i32, i64>,
    /// Whether it was read to its end before: what is read then is news.
    pub(super) is_known: bool,
}

impl Parked {
    /// Where to read on, by partition.
    pub(super) fn next(&self, partition: i32) -> i64 {
        self.next.get(&partition).copied().unwrap_or(0)
    }

    /// A record of this key was read.
    pub(super) fn read(&mut self, key: &[u8], partition: i32, offset: i64) {
        self.keys.entry(key.to_vec()).or_default().insert(offset);
        self.next.insert(partition, offset + 1);
    }

    /// It was read that the records of a key up to `through` are no longer parked; returns how many
    /// were. All records of one key are in one partition.
    pub(super) fn read_release(
        &mut self,
        key: &[u8],
        partition: i32,
        offset: i64,
        through: i64,
    ) -> usize {
        self.next.insert(partition, offset + 1);
        let Some(offsets) = self.keys.get_mut(key) else { return 0 };
        let before = offsets.len();
        offsets.retain(|parked| *parked > through);
        let released = before - offsets.len();
        if offsets.is_empty() {
            self.keys.remove(key);
        }
        released
    }

    /// A record of this key was written by us, here. What was read already says what became of it.
    pub(super) fn wrote(&mut self, key: &[u8], partition: i32, offset: i64) {
        if offset >= self.next(partition) {
            self.keys.entry(key.to_vec()).or_default().insert(offset);
        }
    }

    /// Whether a key has records there.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    /// How many keys have.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"order";

    #[test]
    fn a_key_is_parked_until_all_its_records_are_released() {
        let mut parked = Parked::default();
        parked.read(KEY, 0, 3);
        parked.read(KEY, 0, 5);
        assert_eq!(parked.read_release(KEY, 0, 6, 3), 1);
        assert!(parked.has(KEY));
        assert_eq!(parked.read_release(KEY, 0, 7, 5), 1);
        assert!(!parked.has(KEY));
        assert_eq!(parked.read_release(KEY, 0, 8, 5), 0);
        assert_eq!((parked.next(0), parked.next(1), parked.len()), (9, 0, 0));
    }

    #[test]
    fn a_record_written_after_those_that_were_handed_out_again_keeps_its_key_parked() {
        let mut parked = Parked::default();
        parked.wrote(KEY, 0, 3);
        parked.wrote(KEY, 0, 4);
        parked.read(KEY, 0, 3);
        parked.read(KEY, 0, 4);
        parked.read_release(KEY, 0, 5, 3);
        assert!(parked.has(KEY));
    }

    #[test]
    fn what_is_acknowledged_after_its_release_was_read_does_not_park_again() {
        let mut parked = Parked::default();
        parked.read(KEY, 0, 3);
        parked.read_release(KEY, 0, 4, 3);
        parked.wrote(KEY, 0, 3);
        assert!(!parked.has(KEY));
    }
}
