//! The feed of two processes that write to one database: nothing is skipped.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainstay::metrics::{Format, Metrics};
use orders::{
    domain::{OrderId, Position},
    ports::{Event, Page, Ports as _, Scope, Store as _},
};
use orders_adapters::postgres::{self, Config, Postgres};
use orders_testkit::{Stream, World, builders, servers};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    beside::{Session, replicas, sound, until},
    process::{Process, process},
};

const WRITERS: usize = 16;
const ORDERS: usize = 60;
/// Placed, and two notes.
const VERSIONS: usize = 3;

async fn write(orders: Process, writer: usize) {
    let cx = builders::context("shop");
    for number in 0..ORDERS {
        let key = builders::key(&format!("feed-{writer}-{number}"));
        let placed = orders.create(&cx, builders::draft(), key).await.unwrap();
        for _ in 1..VERSIONS {
            let note = builders::note(placed.record.order.id, "a remark");
            orders.act(&cx, note).await.unwrap();
        }
    }
}

/// The feed as one reader has seen it, by position.
#[derive(Default)]
struct Seen(Vec<(OrderId, u64)>);

impl Seen {
    /// Takes a page up that begins after a position.
    fn take(&mut self, after: u64, events: &[Event]) {
        for (event, position) in events.iter().zip(after + 1..) {
            assert_eq!(event.position, Position(position), "a position was skipped");
            let (at, told) =
                (usize::try_from(position - 1).unwrap(), (event.order, event.version.get()));
            match self.0.get(at) {
                Some(before) => assert_eq!(*before, told, "position {position} was given twice"),
                None => self.0.push(told),
            }
        }
    }

    /// Fails unless each order's versions come one after the other.
    fn in_order(&self) {
        let mut versions = HashMap::new();
        for (order, version) in &self.0 {
            let last = versions.insert(*order, *version).unwrap_or(0);
            assert_eq!(*version, last + 1, "of {order}");
        }
    }
}

/// Reads from one of the processes and then from the other, and goes back to where it was before now
/// and then, until all is written and read.
async fn read(both: [Process; 2], reader: u64, all_written: Arc<AtomicBool>) -> Seen {
    let (mut draws, mut seen) = (Stream::new(7, reader), Seen::default());
    let cx = builders::context("shop");
    loop {
        let store = both[draws.index(2)].ports().store();
        let known = seen.0.len() as u64;
        let after = if draws.chance(200) { draws.range(0, known) } else { known };
        let limit = usize::try_from(draws.range(1, 200)).unwrap();
        let is_last = all_written.load(Ordering::Relaxed) && after == known;
        let page = Page { after: Some(Position(after)), limit };
        let page = store.events(&cx, &Scope::All, page).await.unwrap();
        assert!(page.next >= Position(after) && page.next <= page.head);
        seen.take(after, &page.events);
        if page.events.is_empty() {
            if is_last {
                return seen;
            }
            // The end of it wakes nobody.
            drop(timeout(Duration::from_millis(50), store.events_after(page.head)).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_resume_anywhere_miss_no_event_of_two_processes() {
    let config = Config::at(servers::postgres().database());
    let both = replicas(&config).await;
    let all_written = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for reader in 0..4 {
        readers.spawn(read(both.clone(), reader, Arc::clone(&all_written)));
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(Arc::clone(&both[writer % 2]), writer));
    }
    writers.join_all().await;
    all_written.store(true, Ordering::Relaxed);
    for seen in readers.join_all().await {
        assert_eq!(seen.0.len(), WRITERS * ORDERS * VERSIONS);
        seen.in_order();
    }
    sound(&config).await;
}

/// Keeps what `outbox` was given, for a reader that goes by ids; and lets a tenant's transaction wait,
/// after it has its id and before it commits, for whoever holds the lock.
const NAIVE: &str = "
CREATE TABLE mirror (id bigint PRIMARY KEY, order_id uuid NOT NULL);
CREATE FUNCTION mirror() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mirror VALUES (new.seq, new.aggregateid);
    IF new.tenant = 'slow' THEN PERFORM pg_advisory_xact_lock(1); END IF;
    RETURN new;
END
$$;
CREATE TRIGGER mirror AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION mirror();";

/// As the usual cursor does: everything after the last id.
async fn read_by_id(beside: &Session, last: &mut i64) -> usize {
    let sql = "SELECT id FROM mirror WHERE id > $1 ORDER BY id";
    let found = beside.query(sql, &[&*last]).await.unwrap();
    *last = found.last().map_or(*last, |row| row.get(0));
    found.len()
}

#[tokio::test]
async fn an_event_that_commits_after_a_later_id_is_skipped_by_ids_and_not_by_positions() {
    let url = servers::postgres().database();
    let config = Config { lock_timeout: Duration::from_mins(1), ..Config::at(url) };
    let both = replicas(&config).await;
    let (holder, beside) = (Session::open(&config).await, Session::open(&config).await);
    beside.run(NAIVE).await;
    holder.run("SELECT pg_advisory_lock(1)").await;
    let slow = Arc::clone(&both[0]);
    let mut first = JoinSet::new();
    first.spawn(async move {
        let cx = builders::context("slow");
        slow.create(&cx, builders::draft(), builders::key("first")).await.unwrap();
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND wait_event = 'advisory'";
    until(async || beside.number(waits).await == 1).await;
    let quick = builders::context("quick");
    both[1].create(&quick, builders::draft(), builders::key("second")).await.unwrap();

    let mut last = 0;
    let mut by_ids = read_by_id(&beside, &mut last).await;
    let store = both[1].ports().store();
    let page = |after| Page { after: Some(after), limit: 9 };
    let cx = builders::context("any");
    let before = store.events(&cx, &Scope::All, page(Position(0))).await.unwrap();
    assert_eq!((by_ids, before.events.len()), (1, 1), "the second is there, and the first is not");

    holder.run("SELECT pg_advisory_unlock(1)").await;
    first.join_all().await;
    by_ids += read_by_id(&beside, &mut last).await;
    assert_eq!(by_ids, 1, "the cursor has passed the first");
    assert_eq!(beside.number("SELECT count(*) FROM mirror").await, 2);
    let after = store.events(&cx, &Scope::All, page(before.next)).await.unwrap();
    assert_eq!(after.events.len(), 1);
    assert_eq!(after.events[0].tenant.as_str(), "slow");
}

/// Nobody looks for events that he is not told of.
fn untold(config: Config) -> Config {
    Config { poll: Duration::from_hours(1), ..config }
}

#[tokio::test]
async fn a_process_is_told_of_the_events_of_another() {
    let config = untold(Config::at(servers::postgres().database()));
    let [one, other] = replicas(&config).await;
    let cx = builders::context("shop");
    let mut placed = 0;
    // It may not listen yet when the first are placed.
    while other.ports().store().head() == Position(0) {
        placed += 1;
        let key = builders::key(&format!("told-{placed}"));
        one.create(&cx, builders::draft(), key).await.unwrap();
    }
    let head = one.ports().store().head();
    other.ports().store().events_after(Position(head.0 - 1)).await;
}

#[tokio::test]
async fn a_round_that_is_left_to_another_process_is_made_when_that_is_gone() {
    let config = untold(Config::at(servers::postgres().database()));
    let [gone, left] = replicas(&config).await;
    let (store, cx) = (left.ports().store(), builders::context("shop"));
    let place = async |orders: &Process, name: String| {
        orders.create(&cx, builders::draft(), builders::key(&name)).await.unwrap();
    };
    let mut placed = 0;
    // It may not listen yet when the first are placed.
    while store.head() == Position(0) {
        placed += 1;
        place(&gone, format!("gone-{placed}")).await;
    }
    // Of all of these the other made the rounds, and so the next one is left to it as well.
    until(async || store.head() == Position(placed)).await;
    gone.ports().store().close().await;
    place(&left, "left".to_owned()).await;
    until(async || store.head() == Position(placed + 1)).await;
    assert_eq!(sound(&config).await, placed + 1);
    store.close().await;
}

/// Whoever gives positions holds this.
const STAMPS: i64 = 6_072_110_951_138;

#[tokio::test]
async fn readers_at_the_end_of_the_feed_wait_for_one_and_leave_connections_to_others() {
    let config = untold(Config {
        readers: 2,
        lock_timeout: Duration::from_mins(1),
        answer_timeout: Duration::from_mins(1),
        ..Config::at(servers::postgres().database())
    });
    postgres::migrate(&config).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    let cx = builders::context("shop");
    let holder = Session::open(&config).await;
    holder.run(&format!("SELECT pg_advisory_lock({STAMPS})")).await;
    orders.create(&cx, builders::draft(), builders::key("waits")).await.unwrap();
    let mut readers = JoinSet::new();
    for _ in 0..20 {
        let (orders, cx) = (Arc::clone(&orders), cx.clone());
        readers.spawn(async move {
            let page = Page { after: None, limit: 9 };
            orders.ports().store().events(&cx, &Scope::All, page).await.unwrap().events.len()
        });
    }
    let store = orders.ports().store();
    until(async || store.counters().reads.finished >= 20).await;
    let soon = (Instant::now() + Duration::from_secs(10)).into_std();
    store.published(&cx.clone().with_deadline(soon)).await.unwrap();
    holder.run(&format!("SELECT pg_advisory_unlock({STAMPS})")).await;
    assert_eq!(readers.join_all().await, [1; 20]);
    store.close().await;
}

#[tokio::test]
async fn all_that_was_committed_is_in_the_feed_however_much_it_is() {
    let config = untold(Config::at(servers::postgres().database()));
    postgres::migrate(&config).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    let (store, cx) = (orders.ports().store(), builders::context("shop"));
    orders.create(&cx, builders::draft(), builders::key("first")).await.unwrap();
    until(async || store.head() == Position(1)).await;
    let many = "INSERT INTO outbox (id, aggregateid, type, payload, tenant, version, at)
        SELECT gen_random_uuid(), gen_random_uuid(), kind, data, tenant, 1, at
        FROM events, generate_series(1, 4500)";
    Session::open(&config).await.run(many).await;
    let page = Page { after: None, limit: 10_000 };
    assert_eq!(store.events(&cx, &Scope::All, page).await.unwrap().events.len(), 4_501);
    store.close().await;
}

#[tokio::test]
async fn that_events_get_no_places_is_measured_until_they_do() {
    let config =
        Config { poll: Duration::from_millis(20), ..Config::at(servers::postgres().database()) };
    postgres::migrate(&config).await.unwrap();
    let (orders, metrics) = (process(&config, &World::new(1)).await, Metrics::new("test"));
    let measured = Postgres::open(&config, &metrics).await.unwrap();
    let oldest = || -> f64 {
        let text = metrics.render(Format::Text);
        let line = text.lines().find(|line| line.starts_with("test_feed_unplaced_oldest_seconds"));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    };
    let beside = Session::open(&config).await;
    beside.run("ALTER TABLE events ADD CONSTRAINT refused CHECK (tenant <> 'shop')").await;
    let cx = builders::context("shop");
    orders.create(&cx, builders::draft(), builders::key("placeless")).await.unwrap();
    until(async || oldest() > 0.0).await;
    let page = Page { after: None, limit: 9 };
    let seen = measured.events(&cx, &Scope::All, page).await.unwrap();
    assert!(seen.events.is_empty(), "who reads is told what there is");
    beside.run("ALTER TABLE events DROP CONSTRAINT refused").await;
    until(async || oldest() == 0.0).await;
    assert_eq!(measured.events(&cx, &Scope::All, page).await.unwrap().events.len(), 1);
    measured.close().await;
    orders.ports().store().close().await;
}
