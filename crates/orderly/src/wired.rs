//! The core's ports, wired to the real things.

#[cfg(feature = "failpoints")]
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use mainstay::metrics::Metrics;
use orders::{Orders, ports::Ports, usecase::Policy};
use orders_adapters::{
    AnySnapshot, AnyStore, SystemClock, SystemIds,
    gateway::{Configured, HttpGateway},
    sqlite::{OpenError, Sqlite},
};
#[cfg(feature = "kafka")]
use sha2::{Digest as _, Sha256};
#[cfg(feature = "kafka")]
use uuid::Uuid;

use crate::{
    config::Config,
    console::{Failure, whole},
};

/// A port as it is, or one whose calls pass failpoints.
#[cfg(not(feature = "failpoints"))]
type Port<T> = T;
#[cfg(feature = "failpoints")]
type Port<T> = crate::failpoint::Failing<T>;

/// The store that is configured, the system's clock and its random numbers.
#[derive(Debug)]
pub(crate) struct Wired {
    store: Port<AnyStore>,
    gateway: Port<Configured>,
}

impl Ports for Wired {
    type Store = Port<AnyStore>;
    type Clock = SystemClock;
    type Ids = SystemIds;
    type Gateway = Port<Configured>;

    fn store(&self) -> &Port<AnyStore> {
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
pub(crate) async fn open(config: &Config, metrics: &Metrics) -> Result<Orders<Wired>, Failure> {
    let store = match &config.postgres {
        None => {
            let store = Sqlite::open_measured(&config.store, metrics);
            AnyStore::Sqlite(store.map_err(with_hint)?)
        }
        Some(postgres) => shared::open(postgres, metrics).await?,
    };
    let gateway = gateway(config, metrics)?;
    #[cfg(feature = "failpoints")]
    let (store, gateway) = {
        let failpoint = crate::failpoint::Failpoint::from_env()?;
        (Port::new(store, Arc::clone(&failpoint)), Port::new(gateway, failpoint))
    };
    Ok(Orders::new(Wired { store, gateway }, policy(config)?))
}

/// Reads the store that is configured as it stands at this instant; also beside running services.
pub(crate) async fn snapshot(config: &Config) -> Result<AnySnapshot, Failure> {
    match &config.postgres {
        None => {
            let snapshot = Sqlite::snapshot(&config.store.path);
            Ok(AnySnapshot::Sqlite(snapshot.map_err(with_hint)?))
        }
        Some(postgres) => shared::snapshot(postgres).await,
    }
}

/// The id of a store where others can read it: it tells the store from others, and nothing of its
/// secret. A store that is moved or restored keeps it.
#[cfg(feature = "kafka")]
pub(crate) fn store_id(store: &AnyStore) -> Uuid {
    id_of(store.page_secret())
}

#[cfg(feature = "kafka")]
fn id_of(secret: [u8; 32]) -> Uuid {
    let hash: [u8; 32] =
        Sha256::new_with_prefix("orders.store-id.v1").chain_update(secret).finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(id).into_uuid()
}

/// What people know the store by that is configured.
pub(crate) fn name(config: &Config) -> String {
    match &config.postgres {
        None => whole(&config.store.path).display().to_string(),
        Some(postgres) => postgres.url.clone(),
    }
}

/// The store that several processes share.
#[cfg(feature = "postgres")]
mod shared {
    use orders_adapters::{
        postgres::{Postgres, Snapshot},
        settings,
    };

    use super::{AnySnapshot, AnyStore, Failure, Metrics};

    pub(super) async fn open(
        config: &settings::Postgres,
        metrics: &Metrics,
    ) -> Result<AnyStore, Failure> {
        Ok(AnyStore::Postgres(Postgres::open(config, metrics).await?))
    }

    pub(super) async fn snapshot(config: &settings::Postgres) -> Result<AnySnapshot, Failure> {
        Ok(AnySnapshot::Postgres(Snapshot::open(config).await?))
    }
}

/// A build without it, in which the configuration cannot name it.
#[cfg(not(feature = "postgres"))]
mod shared {
    use orders_adapters::settings;

    use super::{AnySnapshot, AnyStore, Failure, Metrics};
    use crate::config::LEFT_OUT;

    pub(super) async fn open(_: &settings::Postgres, _: &Metrics) -> Result<AnyStore, Failure> {
        Err(LEFT_OUT.into())
    }

    pub(super) async fn snapshot(_: &settings::Postgres) -> Result<AnySnapshot, Failure> {
        Err(LEFT_OUT.into())
    }
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
        OpenError::Moved { .. }
        | OpenError::Linked(_)
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
        forgets_unpublished: config.retention.unpublished,
        ..Policy::default()
    })
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_store_is_its_own_and_stays_the_same() {
        // The first 16 bytes of the sha256 of: orders.store-id.v1, 32 times 7; as a UUID of version 8.
        assert_eq!(id_of([7; 32]).to_string(), "f77fc8b1-da96-815e-88a9-ed450b76f40e");
        assert_ne!(id_of([7; 32]), id_of([8; 32]));
    }
}
