//! Migrations beside services of several versions, and what the database itself refuses.

use orders::{Error, domain::OrderId, ports::Ports as _};
use orders_adapters::postgres::{self, Config, OpenError};
use orders_testkit::{World, builders, servers};
use tokio::task::JoinSet;

use super::{
    beside::{Session, in_the_way, sound, until},
    process::{Process, process},
};

async fn placed(orders: &Process, name: &str) -> OrderId {
    let cx = builders::context("shop");
    orders.create(&cx, builders::draft(), builders::key(name)).await.unwrap().record.order.id
}

/// A new database with its tables, and a session beside the store.
async fn migrated() -> (Config, Session) {
    let config = Config::at(servers::postgres().database());
    postgres::migrate(&config).await.unwrap();
    let beside = Session::open(&config).await;
    (config, beside)
}

#[tokio::test]
async fn a_migration_that_waits_for_a_table_makes_no_change_fail() {
    let config = Config::at(servers::postgres().database());
    postgres::migrate_to(&config, 1).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    let reader = Session::open(&config).await;
    reader.run("BEGIN; LOCK TABLE outbox IN ACCESS SHARE MODE").await;
    let mut migration = JoinSet::new();
    let migrated = config.clone();
    migration.spawn(async move { postgres::migrate(&migrated).await });
    let watcher = Session::open(&config).await;
    let waits = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted
        AND relation = 'outbox'::regclass";
    for n in 0..5 {
        until(async || watcher.number(waits).await == 1).await;
        placed(&orders, &format!("meanwhile-{n}")).await;
    }
    reader.run("ROLLBACK").await;
    let migrated = migration.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(migrated.steps, ["V2__outbox_router"]);
    assert_eq!(sound(&config).await, 5);
    orders.ports().store().close().await;
}

#[tokio::test]
async fn one_of_two_migrations_at_once_does_the_work() {
    let config = Config::at(servers::postgres().database());
    let (one, other) = tokio::join!(postgres::migrate(&config), postgres::migrate(&config));
    let mut steps = [one.unwrap().steps.len(), other.unwrap().steps.len()];
    steps.sort_unstable();
    assert_eq!(steps, [0, 2]);
}

/// What the guard says, as the server has it.
async fn guard(beside: &Session) -> String {
    let sql = "SELECT prosrc FROM pg_proc WHERE proname = 'orders_guard'";
    beside.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn moves_that_another_version_makes_stay_legal() {
    let (config, beside) = migrated().await;
    assert!(!guard(&beside).await.contains("EXPIRED>PENDING"));
    beside.run("INSERT INTO moves VALUES ('EXPIRED', 'PENDING')").await;
    for _ in 0..2 {
        postgres::migrate(&config).await.unwrap();
        let guard = guard(&beside).await;
        assert!(guard.contains("'EXPIRED>PENDING'"), "{guard}");
        assert!(guard.contains("'PENDING>CONFIRMED'"), "{guard}");
    }
}

#[tokio::test]
async fn a_guard_of_newer_tables_is_left_alone() {
    let (config, beside) = migrated().await;
    let newer = "INSERT INTO refinery_schema_history
            SELECT 99, 'later', applied_on, checksum FROM refinery_schema_history LIMIT 1;
        CREATE OR REPLACE FUNCTION orders_guard() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RETURN new; END'";
    beside.run(newer).await;
    assert_eq!(postgres::migrate(&config).await.unwrap().steps, [""; 0]);
    assert_eq!(guard(&beside).await, "BEGIN RETURN new; END");
}

#[tokio::test]
async fn an_illegal_move_is_refused_by_the_database() {
    let (config, beside) = migrated().await;
    let orders = process(&config, &World::new(1)).await;
    let id = placed(&orders, "guarded").await;
    for change in ["state = 'EXPIRED', version = 3", "state = 'COMPLETED', version = 2"] {
        let sql = format!("UPDATE orders SET {change} WHERE id = '{id}'");
        let refused = beside.batch_execute(&sql).await.unwrap_err();
        let told = refused.as_db_error().unwrap().message();
        assert_eq!(told, "not a legal change of an order", "{change}");
    }
    beside
        .run(&format!("UPDATE orders SET state = 'EXPIRED', version = 2 WHERE id = '{id}'"))
        .await;
}

#[tokio::test]
async fn history_is_only_added_to() {
    let (config, beside) = migrated().await;
    let orders = process(&config, &World::new(1)).await;
    placed(&orders, "told").await;
    let refused = async |sql: &str| {
        let refused = beside.batch_execute(sql).await.unwrap_err();
        assert_eq!(refused.as_db_error().unwrap().message(), "history is only added to", "{sql}");
    };
    refused("UPDATE history SET actor = 'nobody'").await;
    refused("UPDATE history SET actor = 'nobody', position = 1").await;
    refused("DELETE FROM history").await;
    refused("TRUNCATE history").await;
    // Where its event stood is told once, when that is forgotten.
    beside.run("UPDATE history SET position = 1").await;
    refused("UPDATE history SET position = 2").await;
    refused("UPDATE history SET position = NULL").await;
}

#[tokio::test]
async fn no_tables_are_made_in_a_database_that_cannot_hold_every_text() {
    let utf8 = servers::postgres().database();
    let (server, name) = utf8.rsplit_once('/').unwrap();
    servers::postgres().sql(&format!(
        "CREATE DATABASE {name}_latin OWNER orderly TEMPLATE template0 ENCODING 'LATIN1' \
         LC_COLLATE 'C' LC_CTYPE 'C'"
    ));
    let config = Config::at(format!("{server}/{name}_latin"));
    let refused = in_the_way(postgres::migrate(&config).await);
    let OpenError::Encoding(encoding) = refused else { panic!("{refused:?}") };
    assert_eq!(encoding, "LATIN1");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(Session::open(&config).await.number(tables).await, 0);
}

#[tokio::test]
async fn a_server_that_is_not_to_be_relied_on_any_more_is_not_written_to() {
    let (config, beside) = migrated().await;
    let orders = process(&config, &World::new(1)).await;
    placed(&orders, "before").await;
    // As a standby would be that is set otherwise and takes over.
    let set = |value: &str| {
        format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = {value}', \
             current_database()); END $$"
        )
    };
    beside.run(&set("off")).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'orderly'";
    beside.run(end).await;
    let (store, cx) = (orders.ports().store(), builders::context("shop"));
    let create = async || orders.create(&cx, builders::draft(), builders::key("after")).await;
    until(async || {
        let refused = create().await;
        assert!(
            matches!(refused, Err(Error::Unavailable(_) | Error::OutcomeUnknown)),
            "{refused:?}"
        );
        !store.is_up()
    })
    .await;
    assert_eq!(beside.number("SELECT count(*) FROM orders").await, 1);
    beside.run(&set("on")).await;
    until(async || store.is_up()).await;
    create().await.unwrap();
    store.close().await;
}
