//! What is this store's own: the file, the lock, the batches, the log.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use mainstay::metrics::{Format, Metrics};
use mainstay_context::{Activity, Cause, Context, TraceContext};
use orders::{
    Orders, codec,
    domain::{ChangeId, Command, Draft, Order, OrderId, Stamp},
    ports::{
        Answer, AuditSource as _, Change, Clock as _, CommitError, Expects, Ids as _, NewEvent,
        NotWritten, OrderRef, Ports, Store as _, Write,
    },
    usecase::{Done, Policy},
};
use orders_adapters::{
    SystemClock, SystemIds,
    gateway::Configured,
    sqlite::{Config, Inline, OpenError, Prepared, Sqlite, Writer},
};
use orders_testkit::{builders, contract::Subject as _};

use crate::fixture::Fixture;

/// The real ports over a fixture's store.
struct Real(Fixture);

impl Ports for Real {
    type Store = Sqlite;
    type Clock = SystemClock;
    type Ids = SystemIds;
    type Gateway = Configured;

    fn store(&self) -> &Sqlite {
        &self.0.store
    }

    fn clock(&self) -> &SystemClock {
        &SystemClock
    }

    fn ids(&self) -> &SystemIds {
        &SystemIds
    }

    fn gateway(&self) -> &Configured {
        const { &Configured::none() }
    }
}

fn orders(fixture: Fixture) -> Orders<Real> {
    Orders::new(Real(fixture), Policy::default())
}

async fn create(orders: &Orders<Real>, key: &str, draft: Draft) -> Done {
    orders.create(&builders::context("shop"), draft, builders::key(key)).await.unwrap()
}

/// One change that carries out all of these commands.
fn change(order: &Order, commands: &[Command]) -> Change {
    let at = SystemClock.now();
    let stamp = || Stamp {
        change: ChangeId(SystemIds.uuid(at)),
        at,
        actor: "tester".into(),
        request_id: "test".parse().unwrap(),
        trace: TraceContext::default(),
    };
    let mut applied = order.apply(commands[0], None, &stamp()).unwrap();
    for command in &commands[1..] {
        applied = applied.order.apply(*command, None, &stamp()).unwrap();
    }
    let data = codec::event_data(&applied.order, &applied.entry);
    Change {
        id: applied.entry.change,
        tenant: order.tenant.clone(),
        at,
        expects: Expects::Version(order.id, order.version),
        write: Some(Box::new(Write {
            order: applied.order,
            entry: applied.entry,
            event: NewEvent { kind: applied.event, data },
            note: None,
            personal: None,
        })),
        receipt: None,
        lease: None,
        plans: Vec::new(),
    }
}

#[tokio::test]
async fn a_store_that_is_open_cannot_be_opened_again() {
    let fixture = Fixture::new();
    let again = Sqlite::open(&Config::at(fixture.path()));
    assert!(matches!(again, Err(OpenError::InUse(_))), "{again:?}");
    fixture.reopened();
}

#[tokio::test]
async fn a_store_is_one_store_whatever_link_leads_to_it() {
    let fixture = Fixture::new();
    let beside = |name: &str| fixture.path().with_file_name(name);
    std::os::unix::fs::symlink(fixture.path(), beside("link.db")).unwrap();
    let again = Sqlite::open(&Config::at(beside("link.db")));
    assert!(matches!(again, Err(OpenError::InUse(_))), "{again:?}");
    std::fs::hard_link(fixture.path(), beside("hard.db")).unwrap();
    let again = Sqlite::open(&Config::at(beside("hard.db")));
    assert!(matches!(again, Err(OpenError::Linked(_))), "{again:?}");
}

#[test]
fn no_more_than_one_folder_is_made_for_a_store() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    let astray = Sqlite::open(&Config::at(at("no/such/orderly.db")));
    assert!(matches!(&astray, Err(OpenError::NoFolder(folder)) if *folder == at("no/such")));
    assert!(!at("no").exists());
    let inside = Sqlite::open(&Config::at(home.path()));
    assert!(matches!(inside, Err(OpenError::Folder(_))), "{inside:?}");
    drop(Sqlite::open(&Config::at(at("data/orderly.db"))).unwrap());
    assert!(at("data/orderly.db").exists());
}

#[test]
fn a_probe_says_what_opening_would_say_and_makes_nothing() {
    let fixture = Fixture::new();
    assert!(matches!(Sqlite::probe(&fixture.path()), Err(OpenError::InUse(_))));
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    Sqlite::probe(&at("data/orderly.db")).unwrap();
    assert!(!at("data").exists());
    assert!(matches!(Sqlite::find(&at("orderly.db")), Err(OpenError::Missing(_))));

    let (path, text) = (at("text.db"), "customer,amount\n1,2\n");
    std::fs::write(&path, text).unwrap();
    assert!(matches!(Sqlite::probe(&path), Err(OpenError::Foreign(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let refused = Sqlite::open(&Config::at(&path)).unwrap_err().to_string();
    assert!(refused.contains(&format!("cannot open the store {}", path.display())), "{refused}");

    std::fs::write(at("empty.db"), "").unwrap();
    Sqlite::probe(&at("empty.db")).unwrap();
    drop(Sqlite::open(&Config::at(at("made.db"))).unwrap());
    Sqlite::probe(&at("made.db")).unwrap();
    Sqlite::find(&at("made.db")).unwrap();
}

#[tokio::test]
async fn a_closed_store_is_whole_in_its_file() {
    let fixture = Fixture::new();
    let (path, copy) = (fixture.path(), fixture.path().with_file_name("copy.db"));
    let orders = orders(fixture);
    create(&orders, "a-key-for-the-closed", builders::draft()).await;
    let (store, unknown) = (orders.ports().store(), OrderId(SystemIds.uuid(SystemClock.now())));
    let read = async || orders.get(&builders::context("shop"), OrderRef::Id(unknown)).await;
    // Each reader has the file open.
    for _ in 0..8 {
        assert!(matches!(read().await, Err(orders::Error::NotFound)));
    }
    store.close().await;
    assert!(matches!(read().await, Err(orders::Error::Unavailable(_))));
    assert!(!path.with_file_name("orders.db-wal").exists());
    std::fs::copy(&path, &copy).unwrap();
    let census = Sqlite::snapshot(&copy).unwrap().census().await.unwrap();
    assert_eq!(census.orders, 1);
    // Again, and then dropped: there is nothing left to do.
    store.close().await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let fixture = Fixture::new();
    let secret = fixture.store.page_secret();
    let before = orders(fixture);
    let done = create(&before, "a-key-for-the-restart", builders::draft()).await;
    let Real(fixture) = before.into_ports();
    let fixture = fixture.reopened();
    assert_eq!(fixture.store.page_secret(), secret);
    let after = orders(fixture);
    let again = create(&after, "a-key-for-the-restart", builders::draft()).await;
    assert_eq!((again.record, again.replayed), (done.record, true));
}

#[tokio::test]
async fn changes_that_wait_together_share_a_commit() {
    let orders = Arc::new(orders(Fixture::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..500 {
        let orders = Arc::clone(&orders);
        let key = format!("key-of-a-crowd-{index:04}");
        tasks.spawn(async move { create(&orders, &key, builders::draft()).await });
    }
    assert_eq!(tasks.join_all().await.len(), 500);
    let counters = orders.ports().store().counters();
    assert_eq!(counters.changes, 500);
    assert!(counters.batches < 250, "{counters:?}");
}

#[tokio::test]
async fn a_wait_is_expected_while_changes_wait_and_none_once_they_are_answered() {
    let orders = Arc::new(orders(Fixture::new()));
    let expected = || orders.ports().store().expected_wait(&"shop".parse().unwrap());
    assert_eq!(expected(), Duration::ZERO);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..800 {
        let orders = Arc::clone(&orders);
        let key = format!("key-of-who-waits-{index:04}");
        tasks.spawn(async move { create(&orders, &key, builders::draft()).await });
    }
    let mut longest = Duration::ZERO;
    while !tasks.is_empty() {
        while let Some(done) = tasks.try_join_next() {
            done.unwrap();
        }
        longest = longest.max(expected());
        tokio::task::yield_now().await;
    }
    assert!(longest > Duration::ZERO);
    assert_eq!(expected(), Duration::ZERO);
}

#[tokio::test]
async fn a_change_that_sqlite_refuses_does_not_take_the_others_with_it() {
    let orders = orders(Fixture::new());
    let first = create(&orders, "a-key-for-poison-01", builders::draft()).await.record.order;
    let second = create(&orders, "a-key-for-poison-02", builders::draft()).await.record.order;
    // Two versions at once: the table's own guard refuses that.
    let (poison, sound) = (
        change(&first, &[Command::Confirm, Command::Cancel]),
        change(&second, &[Command::Confirm]),
    );
    let Real(fixture) = orders.into_ports();
    let path = fixture.path();
    let Fixture { store, folder } = fixture;
    drop(store);
    let mut writer = Writer::open(&Config::at(&path)).unwrap();
    let outcomes = writer.apply(&[Prepared::new(poison), Prepared::new(sound)]).unwrap();
    assert!(matches!(outcomes[0], Err(CommitError::Unavailable(_))), "{outcomes:?}");
    assert!(matches!(outcomes[1], Ok(Answer::Committed)), "{outcomes:?}");
    drop(writer);
    let fixture = Fixture { store: Sqlite::open(&Config::at(&path)).unwrap(), folder };
    assert_eq!(fixture.audit().await.unwrap().findings, []);
}

#[tokio::test]
async fn a_change_whose_caller_is_gone_is_not_written() {
    let orders = orders(Fixture::new());
    let order = create(&orders, "a-key-for-the-gone", builders::draft()).await.record.order;
    let store = orders.ports().store();
    let cx = builders::context("shop");
    cx.cancel(Cause::CallerGone);
    let outcome = store.commit(&cx, change(&order, &[Command::Confirm])).await;
    assert!(matches!(outcome, Err(CommitError::NotWritten(NotWritten::Expired))), "{outcome:?}");
    let cx = builders::context("shop");
    let record = store.order(&cx, &order.tenant, OrderRef::Id(order.id)).await.unwrap().unwrap();
    assert_eq!(record.order.version, order.version);
}

#[tokio::test]
async fn the_log_starts_over_when_it_is_past_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let limit = 256 * 1024;
    let store = Sqlite::open(&Config { wal_limit: limit, ..Config::at(&path) }).unwrap();
    let orders = orders(Fixture { store, folder });
    let mut largest = 0;
    for index in 0..400 {
        create(&orders, &format!("key-of-a-long-log-{index:04}"), builders::draft()).await;
        largest = largest.max(orders.ports().store().counters().wal_bytes);
    }
    assert!(largest < 2 * limit, "{largest}");
}

#[tokio::test]
async fn a_deadline_that_passed_stops_a_read() {
    let orders = orders(Fixture::new());
    let past = SystemClock.instant().checked_sub(Duration::from_secs(1)).unwrap();
    let cx: Context = builders::context("shop").with_deadline(past);
    let order = create(&orders, "a-key-for-the-late", builders::draft()).await.record.order;
    let read = orders.ports().store().order(&cx, &order.tenant, OrderRef::Id(order.id)).await;
    assert!(matches!(read, Err(orders::ports::ReadError::Expired)), "{read:?}");
}

#[tokio::test]
async fn a_task_that_cannot_be_read_is_counted_and_left_aside_until_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::at(folder.path().join("orders.db"));
    drop(Sqlite::open(&config).unwrap());
    let tasks = rusqlite::Connection::open(&config.path).unwrap();
    for (id, kind) in [(1_u128, "of-a-later-version"), (2, "attempt")] {
        let sql = "INSERT INTO tasks (id, tenant, order_id, kind, due, epoch, tries, sent)
                   VALUES (?1, 'shop', ?1, ?2, 0, 0, 0, NULL)";
        tasks.execute(sql, (id.to_be_bytes(), kind)).unwrap();
    }
    let (cx, mut now) = (builders::context("shop"), SystemClock.now());
    for _start in 0..2 {
        let metrics = Metrics::new("test");
        let store = Sqlite::open_measured(&config, &metrics).unwrap();
        for _ in 0..3 {
            let until = now.saturating_add(SignedDuration::from_secs(30)).unwrap();
            let leased = store.lease(&cx, now, until, 9).await.unwrap();
            let ids: Vec<_> = leased.iter().map(|leased| leased.task.id.0.as_u128()).collect();
            assert_eq!(ids, [2]);
            now = until;
        }
        let told = metrics.render(Format::Text);
        assert!(told.contains("test_tasks_unreadable_total{} 1\n"), "{told}");
    }
}

/// Keeps the writer busy as a long batch does, until it is dropped.
fn hold_the_writer(orders: &Orders<Real>) -> rusqlite::Connection {
    let held = rusqlite::Connection::open(orders.ports().0.path()).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    held
}

async fn until(condition: impl Fn() -> bool) {
    let work = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), work).await.unwrap();
}

#[tokio::test]
async fn a_change_that_waits_behind_a_batch_past_its_deadline_is_not_written() {
    let orders = orders(Fixture::new());
    let first = create(&orders, "a-key-for-the-batch", builders::draft()).await.record.order;
    let second = create(&orders, "a-key-for-the-queue", builders::draft()).await.record.order;
    let store = orders.ports().store();
    let held = hold_the_writer(&orders);
    let begun = builders::context("shop");
    let deadline = SystemClock.instant() + Duration::from_millis(20);
    let queued = builders::context("shop").with_deadline(deadline);

    let behind = async {
        until(|| begun.activity() == Activity::Storing).await;
        store.commit(&queued, change(&second, &[Command::Confirm])).await
    };
    let release = async {
        let over = || queued.ended(SystemClock.instant()).is_some();
        until(|| queued.activity() == Activity::Queued && over()).await;
        // The batch under way has begun: whatever its request comes to, it is answered for.
        begun.cancel(Cause::DeadlineExceeded);
        drop(held);
    };
    let (batch, late, ()) =
        tokio::join!(store.commit(&begun, change(&first, &[Command::Confirm])), behind, release);
    assert!(matches!(batch, Ok(Answer::Committed)), "{batch:?}");
    assert!(matches!(late, Err(CommitError::NotWritten(NotWritten::Expired))), "{late:?}");
    let cx = builders::context("shop");
    for (order, moved) in [(&first, true), (&second, false)] {
        let found = store.order(&cx, &order.tenant, OrderRef::Id(order.id)).await.unwrap().unwrap();
        assert_eq!(found.order.version != order.version, moved);
    }
}

#[tokio::test]
async fn a_change_tells_its_request_where_the_time_went() {
    let orders = orders(Fixture::new());
    let order = create(&orders, "a-key-for-the-time", builders::draft()).await.record.order;
    let cx = builders::context("shop");
    let start = SystemClock.instant();
    cx.enter(Activity::Working, start);
    orders.ports().store().commit(&cx, change(&order, &[Command::Confirm])).await.unwrap();
    let now = SystemClock.instant();
    assert_eq!(cx.activity(), Activity::Working);
    assert!(!cx.spent(Activity::Storing, now).is_zero());
    let whole: Duration = Activity::ALL.iter().map(|&activity| cx.spent(activity, now)).sum();
    assert_eq!(whole, now - start);
}

#[tokio::test]
async fn an_abandoned_store_is_dropped_while_its_writer_is_held() {
    let orders = orders(Fixture::new());
    let order = create(&orders, "a-key-for-the-abandoned", builders::draft()).await.record.order;
    let held = hold_the_writer(&orders);
    let cx = builders::context("shop");
    let mut stuck =
        Box::pin(orders.ports().store().commit(&cx, change(&order, &[Command::Confirm])));
    tokio::select! {
        outcome = &mut stuck => panic!("{outcome:?}"),
        () = until(|| cx.activity() == Activity::Storing) => {}
    }
    drop(stuck);
    orders.ports().store().abandon();
    let (dropped, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(orders);
        dropped.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(20)).expect("the drop waited for the writer");
    drop(held);
}

#[test]
fn a_store_that_another_one_took_over_is_not_opened_until_its_mark_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let config = Config::at(&path);
    let source = Inline::open(&config).unwrap();
    source.mark_moved("postgres://orderly@db/orderly").unwrap();
    drop(source);
    let mark = folder.path().join("orders.db-moved");
    for refused in [Sqlite::open(&config).map(drop), Sqlite::probe(&path)] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("was taken over by postgres://orderly@db/orderly"), "{refused}");
        assert!(refused.ends_with(&format!("remove {}", mark.display())), "{refused}");
    }
    // It can be read, and taken over again.
    Sqlite::snapshot(&path).unwrap();
    drop(Inline::open(&config).unwrap());
    std::fs::remove_file(mark).unwrap();
    Sqlite::probe(&path).unwrap();
    drop(Sqlite::open(&config).unwrap());
}
