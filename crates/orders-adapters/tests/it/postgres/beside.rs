//! What tests do beside the store: two processes on one database, a session of their own, an audit.

use std::{fmt::Debug, ops::Deref, time::Duration};

use orders::audit;
use orders_adapters::postgres::{self, Config, OpenError, Snapshot};
use orders_testkit::{World, proxy::Proxy};
use tokio::{task::JoinSet, time::sleep};
use tokio_postgres::{Client, NoTls};

use super::process::{Process, process};

/// Two processes on one new database.
pub(crate) async fn replicas(config: &Config) -> [Process; 2] {
    postgres::migrate(config).await.unwrap();
    let world = World::new(1);
    [process(config, &world).await, process(config, &world).await]
}

/// A proxy before the server of a database, and the database's URL through it.
pub(crate) fn proxied(database: &str) -> (Proxy, String) {
    let target: tokio_postgres::Config = database.parse().unwrap();
    let address = format!("127.0.0.1:{}", target.get_ports()[0]);
    let proxy = Proxy::start(address.parse().unwrap(), 1);
    let url = database.replacen(&address, &proxy.address().to_string(), 1);
    (proxy, url)
}

/// Fails unless an audit finds nothing, and says how many orders there are.
pub(crate) async fn sound(config: &Config) -> u64 {
    let snapshot = Snapshot::open(config).await.unwrap();
    let report = audit::audit(&snapshot).await.unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    report.census.orders
}

/// What stands in the way of a store at its database.
pub(crate) fn in_the_way<T: Debug>(opened: Result<T, OpenError>) -> OpenError {
    let Err(OpenError::At { why, .. }) = opened else { panic!("{opened:?}") };
    *why
}

/// A session of the role that owns the database, beside the store.
pub(crate) struct Session {
    client: Client,
    _driver: JoinSet<()>,
}

impl Session {
    pub(crate) async fn open(config: &Config) -> Self {
        let url = config.direct_url.as_ref().unwrap_or(&config.url);
        let mut target: tokio_postgres::Config = url.parse().unwrap();
        target.application_name("beside");
        let (client, connection) = target.connect(NoTls).await.unwrap();
        let mut driver = JoinSet::new();
        // Its end is seen by whoever asks next.
        driver.spawn(async move { drop(connection.await) });
        client.batch_execute("SET orderly.tenant = '*'").await.unwrap();
        Self { client, _driver: driver }
    }

    /// The number that a query gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// How many wait for an advisory lock of this database.
    pub(crate) async fn waiting(&self) -> i64 {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND wait_event = 'advisory'";
        self.number(waits).await
    }

    /// Counts from now on the statements that insert into a table, also those that are undone: a sequence
    /// never goes back.
    pub(crate) async fn count_inserts(&self, table: &str) {
        let count = format!(
            "CREATE SEQUENCE inserts;
            CREATE FUNCTION count_insert() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM nextval('inserts');
                RETURN NULL;
            END
            $$;
            CREATE TRIGGER count_insert BEFORE INSERT ON {table} EXECUTE FUNCTION count_insert()"
        );
        self.run(&count).await;
    }

    /// How many there were since they are [counted](Self::count_inserts).
    pub(crate) async fn inserts(&self) -> i64 {
        self.number("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM inserts").await
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Waits until it holds. A test that waits for ever is ended by whoever runs it.
pub(crate) async fn until(holds: impl AsyncFn() -> bool) {
    while !holds().await {
        sleep(Duration::from_millis(5)).await;
    }
}
