//! PostgreSQL as what a world keeps its orders in.

#![expect(clippy::expect_used, reason = "tests and simulations fail by panicking")]

use std::{sync::OnceLock, thread, time::Duration};

use mainstay::metrics::Metrics;
use orders::{
    domain::OrderId,
    ports::{AuditSource as _, Census, Dossier, Page},
};
use orders_adapters::postgres::{self, Config, Postgres, Snapshot};
use orders_testkit::{Bridge, Database, Engine, servers};
use tokio::runtime::Runtime;

/// An empty store in a database of its own, on the server that tests share.
pub(crate) fn fresh() -> Box<dyn Engine> {
    over(Config::at(servers::postgres().copy(template())))
}

/// A store on an empty database that [`template`] was copied to.
pub(crate) fn over(config: Config) -> Box<dyn Engine> {
    let config = Config {
        readers: 2,
        // The simulated time is another's; a machine that is busy is no fault here.
        connect_timeout: Duration::from_secs(30),
        lock_timeout: Duration::from_secs(30),
        answer_timeout: Duration::from_mins(1),
        ..config
    };
    Box::new(Bridge::over(Fresh { config }))
}

/// A database with the tables in it, from which the others are made.
pub(crate) fn template() -> &'static str {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let url = servers::postgres().database();
        let config = Config::at(&url);
        // The caller's thread may be in a runtime already.
        let making = thread::spawn(move || {
            let runtime = Runtime::new().expect("a runtime");
            runtime.block_on(postgres::migrate(&config)).expect("the tables")
        });
        making.join().expect("the tables are made");
        url
    })
}

#[derive(Debug)]
struct Fresh {
    config: Config,
}

impl Fresh {
    async fn snapshot(&self) -> Snapshot {
        Snapshot::open(&self.config).await.expect("a snapshot")
    }
}

impl Database for Fresh {
    type Store = Postgres;

    async fn open(&self) -> Postgres {
        Postgres::open(&self.config, &Metrics::new("test")).await.expect("a store")
    }

    async fn census(&self) -> Census {
        self.snapshot().await.census().await.expect("a census")
    }

    async fn dossiers(&self, page: Page<OrderId>) -> Vec<Dossier> {
        self.snapshot().await.dossiers(page).await.expect("dossiers")
    }
}
