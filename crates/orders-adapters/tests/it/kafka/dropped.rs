//! How parked records are dropped.

use orders_adapters::kafka::{
    Config,
    dlq::{self, DlqError, Dropped, Entry, Which},
};

use super::{
    inbound::{Running, Warehouse, put, values},
    made, until,
};

/// Drops records of the key `a`.
async fn let_go(config: &Config, which: Which) -> Result<(Dropped, usize), DlqError> {
    let topic = &config.inbound.fulfillment_topic;
    dlq::let_go(config, topic, b"a", which, ("ann", "it was sent twice")).await
}

fn of_entries(entries: &[Entry]) -> Vec<String> {
    let value = |entry: &Entry| String::from_utf8(entry.delivery.value.clone().unwrap()).unwrap();
    entries.iter().map(value).collect()
}

/// A consumer that has parked `a1`, and `a2` and `a3` behind it.
async fn with_three_parked(config: &Config, warehouse: &Warehouse) -> Running {
    warehouse.refuse("a1");
    let running = Running::start(config, warehouse);
    for value in ["a1", "a2", "a3"] {
        put(config, "a", value).await;
    }
    let topic = &config.inbound.fulfillment_topic;
    until("parked", async || {
        dlq::list(config, topic).await.unwrap().values().any(|entries| entries.len() == 3)
    })
    .await;
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_can_never_pass_is_dropped_alone_and_those_behind_it_pass_in_order() {
    let (config, warehouse) = (made().await, Warehouse::default());
    let topic = config.inbound.fulfillment_topic.clone();
    let running = with_three_parked(&config, &warehouse).await;
    let (dropped, left) = let_go(&config, Which::First).await.unwrap();
    assert_eq!((of_entries(&dropped.entries), left), (values(&["a1"]), 2));
    // A second run takes nothing that may pass.
    let error = let_go(&config, Which::First).await.unwrap_err();
    assert!(matches!(error, DlqError::Untried(_)), "{error:?}");

    let replayed = dlq::replay(&config, &topic, Some(b"a"), &warehouse).await.unwrap();
    assert_eq!((replayed.passed, replayed.released), (2, 1));
    let error = let_go(&config, Which::First).await.unwrap_err();
    assert!(matches!(error, DlqError::NotParked { .. }), "{error:?}");
    put(&config, "a", "a4").await;
    until("a later one passes", async || warehouse.of("a") == values(&["a2", "a3", "a4"])).await;

    let contents = dlq::read(&config, &topic).await.unwrap();
    assert_eq!((contents.keys.len(), contents.dropped), (0, vec![dropped.clone()]));
    assert_eq!((&*dropped.word.by, &*dropped.word.reason), ("ann", "it was sent twice"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_never_tried_is_dropped_by_its_place_or_with_all() {
    let (config, warehouse) = (made().await, Warehouse::default());
    let topic = config.inbound.fulfillment_topic.clone();
    let running = with_three_parked(&config, &warehouse).await;
    let offset = async |place: usize| {
        dlq::list(&config, &topic).await.unwrap()["a".as_bytes()][place].offset
    };
    let second = offset(1).await;
    let error = let_go(&config, Which::At(second)).await.unwrap_err();
    assert!(matches!(error, DlqError::Another(first) if first < second), "{error:?}");
    let_go(&config, Which::First).await.unwrap();
    let (dropped, left) = let_go(&config, Which::At(second)).await.unwrap();
    assert_eq!((of_entries(&dropped.entries), left), (values(&["a2"]), 1));
    let (dropped, left) = let_go(&config, Which::All).await.unwrap();
    assert_eq!((of_entries(&dropped.entries), left), (values(&["a3"]), 0));
    put(&config, "a", "a4").await;
    until("a later one passes", async || warehouse.of("a") == values(&["a4"])).await;
    running.stop().await;
}
