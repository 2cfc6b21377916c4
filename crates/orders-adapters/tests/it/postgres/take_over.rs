//! A grown embedded store, taken over.

use std::path::Path;

use jiff::SignedDuration;
use mainstay::metrics::Metrics;
use mainstay_context::Context;
use orders::{
    Orders,
    domain::{Personal, Position},
    ports::{OrderRef, Page, Ports as _, Scope, Store as _},
    usecase::{Action, Policy, Verb},
};
use orders_adapters::{
    postgres::{self, Beside, Config, FillError, OpenError, Postgres},
    sqlite::{self, Inline, Sqlite},
};
use orders_testkit::{
    World,
    builders::{context, draft, key, note},
    servers,
};
use tempfile::TempDir;

use super::{
    beside::{Session, in_the_way},
    process::Parts,
};

/// A store with some of everything: orders with keys, references, notes, personal data, payments in
/// all states, forgotten events, refusals that are remembered.
async fn grown(path: &Path) {
    let store = Sqlite::open(&sqlite::Config::at(path)).unwrap();
    let world = World::new(1);
    let policy = Policy { keep_events: SignedDuration::from_hours(1), ..Policy::default() };
    let orders = Orders::new(Parts::new(store, &world), policy);
    let (cx, other) = (context("acme"), context("rival"));
    for n in 0..20 {
        let mut draft = draft();
        draft.external_reference = (n % 3 == 0).then(|| format!("ref-{}", n / 6));
        draft.personal = (n % 2 == 0)
            .then(|| Personal { name: Some(format!("Buyer {n}")), ..Personal::default() });
        let made = orders.create(&cx, draft, key(&format!("make-{n}"))).await;
        let Ok(made) = made else { continue };
        let id = made.record.order.id;
        if n % 4 == 0 {
            orders.act(&cx, note(id, "call first")).await.unwrap();
        }
        if n % 5 != 0 {
            let action = Action::Pay { instrument: "tok_ok".parse().unwrap(), amount: None };
            let name = Some(key(&format!("pay-{n}")));
            let verb = Verb { order: OrderRef::Id(id), action, key: name, if_match: None };
            orders.act(&cx, verb).await.unwrap();
        }
        if n == 10 {
            world.clock().jump(SignedDuration::from_hours(2));
            orders.forget(&cx).await.unwrap();
        }
        if n == 16 {
            let worker = Context::new("worker".parse().unwrap());
            for leased in orders.take_tasks(&worker, 100).await.unwrap() {
                orders.carry_on(&worker, &leased).await.unwrap();
            }
        }
    }
    orders.create(&other, draft(), key("make-1")).await.unwrap();
    let store = orders.ports().store();
    store.mark_published(&cx, Position(12)).await.unwrap();
    store.close().await;
}

fn beside(source: &Inline) -> Beside {
    let (page_secret, published) = (source.page_secret().unwrap(), source.published().unwrap());
    Beside { page_secret, published }
}

#[tokio::test]
async fn a_grown_store_is_taken_over_whole() {
    let (_folder, source, config, _beside) = from_and_to().await;
    let mut told = 0;
    let snapshot = source.snapshot().unwrap();
    let filled =
        postgres::fill(&config, &snapshot, beside(&source), |done| told = done).await.unwrap();
    let census = filled.commit().await.unwrap();
    assert!(census.orders > 10 && census.tasks > 0 && census.personal > 0 && census.notes > 0);
    assert!(census.oldest > Position(1), "some events are forgotten: {census:?}");
    assert_eq!(told, census.orders);

    let store = Postgres::open(&config, &Metrics::new("test")).await.unwrap();
    assert_eq!(store.page_secret(), source.page_secret().unwrap());
    let cx = context("acme");
    assert_eq!(store.published(&cx).await.unwrap(), Some(Position(12)));
    let after = Position(census.oldest.0);
    let page = Page { after: Some(after), limit: 1_000 };
    let ours = source.events(&Scope::All, page).unwrap().unwrap();
    assert_eq!(store.events(&cx, &Scope::All, page).await.unwrap(), ours);
    store.close().await;

    let again = postgres::fill(&config, &snapshot, beside(&source), |_| {}).await;
    assert!(matches!(again, Err(FillError::NotEmpty(_))), "{again:?}");
}

/// A grown store in a folder of its own, and a database with its tables.
async fn from_and_to() -> (TempDir, Inline, Config, Session) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    grown(&path).await;
    let source = Inline::open(&sqlite::Config::at(&path)).unwrap();
    let config = Config::at(servers::postgres().database());
    postgres::migrate(&config).await.unwrap();
    let beside = Session::open(&config).await;
    (folder, source, config, beside)
}

const WRITTEN: &str = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM history)
    + (SELECT count(*) FROM receipts) + (SELECT count(*) FROM tasks)";

#[tokio::test]
async fn what_was_written_otherwise_than_it_was_read_is_not_taken_over() {
    let (_folder, source, config, beside) = from_and_to().await;
    let snapshot = source.snapshot().unwrap();
    for (table, change) in [
        ("orders", "new.customer_id := 'c-2'"),
        ("orders", "new.total_minor := 1"),
        ("history", "new.actor := 'nobody'"),
        ("events", "new.at := new.at + interval '1 hour'"),
        ("receipts", "new.expires_at := new.expires_at + interval '1 hour'"),
        ("personal", "new.data := replace(new.data, 'Buyer', 'Payer')"),
        ("notes", "new.text := 'call last'"),
        ("tasks", "new.due := new.due + interval '1 hour'"),
    ] {
        let tamper = format!(
            "CREATE FUNCTION tamper() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN {change}; RETURN new; END $$;
             CREATE TRIGGER tamper BEFORE INSERT ON {table}
                FOR EACH ROW EXECUTE FUNCTION tamper()"
        );
        beside.run(&tamper).await;
        let filled = postgres::fill(&config, &snapshot, self::beside(&source), |_| {}).await;
        assert!(matches!(filled, Err(FillError::Differs(_))), "{change}: {filled:?}");
        assert_eq!(beside.number(WRITTEN).await, 0, "{change}");
        beside.run("DROP FUNCTION tamper CASCADE").await;
    }
}

#[tokio::test]
async fn a_store_that_does_not_hold_together_is_not_taken_over() {
    let (folder, source, config, beside) = from_and_to().await;
    let store = rusqlite::Connection::open(folder.path().join("orders.db")).unwrap();
    store.execute_batch("DELETE FROM notes").unwrap();
    let snapshot = source.snapshot().unwrap();
    let filled = postgres::fill(&config, &snapshot, self::beside(&source), |_| {}).await;
    assert!(matches!(filled, Err(FillError::Unsound(_))), "{filled:?}");
    assert_eq!(beside.number(WRITTEN).await, 0);
}

#[tokio::test]
async fn nothing_is_taken_over_before_it_is_committed() {
    let (_folder, source, config, beside) = from_and_to().await;
    let snapshot = source.snapshot().unwrap();
    let fill = async || postgres::fill(&config, &snapshot, self::beside(&source), |_| {}).await;
    drop(fill().await.unwrap());
    assert_eq!(beside.number(WRITTEN).await, 0);
    let filled = fill().await.unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'orderly'";
    assert!(beside.number(end).await >= 1);
    let committed = filled.commit().await;
    assert!(matches!(committed, Err(FillError::Unanswered(_))), "{committed:?}");
    assert_eq!(beside.number(WRITTEN).await, 0);
}

#[tokio::test]
async fn a_database_that_is_not_to_be_relied_on_takes_nothing_over() {
    let (_folder, source, config, beside) = from_and_to().await;
    let snapshot = source.snapshot().unwrap();
    let fill = async |config: &Config| {
        postgres::fill(config, &snapshot, self::beside(&source), |_| {}).await
    };
    let refused = async |config: &Config| {
        let filled = fill(config).await;
        let Err(FillError::Open(error)) = filled else { panic!("{filled:?}") };
        in_the_way::<()>(Err(error))
    };
    let empty = Config::at(servers::postgres().database());
    let why = refused(&empty).await;
    assert!(matches!(why, OpenError::Empty), "{why:?}");
    let set = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off',
        current_database()); END $$";
    beside.run(set).await;
    let why = refused(&config).await;
    assert!(matches!(why, OpenError::Unsafe { .. }), "{why:?}");
    assert_eq!(beside.number(WRITTEN).await, 0);
}
