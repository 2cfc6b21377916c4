//! `orderly audit`: what cannot be is found, and told by the order it is about.

use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Home, text};

/// A fault, how it comes into a store, and what the audit says.
struct Fault {
    name: &'static str,
    /// SQL, in which `:order` stands for the id of the order that is harmed.
    edit: &'static str,
    /// Whether it is told of the store as a whole, and not of the order.
    of_store: bool,
    says: &'static str,
}

/// The order that is harmed was placed first; it is at version 3, its feed positions are 1, 3, 4.
const FAULTS: [Fault; 29] = [
    fault(
        "a history row is gone",
        "DELETE FROM history WHERE order_id = :order AND version = 2",
        "history has version 3 where 2 belongs",
    ),
    fault(
        "the first history row is gone",
        "DELETE FROM history WHERE order_id = :order AND version = 1",
        "history has version 2 where 1 belongs",
    ),
    fault(
        "the last history row is gone",
        "DELETE FROM history WHERE order_id = :order AND version = 3",
        "its history ends",
    ),
    fault("all history is gone", "DELETE FROM history WHERE order_id = :order", "has no history"),
    fault("an event is gone", "DELETE FROM events WHERE position = 3", "version 2 has no event"),
    fault(
        "the last event is gone",
        "DELETE FROM events WHERE position = 4",
        "version 3 has no event",
    ),
    fault(
        "an event is of another version",
        "UPDATE events SET version = 9 WHERE position = 3",
        "the event at 3 is not version 2's",
    ),
    fault(
        "an event is of another kind",
        "UPDATE events SET kind = 'orders.order.cancelled.v1' WHERE position = 1",
        "the event at 1 is a orders.order.cancelled.v1",
    ),
    fault(
        "the total is another",
        "DROP TRIGGER orders_guard; UPDATE orders SET total_minor = 997 WHERE id = :order",
        "the total is 998, stored is 997",
    ),
    fault(
        "the state is another",
        "DROP TRIGGER orders_guard; UPDATE orders SET state = 'CANCELLED' WHERE id = :order",
        "is CANCELLED at version 3",
    ),
    fault(
        "the version is another",
        "DROP TRIGGER orders_guard; UPDATE orders SET version = 4 WHERE id = :order",
        "at version 4",
    ),
    fault(
        "the content is no JSON",
        "DROP TRIGGER orders_guard; UPDATE orders SET content = '{' WHERE id = :order",
        "cannot be read",
    ),
    fault(
        "a receipt is of a version to come",
        "UPDATE receipts SET decision = replace(decision, '2', '9') WHERE order_id = :order",
        "a receipt accepts version 9",
    ),
    fault(
        "a note is gone",
        "DELETE FROM notes WHERE order_id = :order",
        "counts 1 notes and has 0",
    ),
    fault(
        "an event is another tenant's",
        "UPDATE events SET tenant = 'other' WHERE position = 3",
        "the event at 3 says something else than the order",
    ),
    fault(
        "an order is another tenant's",
        "DROP TRIGGER orders_guard; UPDATE orders SET tenant = 'other' WHERE id = :order",
        "the event at 1 says something else than the order",
    ),
    fault(
        "an event's payload is no JSON",
        "UPDATE events SET data = '{' WHERE position = 3",
        "the event at 3 says something else than the order",
    ),
    fault(
        "an event tells another total",
        "UPDATE events SET data = replace(data, '998', '99') WHERE position = 3",
        "the event at 3 says something else than the order",
    ),
    fault(
        "the currency is another",
        "DROP TRIGGER orders_guard; UPDATE orders SET currency = 'USD' WHERE id = :order",
        "the event at 1 says something else than the order",
    ),
    fault(
        "the payment state is another",
        "DROP TRIGGER orders_guard; UPDATE orders SET payment_state = 'CAPTURED' WHERE id = :order",
        "the payment state is NONE, stored is CAPTURED",
    ),
    fault(
        "the order was placed at another time",
        "DROP TRIGGER orders_guard; UPDATE orders SET created_at = 0 WHERE id = :order",
        "says 1970-01-01T00:00:00Z to",
    ),
    fault(
        "an event was at another time",
        "UPDATE events SET at = 0 WHERE position = 3",
        "the event at 3 is not version 2's",
    ),
    fault(
        "a history row cannot be read",
        "UPDATE history SET command = 'zzz' WHERE order_id = :order AND version = 2",
        "a history row cannot be read: an unknown command: zzz",
    ),
    of_store(
        "a note has no order",
        "INSERT INTO notes SELECT zeroblob(16), version, at, author, text FROM notes",
        "2 notes, of which 1 belong to an order",
    ),
    of_store(
        "personal data has no order",
        "INSERT INTO personal VALUES (zeroblob(16), '{}')",
        "1 rows of personal data, of which 0 belong to an order",
    ),
    of_store(
        "an event has no order",
        "INSERT INTO events SELECT 5, tenant, zeroblob(16), 1, randomblob(16), kind, trace, at, data FROM events WHERE position = 1",
        "5 events, of which 4 belong to an order",
    ),
    of_store(
        "a history row has no order",
        "INSERT INTO history SELECT zeroblob(16), version, change_id, from_state, to_state, command, actor, reason, request_id, trace, at, position FROM history WHERE order_id = :order AND version = 1",
        "5 history rows, of which 4 belong to an order",
    ),
    of_store(
        "a receipt has no order",
        "UPDATE receipts SET order_id = zeroblob(16)",
        "3 receipts, of which 2 belong to an order",
    ),
    of_store(
        "an order is gone",
        "DELETE FROM orders WHERE id = :order",
        "4 history rows, of which 1 belong to an order",
    ),
];

const fn fault(name: &'static str, edit: &'static str, says: &'static str) -> Fault {
    Fault { name, edit, of_store: false, says }
}

const fn of_store(name: &'static str, edit: &'static str, says: &'static str) -> Fault {
    Fault { name, edit, of_store: true, says }
}

/// A stopped store with two orders, and the id of the first.
async fn store(home: &Home) -> String {
    let service = home.serve().await;
    let client = service.client();
    let id = client.create("audited-order-001").await.placed();
    client.create("audited-order-002").await.placed();
    for (verb, body) in [("confirm", json!({})), ("notes", json!({ "text": "Ring twice" }))] {
        let answer = client.verb(&id, verb, "audited-verb-0001", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    service.kill9().await;
    // The note's receipt stays out of the way.
    edit(home.store(), "DELETE FROM receipts WHERE operation = 'add-note'", &id).unwrap();
    id
}

fn edit(store: &Path, sql: &str, order: &str) -> rusqlite::Result<()> {
    let order = format!("x'{}'", order.replace('-', ""));
    Connection::open(store)?.execute_batch(&sql.replace(":order", &order))
}

#[tokio::test]
async fn every_planted_fault_is_found() {
    let home = Home::new();
    let order = store(&home).await;
    assert_eq!(home.sound().await["orders"], 2);
    for (at, fault) in FAULTS.iter().enumerate() {
        harmed_is_found(&home, &order, &format!("harmed-{at}.db"), fault).await;
    }
}

/// A copy of the store is sound, and once it is harmed the audit says so.
async fn harmed_is_found(home: &Home, order: &str, copy: &str, fault: &Fault) {
    let harmed = home.clone().with_store(copy);
    let copy = format!("VACUUM INTO '{}'", harmed.store().display());
    edit(home.store(), &copy, order).unwrap();
    harmed.sound().await;
    edit(harmed.store(), fault.edit, order).unwrap();

    let ran = harmed.run(&["audit"]).await;
    assert_eq!(ran.code, Some(1), "{}: {ran:?}", fault.name);
    let whose = if fault.of_store { "store".to_owned() } else { format!("order {order}") };
    let told = |line: &str| line.contains(&format!("{whose}: ")) && line.contains(fault.says);
    assert!(ran.out.lines().any(told), "{}: not told: {}\n{}", fault.name, fault.says, ran.out);
}

/// What cannot be of the money of an order; the order that is harmed waits for a gateway that is gone.
const OF_MONEY: [Fault; 5] = [
    fault(
        "nobody is at a payment",
        "DELETE FROM tasks WHERE order_id = :order",
        "nobody is at its authorize",
    ),
    fault(
        "an order has ended and its money is out",
        "DROP TRIGGER orders_guard;
         UPDATE orders SET state = 'CANCELLED' WHERE id = :order;
         UPDATE history SET to_state = 'CANCELLED' WHERE order_id = :order AND version = 2",
        "is CANCELLED while money is out",
    ),
    fault(
        "more is taken than held",
        "DROP TRIGGER orders_guard;
         UPDATE orders SET payments = replace(payments, 'authorize', 'capture') WHERE id = :order",
        "cannot be read: a payment's attempts cannot all be true",
    ),
    fault(
        "a task cannot be read",
        "UPDATE tasks SET kind = 'zzz' WHERE order_id = :order",
        "a task cannot be read: an unknown kind: zzz",
    ),
    of_store(
        "a task has no order",
        "INSERT INTO tasks SELECT zeroblob(16), tenant, order_id, kind, due, epoch, tries, sent FROM tasks",
        "2 tasks, of which 1 belong to an order",
    ),
];

#[tokio::test]
async fn every_planted_fault_of_money_is_found() {
    let (sim, home) = crate::pay::shop().await;
    sim.stop().await;
    let service = home.serve().await;
    let order = service.client().create("audited-order-001").await.placed();
    let paid = json!({ "instrument": "tok_ok" });
    let answer = service.client().verb(&order, "pay", "audited-pay-00001", &paid).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    service.kill9().await;
    home.sound().await;
    for (at, fault) in OF_MONEY.iter().enumerate() {
        harmed_is_found(&home, &order, &format!("money-{at}.db"), fault).await;
    }
}

#[tokio::test]
async fn findings_are_told_as_json_too() {
    let home = Home::new();
    let order = store(&home).await;
    edit(home.store(), "DELETE FROM notes", &order).unwrap();
    let ran = home.run(&["audit", "--json"]).await;
    assert_eq!(ran.code, Some(1));
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["orders"], text(&report["store"])), (&json!(2), path(home.store())));
    let findings: Vec<String> = report["findings"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(findings, [format!("order {order}: counts 1 notes and has 0")]);
}

#[tokio::test]
async fn the_store_itself_refuses_what_no_order_can_do() {
    let home = Home::new();
    let order = store(&home).await;
    for sql in [
        "UPDATE orders SET total_minor = 997 WHERE id = :order",
        "UPDATE orders SET state = 'EXPIRED', version = version + 1 WHERE id = :order",
        "UPDATE orders SET state = 'CONFIRMED', version = version + 2 WHERE id = :order",
        "UPDATE orders SET state = 'NONSENSE', version = version + 1 WHERE id = :order",
    ] {
        let refused = edit(home.store(), sql, &order).unwrap_err().to_string();
        assert!(refused.contains("not a legal change of an order"), "{sql}: {refused}");
    }
    home.sound().await;
}

fn path(store: &Path) -> String {
    store.display().to_string()
}

#[tokio::test]
async fn an_audit_says_of_which_store_it_speaks_and_whether_there_is_anything_in_it() {
    let home = Home::new();
    home.serve().await.stop().await;
    let empty = home.run(&["audit"]).await;
    assert_eq!(empty.code, Some(0), "{empty:?}");
    assert!(empty.out.starts_with(&format!("store {}\n0 orders, ", path(home.store()))));
    assert!(empty.out.contains("\nempty: ") && !empty.out.contains("sound"), "{}", empty.out);

    let service = home.serve().await;
    service.client().create("audited-order-001").await.placed();
    service.stop().await;
    let ran = home.run(&["audit"]).await;
    assert!(ran.out.contains("\n1 order, 1 history row, 1 event, 1 receipt\nsound: "), "{ran:?}");
}

#[tokio::test]
async fn a_copy_made_while_the_service_runs_is_whole() {
    let home = Home::new();
    let service = home.serve().await;
    service.client().create("copied-order-0001").await.placed();
    let copy = home.clone().with_store("copy.db");
    edit(home.store(), &format!("VACUUM INTO '{}'", copy.store().display()), "").unwrap();
    service.client().create("copied-order-0002").await.placed();
    service.stop().await;
    assert_eq!(copy.sound().await["orders"], 1);
    let service = copy.serve().await;
    assert_eq!(service.client().all_orders().await.len(), 1);
    service.stop().await;
    assert_eq!(home.sound().await["orders"], 2);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_not_sound() {
    let home = Home::new();
    let ran = home.run(&["audit"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    let told = format!("there is no store {}; name the one that is meant", path(home.store()));
    assert!(ran.err.contains(&told) && ran.err.contains("--config FILE"), "{}", ran.err);
    assert!(!home.store().exists(), "looking makes no store");
}
