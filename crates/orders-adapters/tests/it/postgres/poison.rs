//! Changes that cannot be written, in company.

use std::time::Duration;

use futures_util::future::join_all;
use orders::{
    Error,
    domain::Draft,
    ports::{NotWritten, Ports as _},
};
use orders_adapters::postgres::{self, Config};
use orders_testkit::{World, builders, servers};

use super::{
    beside::{Session, sound},
    process::{Process, process},
};

const TOGETHER: usize = 50;

/// Counts the statements that make orders, also those that are undone: a sequence never goes back.
const COUNTED: &str = "CREATE SEQUENCE sent;
    CREATE FUNCTION count_sent() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM nextval('sent');
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER count_sent BEFORE INSERT ON orders EXECUTE FUNCTION count_sent()";

/// A process whose one writer takes all that waits as one batch.
async fn one_writer() -> (Process, Config) {
    let url = servers::postgres().database();
    let config = Config { writers: 1, lock_timeout: Duration::from_millis(200), ..Config::at(url) };
    postgres::migrate(&config).await.unwrap();
    (process(&config, &World::new(1)).await, config)
}

#[tokio::test]
async fn a_change_that_the_server_refuses_fails_alone() {
    let (orders, config) = one_writer().await;
    let beside = Session::open(&config).await;
    beside.run("ALTER TABLE orders ADD CHECK (customer_id <> 'poison')").await;
    beside.run(COUNTED).await;
    let cx = builders::context("shop");
    let answers = join_all((0..TOGETHER).map(async |n| {
        let customer_id = if n == 20 { "poison" } else { "c-1" }.to_owned();
        let draft = Draft { customer_id, ..builders::draft() };
        orders.create(&cx, draft, builders::key(&format!("poison-{n}"))).await
    }))
    .await;
    assert_eq!(orders.ports().store().counters().batches, 1, "they were one batch");
    for (n, answer) in answers.iter().enumerate() {
        match n {
            20 => assert!(matches!(answer, Err(Error::Unavailable(Some(_)))), "{answer:?}"),
            _ => assert!(answer.as_ref().is_ok_and(|done| !done.replayed), "{answer:?}"),
        }
    }
    assert_eq!(sound(&config).await, 49);
    // All, then two halves of what failed until it is one of 50.
    let sent = beside.number("SELECT last_value FROM sent").await;
    assert!((2..=13).contains(&sent), "{sent} transactions");
}

#[tokio::test]
async fn a_change_whose_order_is_held_is_busy_alone() {
    let (orders, config) = one_writer().await;
    let cx = builders::context("shop");
    let placed = join_all((0..TOGETHER).map(async |n| {
        let key = builders::key(&format!("held-{n}"));
        orders.create(&cx, builders::draft(), key).await.unwrap().record.order.id
    }))
    .await;
    let before = orders.ports().store().counters().batches;
    let holder = Session::open(&config).await;
    let hold = format!("BEGIN; SELECT FROM orders WHERE id = '{}' FOR UPDATE", placed[20]);
    holder.run(&hold).await;
    // All are read first, so that their changes meet in the queue.
    let mut together = Vec::new();
    for order in &placed {
        together.push(orders.act(&cx, builders::confirm(*order)));
    }
    let answers = join_all(together).await;
    assert!(orders.ports().store().counters().batches > before);
    for (n, answer) in answers.iter().enumerate() {
        match n {
            20 => assert!(matches!(answer, Err(Error::NotWritten(NotWritten::Busy)))),
            _ => assert!(answer.is_ok(), "{answer:?}"),
        }
    }
    holder.run("ROLLBACK").await;
    orders.act(&cx, builders::confirm(placed[20])).await.unwrap();
    sound(&config).await;
}

#[tokio::test]
async fn a_receipt_that_cannot_be_read_fails_its_own_change_only() {
    let (orders, config) = one_writer().await;
    let cx = builders::context("shop");
    let taken = || Draft { external_reference: Some("taken".to_owned()), ..builders::draft() };
    orders.create(&cx, taken(), builders::key("taker")).await.unwrap();
    for key in ["sound", "damaged"] {
        let refused = orders.create(&cx, taken(), builders::key(key)).await;
        assert!(matches!(refused, Err(Error::Refused { replayed: false, .. })), "{refused:?}");
    }
    let beside = Session::open(&config).await;
    beside.run("UPDATE receipts SET decision = 'nonsense' WHERE key LIKE 'damaged%'").await;
    let again = async |key| orders.create(&cx, taken(), builders::key(key)).await;
    let (sound, damaged) = tokio::join!(again("sound"), again("damaged"));
    assert!(matches!(sound, Err(Error::Refused { replayed: true, .. })), "{sound:?}");
    assert!(matches!(damaged, Err(Error::Unavailable(Some(_)))), "{damaged:?}");
}
