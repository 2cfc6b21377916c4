//! The world: every port in memory, with faults on demand.
//!
//! A [`World`] keeps to the contract of [`orders::ports`] exactly; the suite in
//! [`crate::contract`] holds it to that as it does the real adapters. All that happens follows from
//! the seed: no wall clock, no random state, no thread.

mod bridge;
mod bug;
mod bus;
mod clock;
mod engine;
mod faults;
mod gateway;
mod ids;
mod store;
mod tables;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use orders::{
    Orders,
    domain::{Order, OrderId, Position, TenantId},
    ports::{Change, OrderRef, Ports, Task, TaskId},
    usecase::Policy,
};
use tokio::{sync::Notify, time::Instant};

pub use bridge::{Bridge, Database};
pub use bug::Bug;
pub(crate) use bus::Topic;
pub use bus::{BusFaults, BusMode, Producer};
pub use clock::{Clock, START};
pub use engine::Engine;
pub use faults::{Fault, Faults};
pub use gateway::{Calls, Effect, GatewayFault, GatewayFaults, GatewayMode, Webhook, Webhooks};
pub use ids::Ids;

use self::{bus::Bus, faults::Injector, gateway::Provider, tables::Tables};
use crate::Stream;

/// A store, a clock and ids in memory. Clones share everything.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    bug: Option<Bug>,
    clock: Clock,
    ids: Ids,
    kept: Mutex<Kept>,
    injector: Mutex<Injector>,
    provider: Mutex<Provider>,
    bus: Mutex<Bus>,
    grown: Notify,
}

/// What is stored, and what is on its way there.
struct Kept {
    engine: Box<dyn Engine>,
    /// Changes whose connection was lost and that take effect then. They are the server's: a crash of
    /// the process that sent them does not stop them.
    late: BTreeMap<(Instant, u64), Change>,
    sent: u64,
}

impl Kept {
    fn commit_later(&mut self, change: Change, at: Instant) {
        self.sent += 1;
        self.late.insert((at, self.sent), change);
    }

    /// Lets everything take effect that is due by now.
    fn settle(&mut self, now: Instant) {
        self.engine.settle(now);
        while let Some(next) = self.late.first_entry().filter(|next| next.key().0 <= now) {
            self.engine.commit(next.remove());
        }
    }

    /// Lets everything take effect that was sent.
    fn commit_all(&mut self) {
        while let Some((_, change)) = self.late.pop_first() {
            self.engine.commit(change);
        }
    }
}

/// The components of a world that draw random numbers.
mod component {
    pub(super) const UUIDS: u64 = 1;
    pub(super) const NUMBERS: u64 = 2;
    pub(super) const FAULTS: u64 = 3;
    pub(super) const PROVIDER: u64 = 4;
    pub(super) const MAIL: u64 = 5;
    pub(super) const BUS: u64 = 6;
}

impl World {
    /// An empty world without faults.
    pub fn new(seed: u64) -> Self {
        Self::build(seed, None, Box::new(Tables::new(None)))
    }

    /// An empty world with a planted bug.
    pub fn with_bug(seed: u64, bug: Bug) -> Self {
        Self::build(seed, Some(bug), Box::new(Tables::new(Some(bug))))
    }

    /// A world that keeps its orders in this.
    pub fn over(seed: u64, engine: Box<dyn Engine>) -> Self {
        Self::build(seed, None, engine)
    }

    fn build(seed: u64, bug: Option<Bug>, engine: Box<dyn Engine>) -> Self {
        let stream = |component| Stream::new(seed, component);
        Self(Arc::new(Inner {
            bug,
            clock: Clock::new(),
            ids: Ids::new(stream(component::UUIDS), stream(component::NUMBERS)),
            kept: Mutex::new(Kept { engine, late: BTreeMap::new(), sent: 0 }),
            injector: Mutex::new(Injector::new(stream(component::FAULTS))),
            provider: Mutex::new(Provider::new(
                stream(component::PROVIDER),
                stream(component::MAIL),
                bug,
            )),
            bus: Mutex::new(Bus::new(stream(component::BUS), bug)),
            grown: Notify::new(),
        }))
    }

    /// The use cases over this world, with the default policy.
    pub fn orders(&self) -> Orders<Self> {
        self.orders_with(Policy::default())
    }

    /// The use cases over this world.
    pub fn orders_with(&self, policy: Policy) -> Orders<Self> {
        Orders::new(self.clone(), policy)
    }

    /// The wall clock, to be moved.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Where ids come from.
    pub fn ids(&self) -> &Ids {
        &self.0.ids
    }

    /// From here on, calls go wrong this often.
    pub fn set_faults(&self, faults: Faults) {
        self.injector().set(faults);
    }

    /// The next call that it applies to, a commit or a read, meets this fault. Call it several
    /// times for several in a row.
    pub fn fail_next(&self, fault: Fault) {
        self.injector().script(fault);
    }

    /// From here on, a change is told to wait this long. It does not: what is told is for whoever refuses
    /// changes by it.
    pub fn expect_wait(&self, wait: Duration) {
        self.injector().expected = wait;
    }

    /// The process that used this store ends without notice. What is committed stays.
    pub fn crash(&self) {
        self.kept().engine.crash();
    }

    /// A tenant's order as it is stored, whatever the faults.
    pub(crate) fn stored(&self, tenant: &TenantId, order: OrderId) -> Option<Order> {
        Some(self.kept().engine.order(tenant, OrderRef::Id(order))?.order)
    }

    /// Every task that is owed, whatever the faults.
    pub(crate) fn owed(&self) -> Vec<Task> {
        self.kept().engine.tasks()
    }

    /// A task, if it is owed, whatever the faults.
    pub(crate) fn owes(&self, task: TaskId) -> Option<Task> {
        self.kept().engine.task(task)
    }

    /// How far the feed was published, and how far it is, whatever the faults.
    pub(crate) fn published_of(&self) -> (Position, Position) {
        let mut kept = self.kept();
        (kept.engine.published().unwrap_or(Position(0)), kept.engine.head())
    }

    /// How many handles to this world there are.
    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    fn injector(&self) -> MutexGuard<'_, Injector> {
        self.0.injector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is stored now, with everything done that is due.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.settle(Instant::now());
        kept
    }

    fn has(&self, bug: Bug) -> bool {
        self.0.bug == Some(bug)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("census", &self.kept().engine.census())
            .finish_non_exhaustive()
    }
}

impl Ports for World {
    type Store = Self;
    type Clock = Clock;
    type Ids = Ids;
    type Gateway = Self;

    fn store(&self) -> &Self {
        self
    }

    fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn ids(&self) -> &Ids {
        &self.0.ids
    }

    fn gateway(&self) -> &Self {
        self
    }
}
