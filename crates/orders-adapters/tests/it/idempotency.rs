//! The idempotency table, on the core over SQLite.

use jiff::SignedDuration;
use orders::{Orders, ports::Ports, usecase::Policy};
use orders_adapters::sqlite::Sqlite;
use orders_testkit::{
    World,
    idempotency::{CoreDriver, run},
};

use crate::fixture::Fixture;

/// SQLite, with a clock that can be moved.
struct Timed {
    fixture: Fixture,
    world: World,
}

impl Ports for Timed {
    type Store = Sqlite;
    type Clock = <World as Ports>::Clock;
    type Ids = <World as Ports>::Ids;
    type Gateway = World;

    fn store(&self) -> &Self::Store {
        &self.fixture.store
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

#[tokio::test]
async fn the_core_over_sqlite_keeps_the_idempotency_table() {
    run(async || {
        let world = World::new(1);
        let clock = world.clone();
        let ports = Timed { fixture: Fixture::new(), world };
        CoreDriver::new(Orders::new(ports, Policy::default()), move |hours| {
            clock.clock().jump(SignedDuration::from_hours(hours));
        })
    })
    .await;
}
