//! The feed of two processes that write to one database: nothing is skipped.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use orders::{
    domain::{OrderId, Position},
    ports::{Event, Page, Ports as _, Scope, Store as _},
};
use orders_adapters::postgres::Config;
use orders_testkit::{Stream, builders, servers};
use tokio::{task::JoinSet, time::timeout};

use super::{
    beside::{Session, replicas, sound, until},
    process::Process,
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
