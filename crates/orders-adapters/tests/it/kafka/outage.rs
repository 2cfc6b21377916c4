//! A broker that is gone for a while, and comes back.

use std::{collections::BTreeMap, time::Duration};

use mainstay::metrics::Metrics;
use orders::usecase::{RelayError, relay};
use orders_adapters::kafka::{Config, KafkaPublisher, create_topics};
use orders_testkit::{
    World,
    builders::{confirm, context, draft, key, note},
    servers::Kafka,
};
use tokio::time::Instant;

use super::{by_key, names_at, request, seen};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_published_is_published_later_without_a_gap_and_in_order() {
    let kafka = tokio::task::spawn_blocking(|| Kafka::start(1)).await.unwrap();
    let config = Config { delivery_timeout: Duration::from_secs(1), ..names_at(kafka.bootstrap()) };
    create_topics(&config).await.unwrap();
    let (world, cx) = (World::new(1), context("acme"));
    let publisher = KafkaPublisher::new(&config, super::STORE, &Metrics::new("test")).unwrap();
    let id = world.orders().create(&cx, draft(), key("first")).await.unwrap().record.order.id;
    relay(&request(), &world, &publisher, 100).await.unwrap();

    tokio::task::block_in_place(|| kafka.kill_broker(0));
    let orders = world.orders();
    orders.act(&cx, confirm(id)).await.unwrap();
    for n in 0..10 {
        let done = orders.create(&cx, draft(), key(&format!("order-{n}"))).await.unwrap();
        orders.act(&cx, note(done.record.order.id, "more")).await.unwrap();
        orders.act(&cx, note(id, "still more")).await.unwrap();
    }
    for _ in 0..3 {
        // Once the deadline is first, once the delivery.
        for deadline in [Duration::from_millis(300), Duration::from_secs(10)] {
            let cx = context("acme").with_deadline((Instant::now() + deadline).into_std());
            let error = relay(&cx, &world, &publisher, 100).await.unwrap_err();
            assert!(matches!(error, RelayError::Publish(_)), "{error:?}");
        }
    }
    assert!(publisher.status()["last_error"].is_string());

    tokio::task::block_in_place(|| kafka.start_broker(0));
    super::until("published", async || {
        relay(&request(), &world, &publisher, 100)
            .await
            .is_ok_and(|done| done.published == done.head)
    })
    .await;

    let mut first_seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let events = seen(&config, &config.events_topic).await;
    for (order, sequences) in by_key(&events, |event| event.header("ce_sequence").to_owned()) {
        let first = first_seen.entry(order).or_default();
        for sequence in sequences {
            if !first.contains(&sequence) {
                first.push(sequence);
            }
        }
    }
    assert_eq!(first_seen.len(), 11);
    for (order, sequences) in first_seen {
        let most = if order == id.to_string() { 12 } else { 2 };
        let expected: Vec<String> = (1..=most).map(|n: u32| n.to_string()).collect();
        assert_eq!(sequences, expected, "{order}");
    }
}
