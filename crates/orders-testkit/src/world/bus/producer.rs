//! Who sends: a publisher of one process.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay_context::Context;
use orders::{
    domain::{Order, OrderId, Position},
    ports::{Event, PublishError, Publisher},
};
use tokio::time::{self, Instant};

use super::{
    BusMode, Wave,
    faults::HANGS,
    topic::{Message, State},
};
use crate::world::{World, bug::Bug};

/// A publisher on the bus of a world. As the real one, it hands a record of an order over only once the
/// one before it was acknowledged, and the orders as they are now once all events were. Whoever gets
/// ready for these is heard until somebody else does, and has to get ready anew when they were not, or not
/// surely, kept.
#[derive(Debug)]
pub struct Producer {
    world: World,
    /// Who it is to those who hear of orders as they are now; 0 while it is not ready.
    teller: AtomicU64,
    /// The last position that a planted bug takes as published.
    sent: Mutex<Position>,
}

/// Why records were not, or not surely, kept.
type Trouble = &'static str;

const FAILED: Trouble = "a record was not acknowledged";
const FATAL: Trouble = "the producer failed for good";
const OVERTAKEN: Trouble = "another producer has taken its place";
const LATE: Trouble = "the deadline passed";

impl Publisher for Producer {
    async fn ready(&self, cx: &Context) -> Result<(), PublishError> {
        if self.teller.load(Ordering::Relaxed) != 0 {
            return Ok(());
        }
        let mode = self.world.bus().mishaps.mode;
        let ready = match mode {
            BusMode::Up => {
                self.teller.store(self.world.bus().ready(), Ordering::Relaxed);
                Ok(())
            }
            BusMode::Refusing => Err(FAILED),
            BusMode::Silent => wait(cx, Instant::now() + HANGS).await.and(Err(FAILED)),
        };
        ready.map_err(|trouble: Trouble| PublishError(trouble.into()))
    }

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
    pub(super) fn new(world: World) -> Self {
        Self { world, teller: AtomicU64::new(0), sent: Mutex::default() }
    }

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
        if orders.is_empty() {
            return Ok(());
        }
        // Taken at once, so that what is given up leaves nothing behind to rely on.
        let teller = self.teller.swap(0, Ordering::Relaxed);
        if !self.world.bus().hears(teller) {
            return Err(OVERTAKEN);
        }
        let state = |order: &Order| {
            Message::State(State { order: order.id, version: order.version, teller })
        };
        let acknowledged = self.send(cx, orders.iter().map(state).collect()).await?;
        let all = acknowledged.into_iter().all(|acknowledged| acknowledged);
        if !all && !self.world.has(Bug::LostStatePassed) {
            return Err(FAILED);
        }
        if !self.world.bus().hears(teller) {
            return Err(OVERTAKEN);
        }
        self.teller.store(teller, Ordering::Relaxed);
        Ok(())
    }

    /// Sends records at once and waits for what is told of each: whether it is kept.
    async fn send(&self, cx: &Context, records: Vec<Message>) -> Result<Vec<bool>, Trouble> {
        let Wave { is_fatal, ends, acknowledged } = self.world.bus().send(records, Instant::now());
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
