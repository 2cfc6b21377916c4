//! The bus of a world: what Kafka makes of the records of a relay, with faults on demand.
//!
//! A record that is handed over has its fate at once: whether and when it is kept, and what its sender is
//! told and when. So it does not matter to it whether its sender still waits, or still lives.
//! Deliberately absent: consumers, and a broker that refuses a record for itself.

mod faults;
mod topic;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay_context::Context;
use orders::{
    domain::{ChangeId, Order, OrderId, Position},
    ports::{Change, Event, Page, PublishError, Publisher, ReadError, Scope},
};
use tokio::time::{self, Instant};

pub use faults::{BusFaults, BusMode};
pub(crate) use topic::Topic;

use self::{
    faults::Mishaps,
    topic::{Message, State},
};
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
    producers: u64,
    /// By which producer the last state of an order was sent, and when it is kept.
    states: BTreeMap<OrderId, (u64, Instant)>,
}

impl Bus {
    pub(super) fn new(stream: Stream, bug: Option<Bug>) -> Self {
        Self {
            bug,
            topic: Topic::new(0, bug),
            mishaps: Mishaps::new(stream),
            wire: BTreeMap::new(),
            sent: 0,
            producers: 0,
            states: BTreeMap::new(),
        }
    }

    /// Keeps what has arrived by now.
    fn settle(&mut self, now: Instant) {
        while let Some(next) = self.wire.first_entry().filter(|next| next.key().0 <= now) {
            let message = next.remove();
            self.topic.keep(message);
        }
    }

    /// Sends records at once; answers whether each will be acknowledged, and when the last is told of.
    fn send(&mut self, records: Vec<Message>, now: Instant) -> Wave {
        let is_fatal = self.mishaps.fails_for_good();
        let mut wave =
            Wave { is_fatal, ends: now, acknowledged: Vec::with_capacity(records.len()) };
        for record in records {
            let fate = if is_fatal { self.mishaps.fails() } else { self.mishaps.sends() };
            let mut told = now + fate.told;
            if let Some(after) = fate.kept {
                let at = self.in_order(&record, now + after);
                told = told.max(at);
                self.sent += 1;
                self.wire.insert((at, self.sent), record);
            }
            wave.ends = wave.ends.max(told);
            wave.acknowledged.push(fate.acknowledged);
        }
        wave
    }

    /// When a record is kept: of an order's states not before the one that the same producer sent
    /// before it.
    fn in_order(&mut self, record: &Message, at: Instant) -> Instant {
        let Message::State(state) = record else { return at };
        let before = self.states.get(&state.order).filter(|(by, _)| *by == state.producer);
        let at = before.map_or(at, |(_, before)| at.max(*before));
        self.states.insert(state.order, (state.producer, at));
        at
    }

    fn new_producer(&mut self) -> u64 {
        self.producers += 1;
        self.producers
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
        let number = AtomicU64::new(self.bus().new_producer());
        Producer { world: self.clone(), number, sent: Mutex::default() }
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
            bus.topic.keep(message);
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
    pub(super) fn check_noted(&self, before: Position, after: Position) {
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
        let published = kept.engine.published();
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

/// A publisher on the bus of a world. As the real one, it hands a record of an order over only once the
/// one before it was acknowledged, and the orders as they are now once all events were.
#[derive(Debug)]
pub struct Producer {
    world: World,
    /// Another one after it has failed for good.
    number: AtomicU64,
    /// The last position that a planted bug takes as published.
    sent: Mutex<Position>,
}

/// Why records were not, or not surely, kept.
type Trouble = &'static str;

const FAILED: Trouble = "a record was not acknowledged";
const FATAL: Trouble = "the producer failed for good";
const LATE: Trouble = "the deadline passed";

impl Publisher for Producer {
    async fn publish(
        &self,
        cx: &Context,
        events: &[Event],
        orders: &[Order],
    ) -> Result<(), PublishError> {
        self.world.check_handed_over(events);
        let published = self.events(cx, self.unsent(events)).await;
        let published = match published {
            Ok(()) => self.states(cx, orders).await,
            Err(trouble) => Err(trouble),
        };
        published.map_err(|trouble| PublishError(trouble.into()))
    }
}

impl Producer {
    /// All of them; with a planted bug only those that were not sent before.
    fn unsent<'a>(&self, events: &'a [Event]) -> &'a [Event] {
        if !self.world.has(Bug::ResumedAfterSent) {
            return events;
        }
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let done = events.partition_point(|event| event.position <= *sent);
        if let Some(last) = events.last() {
            *sent = last.position.max(*sent);
        }
        &events[done..]
    }

    /// Of each order the next event, until all are acknowledged or each order's rest waits for one that
    /// is not.
    async fn events(&self, cx: &Context, events: &[Event]) -> Result<(), Trouble> {
        let mut chains = by_order(events);
        let mut outcome = Ok(());
        let goes_on = self.world.has(Bug::FailedEventPassed);
        while !chains.is_empty() {
            let next = chains.iter().map(|chain| chain[0]);
            let records = {
                let mut bus = self.world.bus();
                next.map(|event| bus.message(event)).collect()
            };
            let acknowledged = self.send(cx, records).await?;
            let mut acknowledged = acknowledged.into_iter();
            chains.retain_mut(|chain| {
                let passed = acknowledged.next().unwrap_or(false);
                if !passed {
                    outcome = Err(FAILED);
                }
                chain.remove(0);
                (passed || goes_on) && !chain.is_empty()
            });
        }
        outcome
    }

    async fn states(&self, cx: &Context, orders: &[Order]) -> Result<(), Trouble> {
        let producer = self.number.load(Ordering::Relaxed);
        let state = |order: &Order| {
            Message::State(State { order: order.id, version: order.version, producer })
        };
        let acknowledged = self.send(cx, orders.iter().map(state).collect()).await?;
        let all = acknowledged.into_iter().all(|acknowledged| acknowledged);
        if all || self.world.has(Bug::LostStatePassed) { Ok(()) } else { Err(FAILED) }
    }

    /// Sends records at once and waits for what is told of each: whether it is kept.
    async fn send(&self, cx: &Context, records: Vec<Message>) -> Result<Vec<bool>, Trouble> {
        let Wave { is_fatal, ends, acknowledged } = {
            let mut bus = self.world.bus();
            let wave = bus.send(records, Instant::now());
            if wave.is_fatal {
                self.number.store(bus.new_producer(), Ordering::Relaxed);
            }
            wave
        };
        if self.world.has(Bug::MarkedBeforeAcknowledged) {
            return Ok(vec![true; acknowledged.len()]);
        }
        wait(cx, ends).await?;
        if is_fatal { Err(FATAL) } else { Ok(acknowledged) }
    }
}

/// Waits until then, or until the deadline.
async fn wait(cx: &Context, until: Instant) -> Result<(), Trouble> {
    let deadline = cx.deadline().map(Instant::from_std);
    let ends = deadline.map_or(until, |deadline| deadline.min(until));
    if ends.saturating_duration_since(Instant::now()) > Duration::ZERO {
        time::sleep_until(ends).await;
    }
    if ends < until { Err(LATE) } else { Ok(()) }
}

/// The events of each order, in their order.
fn by_order(events: &[Event]) -> Vec<Vec<&Event>> {
    let mut chains: BTreeMap<OrderId, Vec<&Event>> = BTreeMap::new();
    for event in events {
        chains.entry(event.order).or_default().push(event);
    }
    chains.into_values().collect()
}
