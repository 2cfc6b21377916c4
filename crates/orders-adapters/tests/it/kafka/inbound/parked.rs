//! Records that were refused are parked with those behind them, and handed out again.

use std::time::Duration;

use orders_adapters::kafka::{
    Config, Delivery, Handler, Verdict,
    dlq::{self, DlqError},
};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tokio::{
    task,
    time::{sleep, timeout},
};

use super::{PATIENCE, Running, Warehouse, made, put, until, values};

/// How many places of a topic are taken.
async fn places(config: &Config, topic: &str) -> i64 {
    let (brokers, topic) = (config.brokers.join(","), topic.to_owned());
    let read = move || {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        let end = |partition| consumer.fetch_watermarks(&topic, partition, PATIENCE).unwrap().1;
        (0..3).map(end).sum()
    };
    task::spawn_blocking(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_record_parks_its_key_and_a_replay_drains_it_in_order() {
    let (config, warehouse) = (made().await, Warehouse::default());
    let topic = config.inbound.fulfillment_topic.clone();
    warehouse.refuse("a2");
    let running = Running::start(&config, &warehouse);
    for value in ["a1", "a2", "b1", "a3", "b2", "a4"] {
        put(&config, &value[..1], value).await;
    }
    let parked = async || dlq::list(&config, &topic).await.unwrap().remove("a".as_bytes());
    until("parked", async || parked().await.is_some_and(|entries| entries.len() == 3)).await;
    until("others flow", async || warehouse.of("b") == values(&["b1", "b2"])).await;
    assert_eq!(warehouse.of("a"), values(&["a1"]));
    let entries = parked().await.unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.delivery.value.as_deref().unwrap(), entry.tries, entry.cause.as_str()))
        .collect();
    let behind = "an earlier record of its key is parked";
    let expected: [(&[u8], _, _); 3] =
        [(b"a2", 1, "never"), (b"a3", 0, behind), (b"a4", 0, behind)];
    assert_eq!(told, expected);
    assert_eq!(entries[0].delivery.topic, topic);

    // Nobody has mended it: all stay.
    let replayed = dlq::replay(&config, &topic, None, &warehouse).await.unwrap();
    assert_eq!((replayed.passed, replayed.stuck[0].1.as_str()), (0, "never"));
    assert_eq!(parked().await.unwrap().len(), 3);

    warehouse.mend();
    let error = dlq::replay(&config, &topic, Some(b"another"), &warehouse).await.unwrap_err();
    assert!(matches!(error, DlqError::NotParked { .. }), "{error:?}");
    let replayed = dlq::replay(&config, &topic, Some(b"a"), &warehouse).await.unwrap();
    assert_eq!((replayed.passed, replayed.released), (3, 1));
    assert_eq!(parked().await, None);
    // The one that runs learns of it.
    put(&config, "a", "a5").await;
    until("released", async || warehouse.of("a") == values(&["a1", "a2", "a3", "a4", "a5"])).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_consumer_learns_by_itself_that_others_released_a_key() {
    let (config, warehouse) = (made().await, Warehouse::default());
    let topic = config.inbound.fulfillment_topic.clone();
    warehouse.refuse("a1");
    let running = Running::start(&config, &warehouse);
    let has_parked = |keys| running.counts(&config, "kafka_parked_keys", "", keys);
    put(&config, "a", "a1").await;
    until("parked", async || has_parked("1.0")).await;
    warehouse.mend();
    dlq::replay(&config, &topic, None, &warehouse).await.unwrap();
    // Nothing comes, and still it is told.
    until("released", async || has_parked("0.0")).await;
    assert_eq!(running.status("parked_keys"), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_stays_parked_over_a_restart_and_a_replay_that_gets_half_way() {
    let (config, warehouse) = (made().await, Warehouse::default());
    let topic = config.inbound.fulfillment_topic.clone();
    warehouse.refuse("a1");
    let running = Running::start(&config, &warehouse);
    put(&config, "a", "a1").await;
    put(&config, "a", "a2").await;
    let parked = async |count| {
        let list = dlq::list(&config, &topic).await.unwrap();
        list.values().map(Vec::len).sum::<usize>() == count
    };
    until("parked", async || parked(2).await).await;
    running.stop().await;

    let running = Running::start(&config, &warehouse);
    put(&config, "a", "a3").await;
    until("parked behind", async || parked(3).await).await;
    warehouse.mend();
    warehouse.refuse("a2");
    let replayed = dlq::replay(&config, &topic, None, &warehouse).await.unwrap();
    assert_eq!((replayed.passed, replayed.released, replayed.stuck.len()), (1, 0, 1));
    put(&config, "a", "a4").await;
    until("still parked behind", async || parked(3).await).await;
    warehouse.mend();
    dlq::replay(&config, &topic, None, &warehouse).await.unwrap();
    assert_eq!(warehouse.of("a"), values(&["a1", "a2", "a3", "a4"]));
    running.stop().await;
}

/// Hands out again, while the service parks one more of the same key.
struct Slow(Config);

impl Handler for Slow {
    async fn handle(&self, _: &Delivery) -> Verdict {
        put(&self.0, "a", "a2").await;
        let parked = async {
            let topic = &self.0.inbound.fulfillment_topic;
            while dlq::list(&self.0, topic).await.unwrap()["a".as_bytes()].len() < 2 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, parked).await.unwrap();
        Verdict::Done
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_got_a_record_while_it_was_handed_out_again_does_not_count_as_released() {
    let (config, warehouse) = (made().await, Warehouse::default());
    let topic = config.inbound.fulfillment_topic.clone();
    warehouse.refuse("a1");
    let running = Running::start(&config, &warehouse);
    put(&config, "a", "a1").await;
    until("parked", async || dlq::list(&config, &topic).await.unwrap().len() == 1).await;
    let replayed = dlq::replay(&config, &topic, None, &Slow(config.clone())).await.unwrap();
    assert_eq!((replayed.passed, replayed.released, replayed.stuck.len()), (1, 0, 1));
    assert_eq!(replayed.stuck[0].0.delivery.value.as_deref(), Some(b"a2".as_slice()));
    let replayed = dlq::replay(&config, &topic, None, &warehouse).await.unwrap();
    assert_eq!((replayed.passed, replayed.released, replayed.stuck.len()), (1, 1, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_is_read_to_an_end_that_is_no_record() {
    let (config, warehouse) = (made().await, Warehouse::default());
    let topic = config.inbound.fulfillment_topic.clone();
    let dlq = format!("{topic}.dlq");
    // A tool that writes in transactions: each ends with a mark, which takes a place of its own.
    let write = {
        let (brokers, id) = (config.brokers.join(","), config.inbound.group.clone());
        move || {
            let producer: BaseProducer = ClientConfig::new()
                .set("bootstrap.servers", brokers)
                .set("transactional.id", id)
                .create()
                .unwrap();
            producer.init_transactions(PATIENCE).unwrap();
            producer.begin_transaction().unwrap();
            let record = BaseRecord::to(&dlq).key("a").payload("a1");
            producer.send(record).map_err(|(error, _)| error).unwrap();
            producer.commit_transaction(PATIENCE).unwrap();
        }
    };
    task::spawn_blocking(write).await.unwrap();
    until("the mark", async || places(&config, &format!("{topic}.dlq")).await == 2).await;
    assert_eq!(dlq::list(&config, &topic).await.unwrap()["a".as_bytes()].len(), 1);
    let running = Running::start(&config, &warehouse);
    put(&config, "b", "b1").await;
    until("others flow", async || warehouse.of("b") == values(&["b1"])).await;
    running.stop().await;
}
