//! The bus of a world: what Kafka makes of the records of a relay, with faults on demand.
//!
//! A record that is handed over has its fate at once: whether and when it is kept, and what its sender is
//! told and when. So it does not matter to it whether its sender still waits, or still lives.
//! Deliberately absent: consumers, and a broker that refuses a record for itself.

mod faults;
mod producer;
mod topic;

use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
};

use orders::{
    domain::{ChangeId, Position},
    ports::{Change, Event, Page, ReadError, Scope},
};
use tokio::time::Instant;

pub use faults::{BusFaults, BusMode};
pub use producer::Producer;
pub(crate) use topic::Topic;

use self::{faults::Mishaps, topic::Message};
use super::{World, bug::Bug};
use crate::Stream;

/// The brokers, and what is on its way there.
#[derive(Debug)]
pub(super) struct Bus {
    bug: Option<Bug>,
    topic: Topic,
    mishaps: Mishaps,
    wire: BTreeMap<(Instant, u64), Message>,
    sent: u64,
    /// Whoever got ready last to tell of orders as they are now: nobody else is heard.
    teller: u64,
}

impl Bus {
    pub(super) fn new(stream: Stream, bug: Option<Bug>) -> Self {
        Self {
            bug,
            topic: Topic::new(0, bug),
            mishaps: Mishaps::new(stream),
            wire: BTreeMap::new(),
            sent: 0,
            teller: 0,
        }
    }

    /// Keeps what has arrived by now.
    fn settle(&mut self, now: Instant) {
        while let Some(next) = self.wire.first_entry().filter(|next| next.key().0 <= now) {
            let message = next.remove();
            self.arrives(message);
        }
    }

    fn arrives(&mut self, message: Message) {
        match &message {
            Message::State(state) if !self.hears(state.teller) => {}
            Message::State(_) | Message::Event(_) => self.topic.keep(message),
        }
    }

    /// From here on only this one is heard; who it is.
    fn ready(&mut self) -> u64 {
        self.teller += 1;
        self.teller
    }

    fn hears(&self, teller: u64) -> bool {
        teller == self.teller || self.bug == Some(Bug::OvertakenStillHeard)
    }

    /// Sends records at once; answers whether each will be acknowledged, and when the last is told of.
    fn send(&mut self, records: Vec<Message>, now: Instant) -> Wave {
        let is_fatal = self.mishaps.fails_for_good();
        let mut wave =
            Wave { is_fatal, ends: now, acknowledged: Vec::with_capacity(records.len()) };
        for record in records {
            let fate = if is_fatal { self.mishaps.fails() } else { self.mishaps.sends() };
            if let Some(after) = fate.kept {
                self.sent += 1;
                self.wire.insert((now + after, self.sent), record);
            }
            wave.ends = wave.ends.max(now + fate.told);
            wave.acknowledged.push(fate.acknowledged);
        }
        wave
    }

    /// The event as a message; with a planted bug another one each time.
    fn message(&mut self, event: &Event) -> Message {
        let mut event = event.clone();
        let again = self.topic.has(event.order, event.version);
        if self.bug == Some(Bug::RepeatedUnderNewId) && again {
            event.id = ChangeId(uuid::Uuid::from_u64_pair(self.mishaps.bits(), 0));
        }
        Message::Event(Box::new(event))
    }
}

/// Records that were sent at once.
#[derive(Debug)]
struct Wave {
    is_fatal: bool,
    ends: Instant,
    acknowledged: Vec<bool>,
}

impl World {
    /// From here on there is a bus, with nothing in it yet.
    pub fn start_bus(&self, partitions: usize) {
        // Somebody publishes from the start: nothing is forgotten before that.
        self.kept().engine.mark_published(Position(0));
        let mut bus = self.bus();
        bus.topic = Topic::new(partitions, bus.bug);
    }

    /// From here on, what is sent to the bus goes wrong this often.
    pub fn set_bus_faults(&self, faults: BusFaults) {
        self.bus().mishaps.faults = faults;
    }

    /// From here on, this holds for all that is sent to the bus.
    pub fn set_bus_mode(&self, mode: BusMode) {
        self.bus().mishaps.mode = mode;
    }

    /// A publisher of one process.
    pub fn producer(&self) -> Producer {
        Producer::new(self.clone())
    }

    /// Everything that was kept of the feed, by partition and in order, repeats included.
    pub fn on_the_bus(&self) -> Vec<Vec<Event>> {
        self.bus().topic.partitions().to_vec()
    }

    /// What the bus has kept.
    pub(crate) fn read_bus<T>(&self, read: impl FnOnce(&Topic) -> T) -> T {
        read(&self.bus().topic)
    }

    /// What was wrong with what was published, since this was last asked.
    pub(crate) fn wrong_on_the_bus(&self) -> Vec<String> {
        self.bus().topic.take_wrong()
    }

    /// Whatever is still on its way arrives.
    pub(crate) fn deliver_all(&self) {
        let mut bus = self.bus();
        while let Some((_, message)) = bus.wire.pop_first() {
            bus.arrives(message);
        }
    }

    /// Every event that is handed over is committed, and is what was committed.
    fn check_handed_over(&self, events: &[Event]) {
        let Some(first) = events.first() else { return };
        let page = Page { after: Some(Position(first.position.0 - 1)), limit: events.len() };
        let committed = match self.kept().engine.events(&Scope::All, page) {
            Ok(page) => page.events,
            // They were forgotten since: what was published then is held against this.
            Err(ReadError::CursorTooOld { .. }) => return,
            Err(error) => panic!("a feed that can be read, and not {error}"),
        };
        for (at, event) in events.iter().enumerate() {
            if committed.get(at) != Some(event) {
                let (order, version) = (event.order, event.version);
                let what = format!("{order}: version {version} is published and not committed");
                self.bus().topic.wrong(what);
            }
        }
    }

    /// What is noted as published was kept, and what is noted never goes back.
    pub(super) fn check_noted(&self, before: Option<Position>, after: Option<Position>) {
        let (Some(before), Some(after)) = (before, after) else { return };
        let mut bus = self.bus();
        if !bus.topic.exists() {
            return;
        }
        let kept = bus.topic.kept();
        if after > kept {
            let missing = kept.next();
            bus.topic.wrong(format!("{after} is noted as published: {missing} is not on the bus"));
        }
        if after < before {
            bus.topic.wrong(format!("published is noted as {after} after {before}"));
        }
    }

    /// Nothing is forgotten that is not published yet.
    pub(super) fn check_forgotten(&self) {
        if !self.read_bus(Topic::exists) {
            return;
        }
        let mut kept = self.kept();
        let published = kept.engine.published().unwrap_or(Position(0));
        let page = Page { after: Some(published), limit: 1 };
        let read = kept.engine.events(&Scope::All, page);
        drop(kept);
        if let Err(ReadError::CursorTooOld { oldest }) = read {
            let what = format!("all before {oldest} is forgotten, and published up to {published}");
            self.bus().topic.wrong(what);
        }
    }

    /// A planted bug's event, which is told before its change is committed.
    pub(super) fn tell_early(&self, change: &Change) {
        let Some(write) = change.write.as_deref().filter(|_| self.read_bus(Topic::exists)) else {
            return;
        };
        let (entry, told) = (&write.entry, &write.event);
        let event = Event {
            position: self.kept().engine.head().next(),
            id: entry.change,
            tenant: change.tenant.clone(),
            order: entry.order,
            version: entry.version,
            kind: told.kind.to_owned(),
            at: entry.at,
            trace: entry.trace,
            data: told.data.clone(),
        };
        self.check_handed_over(std::slice::from_ref(&event));
        self.bus().topic.keep(Message::Event(Box::new(event)));
    }

    /// The bus now, with everything kept that has arrived.
    fn bus(&self) -> MutexGuard<'_, Bus> {
        let mut bus = self.0.bus.lock().unwrap_or_else(PoisonError::into_inner);
        bus.settle(Instant::now());
        bus
    }
}
