//! The core's ports, wired to the real things.

use jiff::SignedDuration;
use mainstay::metrics::Metrics;
use orders::{Orders, ports::Ports, usecase::Policy};
use orders_adapters::{SystemClock, SystemIds, gateway::NoGateway, sqlite::Sqlite};

use crate::{
    config::{Config, Retention},
    console::Failure,
};

/// The embedded store, the system's clock and its random numbers.
#[derive(Debug)]
pub(crate) struct Wired {
    store: Sqlite,
}

impl Ports for Wired {
    type Store = Sqlite;
    type Clock = SystemClock;
    type Ids = SystemIds;
    type Gateway = NoGateway;

    fn store(&self) -> &Sqlite {
        &self.store
    }

    fn clock(&self) -> &SystemClock {
        &SystemClock
    }

    fn ids(&self) -> &SystemIds {
        &SystemIds
    }

    fn gateway(&self) -> &NoGateway {
        &NoGateway
    }
}

/// Opens the store and puts the use cases over it.
pub(crate) fn open(config: &Config, metrics: &Metrics) -> Result<Orders<Wired>, Failure> {
    let store = Sqlite::open_measured(&config.store, metrics)?;
    Ok(Orders::new(Wired { store }, policy(&config.retention)?))
}

/// How long things are remembered, as the core takes it.
pub(crate) fn policy(retention: &Retention) -> Result<Policy, Failure> {
    Ok(Policy {
        remember_keys: SignedDuration::try_from(retention.keys)?,
        keep_events: SignedDuration::try_from(retention.events)?,
        ..Policy::default()
    })
}
