//! Servers that are not to be relied on, and how a store ends.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use mainstay::{metrics::Metrics, telemetry::error_chain};
use orders::ports::{Ports as _, ReadError, Store as _, TaskId};
use orders_adapters::postgres::{self, Config, OpenError, Postgres};
use orders_testkit::{World, builders, servers};
use tokio::task::JoinSet;
use tracing_subscriber::fmt::MakeWriter;

use super::{
    beside::{Session, sound, until},
    process::process,
};

async fn refused(config: &Config) -> String {
    match Postgres::open(config, &Metrics::new("test")).await {
        Err(OpenError::Unsafe { setting, .. }) => setting,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_could_lose_orders_is_refused() {
    for setting in ["fsync", "full_page_writes"] {
        let server = servers::Postgres::private(&[(setting, "off")]);
        let config = Config::at(server.database());
        postgres::migrate(&config).await.unwrap();
        assert_eq!(refused(&config).await, format!("{setting} = off"));
    }
}

#[tokio::test]
async fn a_role_that_does_not_wait_for_the_disk_is_refused() {
    let server = servers::Postgres::private(&[]);
    let config = Config::at(server.database());
    postgres::migrate(&config).await.unwrap();
    server.sql("ALTER ROLE orderly SET synchronous_commit = off");
    assert_eq!(refused(&config).await, "synchronous_commit = off");
    server.sql("ALTER ROLE orderly SET synchronous_commit = on");
    Postgres::open(&config, &Metrics::new("test")).await.unwrap().close().await;
}

#[tokio::test]
async fn the_tables_of_the_step_before_are_served_while_they_are_migrated() {
    let config = Config::at(servers::postgres().database());
    let first = postgres::migrate_to(&config, 1).await.unwrap();
    assert_eq!(first.steps, ["V1__orders"]);
    let orders = process(&config, &World::new(1)).await;
    let cx = builders::context("shop");
    orders.create(&cx, builders::draft(), builders::key("before")).await.unwrap();

    // Somebody is long at the table that the next step changes.
    let reader = Session::open(&config).await;
    reader.run("BEGIN; LOCK TABLE outbox IN ACCESS SHARE MODE").await;
    let mut migration = JoinSet::new();
    migration.spawn({
        let config = config.clone();
        async move { postgres::migrate(&config).await }
    });
    let watcher = Session::open(&config).await;
    let waits = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted
        AND relation = 'outbox'::regclass";
    until(async || watcher.number(waits).await == 1).await;
    orders.create(&cx, builders::draft(), builders::key("meanwhile")).await.unwrap();
    reader.run("ROLLBACK").await;

    let rest = migration.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(rest.steps, ["V2__outbox_router"]);
    orders.create(&cx, builders::draft(), builders::key("after")).await.unwrap();
    assert_eq!(sound(&config).await, 3);
    orders.ports().store().close().await;
}

#[tokio::test]
async fn a_step_that_this_version_does_not_know_is_refused() {
    let config = Config::at(servers::postgres().database());
    for step in [0, 3, -1] {
        let refused = postgres::migrate_to(&config, step).await;
        assert!(matches!(refused, Err(OpenError::NoStep { .. })), "{refused:?}");
    }
    assert!(matches!(Postgres::open(&config, &Metrics::new("test")).await, Err(OpenError::Empty)));
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_superuser_is_warned_of_without_its_password() {
    let server = servers::Postgres::private(&[]);
    let config = Config::at(server.database());
    postgres::migrate(&config).await.unwrap();
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    for (user, warned) in [("orderly:orderly", false), ("postgres:secret", true)] {
        let url = config.url.replacen("orderly:orderly", user, 1);
        Postgres::open(&Config::at(url), &Metrics::new("test")).await.unwrap().close().await;
        let told = log.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let told = String::from_utf8(told).unwrap();
        assert_eq!(told.contains("row-level security does not hold"), warned, "{told}");
        assert!(!told.contains("secret"), "{told}");
    }
}

#[tokio::test]
async fn a_closed_store_is_done_and_says_so() {
    let config = Config::at(servers::postgres().database());
    postgres::migrate(&config).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    let cx = builders::context("shop");
    orders.create(&cx, builders::draft(), builders::key("first")).await.unwrap();
    let store = orders.ports().store();
    store.close().await;
    let read = store.published(&cx).await;
    assert!(matches!(read, Err(ReadError::Unavailable(_))), "{read:?}");
    let write = orders.create(&cx, builders::draft(), builders::key("second")).await;
    assert!(write.is_err(), "{write:?}");
    // Again: there is nothing left to do.
    store.close().await;
}

#[tokio::test]
async fn why_a_database_cannot_be_used_is_told_in_its_own_words() {
    let database = servers::postgres().database();
    postgres::migrate(&Config::at(&*database)).await.unwrap();
    let config = Config::at(database.replacen("orderly:orderly", "stranger", 1));
    let refused = Postgres::open(&config, &Metrics::new("test")).await.unwrap_err();
    let told = error_chain(&refused);
    assert!(told.contains("role \"stranger\" does not exist"), "{told}");
}

#[tokio::test]
async fn a_connection_whose_statements_are_of_an_older_table_is_not_used_again() {
    let config = Config { readers: 1, ..Config::at(servers::postgres().database()) };
    postgres::migrate(&config).await.unwrap();
    let store = Postgres::open(&config, &Metrics::new("test")).await.unwrap();
    let (cx, nobody) = (builders::context("shop"), "00000000-0000-7000-8000-000000000000");
    let read = async || store.task(&cx, TaskId(nobody.parse().unwrap())).await;
    assert!(read().await.unwrap().is_none());
    let beside = Session::open(&config).await;
    beside.run("ALTER TABLE tasks ALTER kind TYPE varchar").await;
    let refused = read().await;
    assert!(matches!(refused, Err(ReadError::Unavailable(_))), "{refused:?}");
    assert!(read().await.unwrap().is_none());
    assert!(store.is_up());
    store.close().await;
}
