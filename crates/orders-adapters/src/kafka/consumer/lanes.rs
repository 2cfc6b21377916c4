//! Records of one key, one after the other.

use std::collections::{HashMap, VecDeque};

use crate::kafka::delivery::Delivery;

/// The records in hand, by their keys. The first of each key is being carried out.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    waiting: HashMap<Vec<u8>, VecDeque<Delivery>>,
    len: usize,
}

impl Lanes {
    /// Puts a record into its lane; returns it if it is its turn.
    pub(super) fn put(&mut self, delivery: Delivery) -> Option<Delivery> {
        self.len += 1;
        let lane = delivery.lane();
        if let Some(waiting) = self.waiting.get_mut(&lane) {
            waiting.push_back(delivery);
            return None;
        }
        self.waiting.insert(lane, VecDeque::new());
        Some(delivery)
    }

    /// The record whose turn it was is done with; returns the next of its lane.
    pub(super) fn next(&mut self, lane: &[u8]) -> Option<Delivery> {
        let waiting = self.waiting.get_mut(lane)?;
        self.len -= 1;
        let next = waiting.pop_front();
        if next.is_none() {
            self.waiting.remove(lane);
        }
        next
    }

    /// Forgets all records whose turn has not come.
    pub(super) fn forget_waiting(&mut self) {
        for waiting in self.waiting.values_mut() {
            self.len -= waiting.len();
            waiting.clear();
        }
    }

    /// How many records are in hand.
    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(key: &str, offset: i64) -> Delivery {
        Delivery {
            topic: "in".to_owned(),
            partition: 0,
            offset,
            key: (!key.is_empty()).then(|| key.as_bytes().to_vec()),
            value: None,
            headers: Vec::new(),
            again: false,
        }
    }

    #[test]
    fn one_record_of_a_key_is_handed_out_at_a_time() {
        let mut lanes = Lanes::default();
        let (a, b, other) = (delivery("a", 1), delivery("a", 2), delivery("b", 3));
        assert_eq!(lanes.put(a.clone()), Some(a.clone()));
        assert_eq!(lanes.put(b.clone()), None);
        assert_eq!(lanes.put(other.clone()), Some(other.clone()));
        assert_eq!(lanes.len(), 3);
        assert_eq!(lanes.next(&a.lane()), Some(b.clone()));
        assert_eq!(lanes.next(&b.lane()), None);
        assert_eq!(lanes.next(&other.lane()), None);
        assert_eq!(lanes.len(), 0);
        assert_eq!(lanes.put(a.clone()), Some(a));
    }

    #[test]
    fn records_without_a_key_do_not_wait_for_each_other() {
        let mut lanes = Lanes::default();
        assert!(lanes.put(delivery("", 1)).is_some());
        assert!(lanes.put(delivery("", 2)).is_some());
    }

    #[test]
    fn what_waits_can_be_forgotten_and_what_runs_ends() {
        let mut lanes = Lanes::default();
        let first = lanes.put(delivery("a", 1)).unwrap();
        assert!(lanes.put(delivery("a", 2)).is_none());
        lanes.forget_waiting();
        assert_eq!(lanes.len(), 1);
        assert_eq!(lanes.next(&first.lane()), None);
        assert_eq!(lanes.len(), 0);
    }
}
