//! What holds of every call of one message: who may make it, what its key does over both protocols, how long it may
//! take, and that nothing of its message is passed over.

use std::{collections::BTreeSet, time::Duration};

use orders_api::grpc::pb;
use orders_testkit::Fault;
use prost::Message as _;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::rows::{Asked, Key, Row, changed, names, reason_of, rows};
use crate::{
    shop::{Answer, FOREIGN, OWN, Shop},
    who::{self, Credential, Whose},
};

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

/// What a change was answered with: the order, its version, and whether it is a replay.
type Made = (String, u64, bool);

#[track_caller]
fn over_http(row: &Row, answer: &Answer) -> Made {
    assert!(answer.status.is_success(), "{}: {}", row.call, answer.text());
    let order = answer.json();
    let id = order["id"].as_str().unwrap().to_owned();
    (id, order["version"].as_u64().unwrap(), answer.header("idempotent-replayed") == "true")
}

/// Tries a change over HTTP or as a call, as one of its tenant.
async fn tries(row: &Row, shop: &Shop, asked: &Asked, (http, by): (bool, Credential)) -> Made {
    let token = by.of(Whose::Own);
    if http {
        return over_http(row, &row.ask_as(shop, asked, token).await);
    }
    let answer = row.call(shop, asked, token, &[]).await;
    let message = answer.unwrap_or_else(|status| panic!("{}: {status}", row.call));
    let (order, replayed) = changed(&message);
    (order.id, order.version, replayed)
}

/// A try and one after it, each over HTTP or not and by which credential: a key and then a token, a token
/// and then a key, a key and then another principal's, and each of them over either protocol first.
fn retries() -> impl Iterator<Item = [(bool, Credential); 2]> {
    let credentials = [
        (Credential::Key, Credential::Token),
        (Credential::Token, Credential::Key),
        (Credential::Key, Credential::OtherKey),
    ];
    credentials.into_iter().flat_map(|(first, again)| {
        [true, false].map(|http_first| [(http_first, first), (!http_first, again)])
    })
}

fn changes() -> impl Iterator<Item = Row> {
    rows().into_iter().filter(|row| row.key != Key::None)
}

#[tokio::test]
async fn a_change_is_made_once_whichever_protocol_and_credential_tries_it_again() {
    for [first, again] in retries() {
        let shop = who::shop();
        for row in changes() {
            let asked = row.ready(&shop).await;
            let (id, version, replayed) = Box::pin(tries(&row, &shop, &asked, first)).await;
            assert!(!replayed, "{}, {first:?}", row.call);
            let told = Box::pin(tries(&row, &shop, &asked, again)).await;
            assert_eq!(told, (id, version, true), "{}, {first:?}, {again:?}", row.call);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_made_once_while_its_first_try_is_under_way() {
    let slow = Duration::from_millis(100);
    for [first, again] in retries() {
        let shop = who::shop();
        for row in changes() {
            let asked = row.ready(&shop).await;
            shop.world.fail_next(Fault::Slow(slow));
            shop.world.fail_next(Fault::Slow(slow));
            let began = Instant::now();
            let (one, other) = tokio::join!(
                Box::pin(tries(&row, &shop, &asked, first)),
                Box::pin(tries(&row, &shop, &asked, again)),
            );
            // One after the other they would take twice as long.
            let took = began.elapsed();
            assert!((slow..2 * slow).contains(&took), "{}: {took:?}", row.call);
            assert_eq!((&one.0, one.1), (&other.0, other.1), "{}, {first:?}", row.call);
            assert_ne!(one.2, other.2, "{}, {first:?}, {again:?}: one is the replay", row.call);
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
