//! The use cases over one store, as one process of several has them.

use std::sync::Arc;

use mainstay::metrics::Metrics;
use orders::{
    Orders,
    ports::{Ports, Store},
    usecase::Policy,
};
use orders_adapters::postgres::{Config, Postgres};
use orders_testkit::World;

/// The use cases of one process.
pub(crate) type Process = Arc<Orders<Parts<Postgres>>>;

/// A store, and the clock, ids and gateway of a world.
pub(crate) struct Parts<S> {
    store: S,
    world: World,
}

impl<S> Parts<S> {
    pub(crate) fn new(store: S, world: &World) -> Self {
        Self { store, world: world.clone() }
    }
}

impl<S: Store> Ports for Parts<S> {
    type Store = S;
    type Clock = <World as Ports>::Clock;
    type Ids = <World as Ports>::Ids;
    type Gateway = World;

    fn store(&self) -> &S {
        &self.store
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

/// A process on a database whose tables are there.
pub(crate) async fn process(config: &Config, world: &World) -> Process {
    let store = Postgres::open(config, &Metrics::new("test")).await.unwrap();
    Arc::new(Orders::new(Parts::new(store, world), Policy::default()))
}
