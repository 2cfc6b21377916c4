//! A store in a database of its own.

use mainstay::metrics::Metrics;
use orders::{
    Error,
    audit::{self, Report},
};
use orders_adapters::postgres::{self, Config, Postgres, Snapshot};
use orders_testkit::{
    contract::Subject,
    servers::{self, PgBouncer},
};
use std::sync::OnceLock;

/// A store with its tables made.
pub(crate) struct Fixture {
    pub(crate) store: Postgres,
    pub(crate) config: Config,
}

impl Fixture {
    /// On the server itself.
    pub(crate) async fn direct() -> Self {
        Self::open(Config::at(servers::postgres().database())).await
    }

    /// Through PgBouncer, but for what needs a session.
    pub(crate) async fn pooled() -> Self {
        Self::open(Self::behind_a_pooler()).await
    }

    /// A new database, through PgBouncer but for what needs a session.
    pub(crate) fn behind_a_pooler() -> Config {
        static POOLER: OnceLock<PgBouncer> = OnceLock::new();
        let pooler = POOLER.get_or_init(|| PgBouncer::before(servers::postgres(), 20));
        let direct = servers::postgres().database();
        let url = pooler.url(&direct);
        Config { direct_url: Some(direct), prepare: false, ..Config::at(url) }
    }

    pub(crate) async fn open(config: Config) -> Self {
        postgres::migrate(&config).await.unwrap();
        let store = Postgres::open(&config, &Metrics::new("test")).await.unwrap();
        Self { store, config }
    }
}

impl Subject for Fixture {
    type Store = Postgres;

    fn store(&self) -> &Postgres {
        &self.store
    }

    async fn audit(&self) -> Result<Report, Error> {
        audit::audit(&Snapshot::open(&self.config).await.unwrap()).await
    }
}
