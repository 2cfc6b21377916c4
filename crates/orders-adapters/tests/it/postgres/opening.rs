//! Servers that are not to be relied on, and how a store ends.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use mainstay::{metrics::Metrics, telemetry::error_chain};
use orders::{
    Error,
    ports::{Ports as _, ReadError, Store as _, TaskId},
};
use orders_adapters::postgres::{self, Config, OpenError, Postgres};
use orders_testkit::{World, builders, servers};
use tokio::task::JoinSet;
use tracing::{Dispatch, subscriber::DefaultGuard};
use tracing_subscriber::{fmt::MakeWriter, registry};

use super::{
    beside::{Session, in_the_way, sound, until},
    process::{Process, process},
};

/// The setting for which neither a store is opened nor a table made.
async fn refused(config: &Config) -> String {
    let opened = in_the_way(Postgres::open(config, &Metrics::new("test")).await);
    let migrated = in_the_way(postgres::migrate(config).await);
    assert_eq!(migrated.to_string(), opened.to_string());
    let OpenError::Unsafe { setting, .. } = opened else { panic!("{opened:?}") };
    setting
}

#[tokio::test]
async fn a_server_that_could_lose_orders_is_refused() {
    for setting in ["fsync", "full_page_writes"] {
        let server = servers::Postgres::private(&[(setting, "off")]);
        let config = Config::at(server.database());
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

/// A process on a private server, which looks often whether its settings still hold.
async fn watchful() -> (servers::Postgres, Config, Process) {
    let server = servers::Postgres::private(&[]);
    let config = Config { poll: Duration::from_millis(20), ..Config::at(server.database()) };
    postgres::migrate(&config).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    (server, config, orders)
}

async fn created(orders: &Process, name: &str) -> Result<(), Error> {
    let cx = builders::context("shop");
    orders.create(&cx, builders::draft(), builders::key(name)).await.map(drop)
}

#[tokio::test]
async fn a_database_is_not_used_while_a_setting_is_reloaded_that_could_lose_orders() {
    let log = Log::default();
    let _logged = log.listen();
    let (server, config, orders) = watchful().await;
    let store = orders.ports().store();
    created(&orders, "before").await.unwrap();
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        // No connection is made anew for that.
        server.set(setting, "off");
        until(async || !store.is_up()).await;
        let refused = created(&orders, setting).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        let trouble = store.trouble().unwrap();
        assert!(trouble.contains(&format!("it has {setting} = off, and")), "{trouble}");
        assert!(log.text().contains(&trouble), "{}", log.text());
        server.set(setting, "on");
        until(async || store.is_up()).await;
        assert_eq!(store.trouble(), None);
        created(&orders, setting).await.unwrap();
    }
    let told = "the database is not used until it can be relied on";
    assert_eq!(log.text().matches(told).count(), 3, "once each: {}", log.text());
    assert_eq!(sound(&config).await, 4);
    store.close().await;
}

#[tokio::test]
async fn a_database_is_not_used_while_new_sessions_of_it_could_lose_orders() {
    let (server, _config, orders) = watchful().await;
    let store = orders.ports().store();
    created(&orders, "before").await.unwrap();
    let asking = "SELECT count(*) FROM pg_stat_activity
        WHERE usename = 'orderly' AND query LIKE '%full_page_writes%'";
    until(async || server.sql(asking) == "1").await;
    server.sql("ALTER ROLE orderly SET synchronous_commit = off");
    // All but the one that asks for settings, which is as it was when it began.
    server.sql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE usename = 'orderly' AND query NOT LIKE '%full_page_writes%'",
    );
    until(async || {
        assert!(created(&orders, "after").await.is_err());
        !store.is_up()
    })
    .await;
    let trouble = store.trouble().unwrap();
    assert!(trouble.contains("it has synchronous_commit = off, and"), "{trouble}");
    server.sql("ALTER ROLE orderly SET synchronous_commit = on");
    until(async || created(&orders, "after").await.is_ok()).await;
    store.close().await;
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
    let (to_migrate, mut migration) = (config.clone(), JoinSet::new());
    migration.spawn(async move { postgres::migrate(&to_migrate).await });
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
    let why = in_the_way(Postgres::open(&config, &Metrics::new("test")).await);
    assert!(matches!(why, OpenError::Empty), "{why:?}");
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes what this thread logs, for as long as the guard is held.
    fn listen(&self) -> DefaultGuard {
        // While there is one dispatcher only, a line that is first met by a thread without it is never
        // logged on any.
        static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(registry()));
        LazyLock::force(&ANOTHER);
        let subscriber = tracing_subscriber::fmt().with_writer(self.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(text).unwrap()
    }
}

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
    let _logged = log.listen();
    for (user, warned) in [("orderly:orderly", false), ("postgres:secret", true)] {
        let url = config.url.replacen("orderly:orderly", user, 1);
        Postgres::open(&Config::at(url), &Metrics::new("test")).await.unwrap().close().await;
        let told = log.text();
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
async fn why_a_database_cannot_be_used_is_told_with_where_it_is_and_what_mends_it() {
    let database = servers::postgres().database();
    let (server, name) = database.rsplit_once('/').unwrap();
    for (url, why) in [
        (
            database.replacen("orderly:orderly", "stranger:secret", 1),
            "role \"stranger\" does not exist; see the user in the URL, and the server's pg_hba.conf",
        ),
        (format!("{server}/no_{name}"), "does not exist; make it, or name another one in the URL"),
        (
            "postgres://orderly:secret@127.0.0.1:1/orderly".to_owned(),
            "Connection refused (os error 111); see the host and the port in the URL, and whether",
        ),
        (database.clone(), "it has no tables of orderly; run `orderly migrate` first"),
    ] {
        let refused = Postgres::open(&Config::at(&*url), &Metrics::new("test")).await.unwrap_err();
        let told = error_chain(&refused);
        let (user, rest) = url.strip_prefix("postgres://").unwrap().split_once(':').unwrap();
        let (password, place) = rest.split_once('@').unwrap();
        let place = format!("cannot use the database {place} as {user} (postgres.url): ");
        assert!(told.starts_with(&place) && told.contains(why), "{told}");
        assert!(!told.contains(&format!(":{password}@")) && !told.contains("secret"), "{told}");
    }
}

#[tokio::test]
async fn whoever_may_not_make_tables_is_told_who_may() {
    let server = servers::postgres();
    let database = server.database();
    let (_, name) = database.rsplit_once('/').unwrap();
    server.sql(&format!("CREATE ROLE {name}_guest LOGIN PASSWORD 'guest'"));
    let guest = database.replacen("orderly:orderly", &format!("{name}_guest:guest"), 1);
    let why = in_the_way(postgres::migrate(&Config::at(guest)).await);
    let told = error_chain(&why);
    assert!(told.contains("the user in the URL must own the database and its tables"), "{told}");
    assert!(told.contains("permission denied for schema public"), "{told}");
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
