//! How long the topics keep their records.

use std::time::Duration;

use orders_adapters::kafka::{Misfit, create_topics, misfits};
use tokio::task;

use super::{kafka, names};

const WEEK: Duration = Duration::from_hours(7 * 24);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_made_so_that_nothing_parked_goes_and_no_shipment_outlives_its_key() {
    let config = names().await;
    create_topics(&config).await.unwrap();
    let found = misfits(&config, WEEK).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
    // Keys that are remembered for less.
    let topic = config.inbound.fulfillment_topic.clone();
    let expected = vec![Misfit::Outlives { topic, kept: Some(WEEK) }];
    assert_eq!(misfits(&config, WEEK / 2).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_somebody_made_with_what_the_brokers_do_by_default_are_told_of() {
    let config = names().await;
    let shipped = config.inbound.fulfillment_topic.clone();
    let dlq = format!("{shipped}.dlq");
    for topic in [shipped.clone(), dlq.clone()] {
        let make = move || kafka().create_topic(&topic, 1, 1, &[]);
        task::spawn_blocking(make).await.unwrap();
    }
    create_topics(&config).await.unwrap();
    let expected = vec![
        Misfit::Outlives { topic: shipped, kept: Some(2 * WEEK) },
        Misfit::Loses { topic: dlq, setting: "retention.ms=604800000".to_owned() },
    ];
    assert_eq!(misfits(&config, WEEK).await.unwrap(), expected);
}
