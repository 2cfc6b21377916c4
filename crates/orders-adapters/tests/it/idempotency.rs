//! The idempotency table, on the core over SQLite, and what it takes to hold another store to it.

use jiff::SignedDuration;
use orders::{Orders, ports::Ports, usecase::Policy};
use orders_testkit::{
    World,
    contract::Subject,
    idempotency::{CoreDriver, run},
};

use crate::fixture::Fixture;

/// A store, with a clock that can be moved.
struct Timed<S> {
    subject: S,
    world: World,
}

impl<S: Subject> Ports for Timed<S> {
    type Store = S::Store;
    type Clock = <World as Ports>::Clock;
    type Ids = <World as Ports>::Ids;
    type Gateway = World;

    fn store(&self) -> &S::Store {
        self.subject.store()
    }

    fn clock(&self) -> &Self::Clock {
        self.world.clock()
    }

    fn ids(&self) -> &Self::Ids {
        self.world.ids()
    }

    fn gateway(&self) -> &World {
        &self.world
    }
}

/// Holds the core over fresh stores to the table.
pub(crate) async fn hold<S: Subject>(fresh: &impl AsyncFn() -> S) {
    run(async || {
        let world = World::new(1);
        let clock = world.clone();
        let ports = Timed { subject: fresh().await, world };
        CoreDriver::new(Orders::new(ports, Policy::default()), move |hours| {
            clock.clock().jump(SignedDuration::from_hours(hours));
        })
    })
    .await;
}

#[tokio::test]
async fn the_core_over_sqlite_keeps_the_idempotency_table() {
    hold(&async || Fixture::new()).await;
}
