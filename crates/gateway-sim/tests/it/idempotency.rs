//! One key, one effect.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Shop, amounted, authorization, id, key};

const PATH: &str = "/v1/authorizations";

#[tokio::test]
async fn a_replay_gives_the_same_operation_and_says_so() {
    let shop = Shop::new().await;
    let (payment, key) = (id(), key());
    let body = authorization(id(), payment, "tok_ok");
    let first = shop.operate(PATH, &key, &body).await;
    // What happened since is not told: the operation is as it was decided.
    shop.operate("/v1/captures", &crate::support::key(), &amounted(id(), payment, 5)).await;
    let again = shop.operate(PATH, &key, &body).await;
    assert_eq!(again.json(), first.json());
    assert_eq!((first.is_replayed(), again.is_replayed()), (false, true));
    assert_eq!(shop.payment(payment).successful.authorization, 1);
}

#[tokio::test]
async fn a_decline_is_replayed_too() {
    let shop = Shop::new().await;
    let (payment, key) = (id(), key());
    let early = amounted(id(), payment, 5);
    let first = shop.operate("/v1/captures", &key, &early).await;
    first.declined("unknown-payment");
    shop.operate(PATH, &crate::support::key(), &authorization(id(), payment, "tok_ok")).await;
    let again = shop.operate("/v1/captures", &key, &early).await;
    assert_eq!((again.json(), again.is_replayed()), (first.json(), true));
}

#[tokio::test]
async fn the_same_body_is_the_same_json() {
    let shop = Shop::new().await;
    let (key, body) = (key(), authorization(id(), id(), "tok_ok"));
    shop.operate(PATH, &key, &body).await;
    let spaced = serde_json::to_string_pretty(&body).unwrap();
    let request = crate::support::request("POST", PATH)
        .header("idempotency-key", &key)
        .header("content-type", "application/json; charset=utf-8");
    let request = request.body(http_body_util::Full::from(spaced)).unwrap();
    assert!(crate::support::send(shop.sim.address(), request).await.unwrap().is_replayed());
}

#[tokio::test]
async fn a_key_stands_for_one_request_only() {
    let shop = Shop::new().await;
    let (reference, payment, key) = (id(), id(), key());
    let body = authorization(reference, payment, "tok_ok");
    shop.operate(PATH, &key, &body).await;
    let mut others = vec![body.clone(), body.clone(), body.clone(), body];
    others[0]["amount"]["amount_minor"] = "2001".into();
    others[1]["amount"]["currency"] = "USD".into();
    others[2]["payment"] = id().to_string().into();
    others[3]["instrument"] = "tok_ok_other".into();
    for other in others {
        shop.operate(PATH, &key, &other).await.problem(422, "idempotency-key-reused");
    }
    let other = amounted(reference, payment, 2_000);
    shop.operate("/v1/captures", &key, &other).await.problem(422, "idempotency-key-reused");
    assert_eq!(shop.summary().operations, 1);
}

#[tokio::test]
async fn a_reference_stands_under_one_key_only() {
    let shop = Shop::new().await;
    let body = authorization(id(), id(), "tok_ok");
    shop.operate(PATH, &key(), &body).await;
    shop.operate(PATH, &key(), &body).await.problem(409, "reference-in-use");
    assert_eq!(shop.summary().operations, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twins_at_once_are_one_effect_with_one_answer() {
    let shop = Shop::new().await;
    let (payment, key) = (id(), key());
    let body = authorization(id(), payment, "tok_ok");
    let answers = join_all((0..64).map(|_| shop.operate(PATH, &key, &body))).await;
    let decided = answers.iter().filter(|answer| !answer.is_replayed()).count();
    assert_eq!(decided, 1);
    assert!(answers.iter().all(|answer| answer.json() == answers[0].json()));
    let payment = shop.payment(payment);
    assert_eq!((payment.operations.len(), payment.totals.authorized.minor), (1, 2_000));
}

#[tokio::test]
async fn after_its_window_a_key_is_new_and_the_judge_sees_what_was_doubled() {
    let shop = Shop::with(|config| {
        config.ledger.idempotency_window = Duration::from_millis(50);
    })
    .await;
    let (payment, key, reference) = (id(), key(), id());
    let body = authorization(reference, payment, "tok_ok");
    let first = shop.operate(PATH, &key, &body).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    let second = shop.operate(PATH, &key, &body).await;
    assert!(!second.is_replayed());
    assert_ne!(second.json()["gateway_id"], first.json()["gateway_id"]);
    assert_eq!(shop.lookup(reference).await.json(), second.json());
    let summary = shop.summary();
    assert_eq!((summary.references_doubled, summary.payments_with_several.authorization), (1, 1));
    assert_eq!(shop.payment(payment).totals.authorized.minor, 4_000);
}

#[tokio::test]
async fn errors_are_not_remembered() {
    let shop = Shop::new().await;
    let (key, mut body) = (key(), authorization(id(), id(), "tok_ok"));
    body["amount"]["amount_minor"] = json!("0");
    shop.operate(PATH, &key, &body).await.problem(400, "malformed");
    body["amount"]["amount_minor"] = json!("1");
    assert_eq!(shop.operate(PATH, &key, &body).await.json()["status"], "succeeded");
}

#[tokio::test]
async fn keys_can_be_forgotten_before_their_window_ends() {
    let shop = Shop::new().await;
    let (key, body) = (key(), authorization(id(), id(), "tok_ok"));
    shop.operate(PATH, &key, &body).await;
    shop.sim.ledger().forget_keys().unwrap();
    assert!(!shop.operate(PATH, &key, &body).await.is_replayed());
    shop.sim.faults().next(gateway_sim::Fault::KeyWindowExpired, 1);
    assert!(shop.operate(PATH, &key, &body).await.is_replayed(), "forgotten once it is answered");
    assert!(!shop.operate(PATH, &key, &body).await.is_replayed());
    assert_eq!(shop.summary().successful.authorization, 3);
}
