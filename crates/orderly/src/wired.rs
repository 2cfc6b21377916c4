//! The core's ports, wired to the real things.

#[cfg(feature = "failpoints")]
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use mainstay::metrics::Metrics;
use orders::{Orders, ports::Ports, usecase::Policy};
use orders_adapters::{
    SystemClock, SystemIds,
    gateway::{Configured, HttpGateway},
    sqlite::{OpenError, Sqlite},
};

use crate::{config::Config, console::Failure};

/// A port as it is, or one whose calls pass failpoints.
#[cfg(not(feature = "failpoints"))]
type Port<T> = T;
#[cfg(feature = "failpoints")]
type Port<T> = crate::failpoint::Failing<T>;

/// The embedded store, the system's clock and its random numbers.
#[derive(Debug)]
pub(crate) struct Wired {
    store: Port<Sqlite>,
    gateway: Port<Configured>,
}

impl Ports for Wired {
    type Store = Port<Sqlite>;
    type Clock = SystemClock;
    type Ids = SystemIds;
    type Gateway = Port<Configured>;

    fn store(&self) -> &Port<Sqlite> {
        &self.store
    }

    fn clock(&self) -> &SystemClock {
        &SystemClock
    }

    fn ids(&self) -> &SystemIds {
        &SystemIds
    }

    fn gateway(&self) -> &Port<Configured> {
        &self.gateway
    }
}

/// Opens the store and puts the use cases over it.
pub(crate) fn open(config: &Config, metrics: &Metrics) -> Result<Orders<Wired>, Failure> {
    let store = Sqlite::open_measured(&config.store, metrics).map_err(with_hint)?;
    let gateway = gateway(config, metrics)?;
    #[cfg(feature = "failpoints")]
    let (store, gateway) = {
        let failpoint = crate::failpoint::Failpoint::from_env()?;
        (Port::new(store, Arc::clone(&failpoint)), Port::new(gateway, failpoint))
    };
    Ok(Orders::new(Wired { store, gateway }, policy(config)?))
}

/// The gateway that is set, if one is.
fn gateway(config: &Config, metrics: &Metrics) -> Result<Configured, Failure> {
    let Some(gateway) = &config.gateway else { return Ok(Configured::none()) };
    let secret = config.gateway_secret()?;
    Ok(Configured::some(HttpGateway::new(gateway, secret, metrics)?))
}

/// What stands in the way of a store, and what can be done about it.
pub(crate) fn with_hint(error: OpenError) -> Failure {
    let hint = match error {
        OpenError::InUse(_) => "stop that one, or name another file with --store FILE",
        OpenError::Missing(_) => "name the one that is meant with --config FILE or --store FILE",
        OpenError::Linked(_)
        | OpenError::NoFolder(_)
        | OpenError::Folder(_)
        | OpenError::Foreign(_)
        | OpenError::File(..)
        | OpenError::Sqlite(..)
        | OpenError::Migrate(..)
        | OpenError::Thread(_) => return error.into(),
    };
    format!("{error}; {hint}").into()
}

/// How long things are remembered and waited for, as the core takes it.
pub(crate) fn policy(config: &Config) -> Result<Policy, Failure> {
    let set = |time: Duration| SignedDuration::try_from(time).map(|t| (!t.is_zero()).then_some(t));
    Ok(Policy {
        remember_keys: SignedDuration::try_from(config.retention.keys)?,
        keep_events: SignedDuration::try_from(config.retention.events)?,
        pay_within: set(config.expiry.unpaid)?,
        hold_for: set(config.expiry.authorizations)?,
        ..Policy::default()
    })
}
