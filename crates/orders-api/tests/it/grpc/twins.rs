//! Many tries of one change at a time, over both protocols.

use std::time::Duration;

use futures_util::future::join_all;
use orders_api::grpc::pb;
use orders_testkit::Fault;
use serde_json::json;

use super::caller::{Caller, create, order, own, placed};
use crate::shop::{Shop, long};

const TWINS: usize = 64;

/// Lets all of them be under way before the first takes effect.
fn slow(shop: &Shop) {
    for _ in 0..TWINS {
        shop.world.fail_next(Fault::Slow(Duration::from_millis(100)));
    }
}

#[tokio::test(start_paused = true)]
async fn twins_of_a_create_are_one_order() {
    let shop = Shop::new();
    let caller = Caller::of(&shop).await;
    slow(&shop);
    let (shop, client) = (&shop, &caller.client);
    let twins = (0..TWINS).map(|at| async move {
        if at % 2 == 0 {
            let answer = shop.create("twin", &crate::shop::order()).await;
            assert_eq!(answer.status, 201, "{}", answer.text());
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            (id, answer.header("idempotent-replayed") == "true")
        } else {
            let mut client = client.clone();
            let answer = client.create_order(own(create("twin", order()))).await.unwrap();
            let answer = answer.into_inner();
            let replayed = answer.replayed;
            (placed(answer).id, replayed)
        }
    });
    let told = join_all(twins).await;
    assert!(told.iter().all(|(id, _)| *id == told[0].0), "{told:?}");
    assert_eq!(told.iter().filter(|(_, replayed)| !replayed).count(), 1, "{told:?}");
    let orders = shop.get("/v1/orders").await.json();
    assert_eq!(orders["orders"].as_array().unwrap().len(), 1, "{orders}");
}

#[tokio::test(start_paused = true)]
async fn twins_of_a_payment_are_one_charge() {
    let shop = Shop::new();
    let caller = Caller::of(&shop).await;
    let id = shop.created("a").await;
    slow(&shop);
    let (shop, client, id) = (&shop, &caller.client, id.as_str());
    let twins = (0..TWINS).map(|at| async move {
        if at % 2 == 0 {
            let answer = shop.tell(id, "pay", "twin", &json!({ "instrument": "tok_ok" })).await;
            assert_eq!(answer.status, 202, "{}", answer.text());
            answer.header("idempotent-replayed") == "true"
        } else {
            let asked = pb::PayOrderRequest {
                order_id: id.to_owned(),
                idempotency_key: long("twin"),
                instrument: "tok_ok".to_owned(),
                ..pb::PayOrderRequest::default()
            };
            client.clone().pay_order(own(asked)).await.unwrap().into_inner().replayed
        }
    });
    let replays = join_all(twins).await;
    assert_eq!(replays.iter().filter(|replayed| !**replayed).count(), 1, "{replays:?}");
    shop.work().await;
    let order = shop.get(&format!("/v1/orders/{id}")).await.json();
    let payments = order["payments"].as_array().unwrap();
    assert_eq!(payments.len(), 1, "{order}");
    assert_eq!(payments[0]["operations"].as_array().unwrap().len(), 1, "{order}");
    assert_eq!(payments[0]["authorized"]["amount_minor"], "399", "{order}");
}
