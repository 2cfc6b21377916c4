//! Changes that cannot be written, in company.

use std::time::Duration;

use futures_util::future::join_all;
use orders::{
    Error, Refusal,
    domain::Draft,
    ports::{NotWritten, Ports as _},
    usecase::Done,
};
use orders_adapters::postgres::{self, Config};
use orders_testkit::{World, builders, servers};

use super::{
    beside::{Session, replicas, sound, until},
    process::{Process, process},
};

const TOGETHER: usize = 50;

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
    beside.count_inserts("orders").await;
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
    let sent = beside.inserts().await;
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

/// Places orders together, each with one of so many references.
async fn place_all(orders: &Process, name: &str) -> Vec<Result<Done, Error>> {
    let cx = builders::context("shop");
    join_all((0..TOGETHER).map(async |n| {
        let draft = Draft { external_reference: Some(format!("taken-{n}")), ..builders::draft() };
        orders.create(&cx, draft, builders::key(&format!("{name}-{n}"))).await
    }))
    .await
}

#[tokio::test]
async fn the_refusals_of_a_batch_are_remembered_by_one_statement() {
    let (orders, config) = one_writer().await;
    let placed = place_all(&orders, "first").await;
    assert!(placed.iter().all(Result::is_ok), "{placed:?}");
    let beside = Session::open(&config).await;
    beside.count_inserts("receipts").await;
    for is_again in [false, true] {
        for (n, answer) in place_all(&orders, "later").await.iter().enumerate() {
            let Err(Error::Refused { refusal, replayed }) = answer else {
                panic!("{n}: {answer:?}")
            };
            assert!(matches!(refusal, Refusal::ExternalReferenceTaken { .. }), "{refusal:?}");
            assert_eq!(*replayed, is_again, "{n}");
        }
    }
    assert_eq!(beside.inserts().await, 1);
    assert_eq!(beside.number("SELECT count(*) FROM receipts").await, 50);
    assert_eq!(sound(&config).await, 50);
}

#[tokio::test]
async fn a_refusal_that_the_server_does_not_keep_fails_alone() {
    let (orders, config) = one_writer().await;
    let placed = place_all(&orders, "first").await;
    assert!(placed.iter().all(Result::is_ok), "{placed:?}");
    let beside = Session::open(&config).await;
    beside.run("ALTER TABLE receipts ADD CHECK (key NOT LIKE 'later-20-%')").await;
    for (n, answer) in place_all(&orders, "later").await.iter().enumerate() {
        match n {
            20 => assert!(matches!(answer, Err(Error::Unavailable(Some(_)))), "{answer:?}"),
            _ => assert!(matches!(answer, Err(Error::Refused { .. })), "{answer:?}"),
        }
    }
    assert_eq!(beside.number("SELECT count(*) FROM receipts").await, 49);
    assert_eq!(sound(&config).await, 50);
}

/// Lets an order of this customer wait, before it is inserted, for whoever holds the lock.
const PAUSED: &str = "
CREATE FUNCTION paused() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.customer_id = 'second' THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
    RETURN new;
END
$$;
CREATE TRIGGER paused BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION paused()";

/// At which process, under which key, by whom, with which reference.
type Crossed = (usize, &'static str, &'static str, &'static str);

#[tokio::test]
async fn batches_of_two_processes_whose_references_cross_are_both_settled() {
    let config = Config {
        // It is a deadlock before anybody has waited for too long.
        lock_timeout: Duration::from_mins(1),
        answer_timeout: Duration::from_mins(1),
        ..Config::at(servers::postgres().database())
    };
    let both = replicas(&config).await;
    let (holder, beside) = (Session::open(&config).await, Session::open(&config).await);
    beside.run(PAUSED).await;
    beside.count_inserts("orders").await;
    holder.run("SELECT pg_advisory_lock(1)").await;
    let cx = builders::context("shop");
    // In each batch, by the order of keys, the first is inserted and the second waits.
    let crossed = [
        (0, "a", "first", "one"),
        (0, "b", "second", "two"),
        (1, "c", "first", "two"),
        (1, "d", "second", "one"),
    ];
    let placed = join_all(crossed.map(async |(at, key, customer, reference): Crossed| {
        let draft = Draft {
            customer_id: customer.to_owned(),
            external_reference: Some(reference.to_owned()),
            ..builders::draft()
        };
        both[at].create(&cx, draft, builders::key(key)).await
    }));
    let let_go = async {
        until(async || beside.waiting().await == 2).await;
        holder.run("SELECT pg_advisory_unlock(1)").await;
    };
    let (answers, ()) = tokio::join!(placed, let_go);
    let made = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused = answers.iter().filter(|a| matches!(a, Err(Error::Refused { .. }))).count();
    assert_eq!((made, refused), (2, 2), "{answers:?}");
    for process in &both {
        assert_eq!(process.ports().store().counters().batches, 1);
    }
    // Two batches, and at least a half of the one that was undone for the other.
    let sent = beside.inserts().await;
    assert!(sent > 2, "{sent} transactions");
    assert_eq!(sound(&config).await, 2);
}
