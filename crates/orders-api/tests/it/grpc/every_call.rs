//! What holds of every call of one message: who may make it, what its key does over both protocols, how long it may
//! take, and that nothing of its message is passed over.

use std::{collections::BTreeSet, time::Duration};

use orders_api::grpc::pb;
use orders_testkit::Fault;
use prost::Message as _;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::rows::{Key, Row, changed, names, reason_of, rows};
use crate::shop::{Answer, FOREIGN, OTHER, OWN, Shop};

/// The row of this call.
fn row(call: &str) -> Row {
    rows().into_iter().find(|row| row.call == call).expect("a row")
}

/// Asserts that a call was refused so.
#[track_caller]
fn refused(row: &Row, answer: Result<Vec<u8>, Status>, code: Code, reason: &str) -> Status {
    let status = answer.expect_err(row.call);
    assert_eq!(status.code(), code, "{}: {status:?}", row.call);
    assert_eq!(reason_of(&status).0, reason, "{}", row.call);
    status
}

/// Asserts that a call was made, and for the first time if it is a change.
#[track_caller]
fn made(row: &Row, answer: Result<Vec<u8>, Status>) {
    let message = answer.unwrap_or_else(|status| panic!("{}: {status:?}", row.call));
    if row.key != Key::None {
        assert!(!changed(&message).1, "{}: it was made before", row.call);
    }
}

#[test]
fn every_call_of_the_contract_has_a_row() {
    let all = rows();
    assert_eq!(all.iter().map(|row| row.call).collect::<BTreeSet<_>>(), names());
    assert_eq!(all.len(), 14);
}

#[tokio::test]
async fn every_call_asks_who_it_is() {
    let shop = Shop::new();
    for row in rows() {
        let asked = row.ready(&shop).await;
        for token in ["", "Bearer", "Bearer own.wrong", "Bearer nobody.secret", "own.secret"] {
            let answer = row.call(&shop, &asked, token, &[]).await;
            refused(&row, answer, Code::Unauthenticated, "UNAUTHENTICATED");
        }
        made(&row, row.call(&shop, &asked, OWN, &[]).await);
    }
}

#[tokio::test]
async fn a_key_and_a_list_are_their_tenants_own() {
    let shop = Shop::new();
    let (create, list) = (row("CreateOrder"), row("ListOrders"));
    let asked = create.ready(&shop).await;
    for token in [OWN, FOREIGN] {
        made(&create, create.call(&shop, &asked, token, &[]).await);
    }
    for (token, orders) in [(OWN, 2), (FOREIGN, 1)] {
        let page = list.call(&shop, &asked, token, &[]).await.unwrap();
        let page = pb::ListOrdersResponse::decode(&page[..]).unwrap();
        assert_eq!(page.orders.len(), orders, "{token}");
    }
}

/// What a change was answered with over HTTP: the order, its version, and whether it is a replay.
#[track_caller]
fn over_http(row: &Row, answer: &Answer) -> (String, u64, bool) {
    assert!(answer.status.is_success(), "{}: {}", row.call, answer.text());
    let order = answer.json();
    let id = order["id"].as_str().unwrap().to_owned();
    (id, order["version"].as_u64().unwrap(), answer.header("idempotent-replayed") == "true")
}

#[tokio::test]
async fn a_change_is_made_once_whichever_protocol_and_credential_tries_it_again() {
    for http_first in [true, false] {
        let shop = Shop::new();
        for row in rows().into_iter().filter(|row| row.key != Key::None) {
            let asked = row.ready(&shop).await;
            let mut told = Vec::new();
            for (http, token) in [(http_first, OWN), (!http_first, OTHER)] {
                told.push(if http {
                    over_http(&row, &row.ask_as(&shop, &asked, token).await)
                } else {
                    let answer = row.call(&shop, &asked, token, &[]).await;
                    let message = answer.unwrap_or_else(|status| panic!("{}: {status}", row.call));
                    let (order, replayed) = changed(&message);
                    (order.id, order.version, replayed)
                });
            }
            let (id, version, _) = told[0].clone();
            let expected = [(id.clone(), version, false), (id, version, true)];
            assert_eq!(told, expected, "{}, HTTP first: {http_first}", row.call);
        }
    }
}

#[tokio::test]
async fn a_change_that_would_be_another_one_again_needs_a_key() {
    let shop = Shop::new();
    for row in rows() {
        let mut asked = row.ready(&shop).await;
        asked.key.clear();
        let answer = row.call(&shop, &asked, OWN, &[]).await;
        if row.key == Key::Must {
            refused(&row, answer, Code::InvalidArgument, "IDEMPOTENCY_KEY_MISSING");
            row.ask(&shop, &asked).await.problem(400, "idempotency-key-missing");
        } else {
            made(&row, answer);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_by_its_deadline() {
    for row in rows() {
        for (timeout, millis) in [("50m", 50), ("", 2_000), ("1H", 10_000)] {
            let shop = Shop::new();
            let asked = row.ready(&shop).await;
            let hour = Duration::from_hours(1);
            shop.world.fail_next(Fault::ReadSlow(hour));
            shop.world.fail_next(Fault::Slow(hour));
            let header = [("grpc-timeout", timeout)];
            let headers = &header[usize::from(timeout.is_empty())..];
            let began = Instant::now();
            let answer = row.call(&shop, &asked, OWN, headers).await;
            refused(&row, answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
            let took = began.elapsed().as_millis();
            assert!((millis..millis + 10).contains(&took), "{} {timeout}: {took}", row.call);
        }
    }
}

#[tokio::test]
async fn no_call_passes_over_a_field_that_it_does_not_know() {
    let shop = Shop::new();
    for row in rows() {
        let asked = row.ready(&shop).await;
        let mut message = row.message(&asked);
        // Field 999 is a number, and is 0.
        message.extend([0xb8, 0x3e, 0]);
        let status =
            refused(&row, row.send(&shop, &message).await, Code::InvalidArgument, "MALFORMED");
        assert_eq!(reason_of(&status).1, ["999"], "{}", row.call);
        made(&row, row.call(&shop, &asked, OWN, &[]).await);
    }
}
