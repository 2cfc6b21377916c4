//! Whose the topics are.

use mainstay::telemetry::error_chain;
use orders::{
    ports::Publisher as _,
    usecase::{RelayError, relay},
};
use orders_adapters::kafka::dlq;
use orders_testkit::{
    World,
    builders::{context, draft, key},
};
use uuid::Uuid;

use super::{
    STORE,
    inbound::{Running, Warehouse, put, values},
    made,
    published::{orders, publisher_of},
    request, seen, until,
};

const OTHER: Uuid = Uuid::from_u128(2);

/// Fails unless a store was refused and told what can be done.
#[track_caller]
fn is_kept_off(error: &RelayError, topic: &str) {
    let told = error_chain(error);
    let belongs = format!("the topic {topic} belongs to another store");
    for part in [&*belongs, "kafka.events_topic", "`orderly events claim`"] {
        assert!(told.contains(part), "it does not say {part:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_store_neither_publishes_nor_shuts_out_the_first() {
    let (config, first, second) = (made().await, World::new(1), World::new(2));
    let (ours, theirs) = (publisher_of(STORE, &config), publisher_of(OTHER, &config));
    orders(&first, 1).await;
    orders(&second, 1).await;
    relay(&request(), &first, &ours, 100).await.unwrap();
    let error = relay(&request(), &second, &theirs, 100).await.unwrap_err();
    is_kept_off(&error, &config.events_topic);
    let told = theirs.status()["last_error"].to_string();
    assert!(told.contains("belongs to another store"), "{told}");

    first.orders().create(&context("acme"), draft(), key("later")).await.unwrap();
    relay(&request(), &first, &ours, 100).await.unwrap();
    assert_eq!(seen(&config, &config.events_topic).await.len(), 4);
    assert_eq!(seen(&config, &config.state_topic).await.len(), 2);
    // A claim is no parked record.
    assert!(dlq::list(&config, &config.events_topic).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_of_a_second_store_takes_nothing_and_stays_out_of_the_group() {
    let (config, ours, theirs) = (made().await, Warehouse::default(), Warehouse::default());
    let first = Running::start(&config, &ours);
    put(&config, "a", "a1").await;
    until("carried out", async || ours.of("a") == values(&["a1"])).await;
    let second = Running::start_for(OTHER, &config, &theirs);
    until("kept off", async || {
        second.last_error().is_some_and(|told| told.contains("belongs to another store"))
    })
    .await;
    let keys = ["b", "c", "d", "e", "f", "g"];
    for key in keys {
        put(&config, key, "1").await;
    }
    until("all", async || keys.iter().all(|key| ours.of(key) == values(&["1"]))).await;
    assert!(keys.iter().all(|key| theirs.of(key).is_empty()));
    assert_eq!(first.last_error(), None);
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_taken_over_on_purpose_and_then_the_store_before_is_kept_off() {
    let (config, before, after) = (made().await, World::new(1), World::new(2));
    let (ours, theirs) = (publisher_of(STORE, &config), publisher_of(OTHER, &config));
    orders(&before, 1).await;
    orders(&after, 1).await;
    relay(&request(), &before, &ours, 100).await.unwrap();
    relay(&request(), &after, &theirs, 100).await.unwrap_err();

    let (events, shipments) = (&config.events_topic, &config.inbound.fulfillment_topic);
    let taken = dlq::take_over(&config, OTHER).await.unwrap();
    assert_eq!(taken, [(events.clone(), Some(STORE)), (shipments.clone(), None)]);
    relay(&request(), &after, &theirs, 100).await.unwrap();
    before.orders().create(&context("acme"), draft(), key("late")).await.unwrap();
    // It finds out when its states are refused, and then why.
    relay(&request(), &before, &ours, 100).await.unwrap_err();
    is_kept_off(&relay(&request(), &before, &ours, 100).await.unwrap_err(), events);

    let again = dlq::take_over(&config, OTHER).await.unwrap();
    assert_eq!(again, [(events.clone(), Some(OTHER)), (shipments.clone(), Some(OTHER))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_stores_that_claim_at_once_one_is_kept_off() {
    let config = made().await;
    let stores = [STORE, OTHER].map(|store| publisher_of(store, &config));
    let cx = request();
    let (one, other) = tokio::join!(stores[0].ready(&cx), stores[1].ready(&cx));
    assert_eq!(one.is_ok(), other.is_err(), "{one:?} {other:?}");
}
