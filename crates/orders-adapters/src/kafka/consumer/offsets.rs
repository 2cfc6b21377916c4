//! How far a partition is done with: contiguously.

use std::collections::BTreeSet;

/// The records of a partition that are in hand.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    open: BTreeSet<i64>,
    /// After the last record that was taken.
    next: Option<i64>,
    committed: Option<i64>,
}

impl Offsets {
    /// Takes a record; whether it goes on from the one before. If not, the partition is another one
    /// than it was, and the position goes back to this record.
    pub(super) fn take(&mut self, offset: i64) -> bool {
        if self.next.is_some_and(|next| offset < next) {
            *self = Self { next: Some(offset), ..Self::default() };
            return false;
        }
        self.open.insert(offset);
        self.next = Some(offset + 1);
        true
    }

    /// A record is done with.
    pub(super) fn done(&mut self, offset: i64) {
        self.open.remove(&offset);
    }

    /// The first record that is not done with, when none was taken `None`: where to go on after a
    /// restart.
    pub(super) fn position(&self) -> Option<i64> {
        self.open.first().copied().or(self.next)
    }

    /// The position, if it has moved since the last call.
    pub(super) fn advance(&mut self) -> Option<i64> {
        let position = self.position().filter(|position| self.committed != Some(*position))?;
        self.committed = Some(position);
        Some(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_committed_beyond_a_record_that_is_not_done_with() {
        let mut offsets = Offsets::default();
        assert_eq!(offsets.advance(), None);
        for offset in [5, 6, 9] {
            assert!(offsets.take(offset));
        }
        offsets.done(6);
        assert_eq!(offsets.advance(), Some(5));
        offsets.done(9);
        assert_eq!(offsets.advance(), None);
        offsets.done(5);
        assert_eq!(offsets.advance(), Some(10));
        assert_eq!(offsets.advance(), None);
    }

    #[test]
    fn a_record_before_those_taken_takes_the_position_back_to_it_whatever_was_in_hand() {
        let mut offsets = Offsets::default();
        for offset in [5, 6, 7] {
            assert!(offsets.take(offset));
        }
        offsets.done(5);
        assert_eq!(offsets.advance(), Some(6));
        assert!(!offsets.take(6));
        // The one that was there before ends.
        offsets.done(6);
        assert_eq!(offsets.position(), Some(6));
        offsets.done(7);
        assert_eq!(offsets.advance(), Some(6));
    }
}
