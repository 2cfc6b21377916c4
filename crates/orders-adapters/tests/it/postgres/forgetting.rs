//! Forgetting in a store that has grown.

use jiff::SignedDuration;
use orders::ports::{Clock as _, Cutoff, Store as _};
use orders_testkit::{World, builders};

use super::{
    beside::{Session, until},
    fixture::Fixture,
};

/// So many events that the server plans for a large table.
const GROWN: &str = "
CREATE TEMPORARY TABLE made AS SELECT position, gen_random_uuid() AS order_id, gen_random_uuid() AS change_id
    FROM generate_series(1, 20000) AS position;
INSERT INTO history SELECT order_id, 1, 'shop', change_id, NULL, 'PENDING', 'place', 'test', NULL,
    'test', NULL, now(), NULL FROM made;
INSERT INTO events SELECT position, 'shop', order_id, 1, change_id, 'orders.order.placed.v1', NULL,
    now(), repeat('x', 500) FROM made;
ANALYZE history, events";

#[tokio::test]
async fn a_chunk_that_is_forgotten_is_looked_up_and_not_searched_for() {
    let Fixture { store, config } = Fixture::direct().await;
    let beside = Session::open(&config).await;
    beside.run(GROWN).await;
    let later = World::new(1).clock().now() + SignedDuration::from_hours(24 * 365 * 100);
    let cutoff =
        Cutoff { events_before: later, now: later, unpublished: false, receipts_before: later };
    let forgotten = store.forget(&builders::context("shop"), cutoff, 100).await.unwrap();
    assert_eq!(forgotten.events, 100);
    // The server tells some time later what it did; nobody else looks into history.
    let looked = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables
        WHERE relname = 'history'";
    until(async || beside.number(looked).await > 0).await;
    let searched = "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables
        WHERE relname IN ('events', 'history')";
    assert_eq!(beside.number(searched).await, 0);
    store.close().await;
}
