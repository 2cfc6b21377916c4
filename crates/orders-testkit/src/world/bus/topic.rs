//! What the bus keeps: a log of events by partition, and of each order the state it was told last.
//! Whatever is kept is looked at as it comes.

use std::collections::{BTreeMap, BTreeSet};

use orders::{
    domain::{OrderId, Position, Version},
    ports::Event,
};

use crate::world::bug::Bug;

/// Something that is sent to the bus.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Event(Box<Event>),
    State(State),
}

/// An order as it was told of, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) order: OrderId,
    pub(super) version: Version,
    pub(super) teller: u64,
}

/// What is kept.
#[derive(Debug)]
pub(crate) struct Topic {
    bug: Option<Bug>,
    partitions: Vec<Vec<Event>>,
    keys: BTreeMap<OrderId, Key>,
    states: BTreeMap<OrderId, Version>,
    /// Every position up to here was kept, and these beyond.
    kept: Position,
    ahead: BTreeSet<Position>,
    repeats: u64,
    /// What must not be, and is.
    wrong: Vec<String>,
}

/// Where the events of an order are.
#[derive(Debug)]
struct Key {
    partition: usize,
    /// The offsets of the first copies, by version.
    first: Vec<usize>,
}

impl Topic {
    pub(super) fn new(partitions: usize, bug: Option<Bug>) -> Self {
        Self {
            bug,
            partitions: vec![Vec::new(); partitions],
            keys: BTreeMap::new(),
            states: BTreeMap::new(),
            kept: Position(0),
            ahead: BTreeSet::new(),
            repeats: 0,
            wrong: Vec::new(),
        }
    }

    pub(super) fn exists(&self) -> bool {
        !self.partitions.is_empty()
    }

    pub(super) fn keep(&mut self, message: Message) {
        match message {
            Message::Event(event) => self.event(*event),
            Message::State(state) => self.state(state),
        }
    }

    /// Each version of an order is first seen after the one before it, in one partition, and every
    /// further copy is the same message.
    fn event(&mut self, event: Event) {
        let at = self.partition(&event);
        let Some(log) = self.partitions.get_mut(at) else { return };
        let (order, version) = (event.order, event.version);
        let key =
            self.keys.entry(order).or_insert_with(|| Key { partition: at, first: Vec::new() });
        let seen = key.first.len();
        let place = usize::try_from(version.get() - 1).unwrap_or(usize::MAX);
        let wrong = if key.partition != at {
            Some(format!("{order}: is in partition {at} and in {}", key.partition))
        } else if place > seen {
            Some(format!("{order}: version {version} is first seen on the bus after {seen}"))
        } else if place == seen {
            key.first.push(log.len());
            None
        } else {
            self.repeats += 1;
            let first = key.first.get(place).and_then(|offset| log.get(*offset));
            (first != Some(&event))
                .then(|| format!("{order}: version {version} is on the bus as two messages"))
        };
        self.wrong.extend(wrong);
        self.ahead.insert(event.position);
        while self.ahead.remove(&self.kept.next()) {
            self.kept = self.kept.next();
        }
        log.push(event);
    }

    fn partition(&self, event: &Event) -> usize {
        let by = if self.bug == Some(Bug::PartitionNotByOrder) {
            event.position.0
        } else {
            event.order.0.as_u64_pair().1
        };
        by.checked_rem(self.partitions.len() as u64)
            .and_then(|at| usize::try_from(at).ok())
            .unwrap_or(0)
    }

    /// The states of an order never go back, whoever tells them.
    fn state(&mut self, State { order, version, .. }: State) {
        if let Some(before) = self.states.insert(order, version)
            && version < before
        {
            self.wrong.push(format!("{order}: its state {version} is told after {before}"));
        }
    }

    /// The version of an order that was told last.
    pub(crate) fn state_of(&self, order: OrderId) -> Option<Version> {
        self.states.get(&order).copied()
    }

    /// Whether the order's event of a version was kept.
    pub(super) fn has(&self, order: OrderId, version: Version) -> bool {
        let seen = self.keys.get(&order).map_or(0, |key| key.first.len() as u64);
        version.get() <= seen
    }

    /// What is in the partitions, each in its order.
    pub(crate) fn partitions(&self) -> &[Vec<Event>] {
        &self.partitions
    }

    /// Every event of the feed up to here was kept.
    pub(crate) const fn kept(&self) -> Position {
        self.kept
    }

    /// How many events were kept again.
    pub(crate) const fn repeats(&self) -> u64 {
        self.repeats
    }

    pub(super) fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    pub(super) fn take_wrong(&mut self) -> Vec<String> {
        std::mem::take(&mut self.wrong)
    }
}
