//! How records are taken, carried out, parked and handed out again.

mod parked;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use mainstay::metrics::{Format, Metrics};
use orders_adapters::kafka::{Config, Consumer, Delivery, Handler, Verdict, create_topics, dlq};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{NewTopic, TopicReplication},
    consumer::{BaseConsumer, Consumer as _},
    producer::FutureRecord,
};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, oneshot},
    task::{self, JoinSet},
};
use uuid::Uuid;

use super::{PATIENCE, STORE, delete, made, missing, seen, send, tell, until};

/// Remembers what it carried out, refuses some values, and waits before others.
#[derive(Clone, Default)]
pub(super) struct Warehouse(Arc<Inner>);

#[derive(Default)]
struct Inner {
    done: Mutex<Vec<(String, String)>>,
    refused: Mutex<BTreeSet<String>>,
    later: Mutex<BTreeMap<String, u32>>,
    held: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

impl Warehouse {
    pub(super) fn refuse(&self, value: &str) {
        self.0.refused.lock().unwrap().insert(value.to_owned());
    }

    fn mend(&self) {
        self.0.refused.lock().unwrap().clear();
    }

    fn fail_first(&self, value: &str, times: u32) {
        self.0.later.lock().unwrap().insert(value.to_owned(), times);
    }

    fn hold(&self, value: &str) -> Arc<Semaphore> {
        let held = Arc::new(Semaphore::new(0));
        self.0.held.lock().unwrap().insert(value.to_owned(), Arc::clone(&held));
        held
    }

    /// The values of a key that were carried out, in order.
    pub(super) fn of(&self, key: &str) -> Vec<String> {
        let done = self.0.done.lock().unwrap();
        done.iter().filter(|(of, _)| of == key).map(|(_, value)| value.clone()).collect()
    }
}

impl Handler for Warehouse {
    async fn handle(&self, delivery: &Delivery) -> Verdict {
        let text =
            |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap_or_default()).unwrap();
        let (key, value) = (text(&delivery.key), text(&delivery.value));
        let held = self.0.held.lock().unwrap().get(&value).cloned();
        if let Some(held) = held {
            held.acquire().await.unwrap().forget();
        }
        if let Some(left) = self.0.later.lock().unwrap().get_mut(&value)
            && *left > 0
        {
            *left -= 1;
            return Verdict::Later("not yet".to_owned());
        }
        if self.0.refused.lock().unwrap().contains(&value) {
            return Verdict::Refused("never".to_owned());
        }
        self.0.done.lock().unwrap().push((key, value));
        Verdict::Done
    }
}

/// A consumer that runs.
pub(super) struct Running {
    consumer: Arc<Consumer<Warehouse>>,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl Running {
    pub(super) fn start(config: &Config, handler: &Warehouse) -> Self {
        Self::start_for(STORE, config, handler)
    }

    /// One of this store.
    pub(super) fn start_for(store: Uuid, config: &Config, handler: &Warehouse) -> Self {
        let (topic, metrics) = (&config.inbound.fulfillment_topic, Metrics::new("test"));
        let consumer = Consumer::new(config, store, topic, handler.clone(), &metrics).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (mut task, consumer) = (JoinSet::new(), Arc::new(consumer));
        let runs = Arc::clone(&consumer);
        task.spawn(async move {
            runs.run(async { stopped.await.unwrap_or_default() }).await;
        });
        Self { consumer, metrics, stop, task }
    }

    /// What it tells the status page under this name.
    fn status(&self, name: &str) -> Value {
        self.consumer.status()[name].clone()
    }

    /// What went wrong last, if anything did since it takes records.
    pub(super) fn last_error(&self) -> Option<String> {
        self.status("last_error").as_str().map(str::to_owned)
    }

    /// Whether its metrics say this of its topic.
    fn counts(&self, config: &Config, name: &str, more: &str, value: &str) -> bool {
        let topic = &config.inbound.fulfillment_topic;
        let sample = format!("test_{name}{{topic=\"{topic}\"{more}}} {value}\n");
        self.metrics.render(Format::Text).contains(&sample)
    }

    pub(super) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.join_all().await;
    }

    async fn kill(mut self) {
        self.task.shutdown().await;
    }
}

pub(super) async fn put(config: &Config, key: &str, value: &str) {
    tell(config, &config.inbound.fulfillment_topic, key, value, &[]).await;
}

async fn put_into(config: &Config, partition: i32, key: &str, value: &str) {
    let topic = &config.inbound.fulfillment_topic;
    send(config, FutureRecord::to(topic).partition(partition).key(key).payload(value)).await;
}

/// What the group has committed, by partition.
async fn committed(config: &Config) -> [i64; 3] {
    let config = config.clone();
    let read = move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", config.brokers.join(","))
            .set("group.id", &config.inbound.group)
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&config.inbound.fulfillment_topic, 0, 2);
        let offsets = consumer.committed_offsets(list, PATIENCE).unwrap();
        [0, 1, 2].map(|partition| {
            let found = offsets.find_partition(&config.inbound.fulfillment_topic, partition);
            if let Offset::Offset(offset) = found.unwrap().offset() { offset } else { 0 }
        })
    };
    task::spawn_blocking(read).await.unwrap()
}

pub(super) fn values(list: &[&str]) -> Vec<String> {
    list.iter().map(|&value| value.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_is_told_before_there_is_any() {
    let config = super::names().await;
    let running = Running::start(&config, &Warehouse::default());
    for outcome in ["done", "later", "refused"] {
        let outcome = format!(",outcome=\"{outcome}\"");
        assert!(running.counts(&config, "kafka_records_handled_total", &outcome, "0"));
    }
    assert!(running.counts(&config, "kafka_records_parked_total", "", "0"));
    assert!(running.counts(&config, "kafka_parked_keys", "", "0.0"));
    assert!(running.counts(&config, "kafka_records_in_hand", "", "0.0"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_tells_what_it_has_to_do_and_what_went_wrong() {
    let (config, warehouse) = (made().await, Warehouse::default());
    let held = warehouse.hold("a1");
    warehouse.refuse("b1");
    let running = Running::start(&config, &warehouse);
    put(&config, "a", "a1").await;
    put(&config, "a", "a2").await;
    until("behind", async || running.status("lag") == 2 && running.status("in_hand") == 2).await;
    assert_eq!(running.status("state"), "member");
    assert_eq!(running.status("partitions"), json!([0, 1, 2]));
    assert_eq!(running.status("parked_keys"), 0);
    held.add_permits(1);
    until("done", async || running.status("lag") == 0 && running.status("in_hand") == 0).await;
    put(&config, "b", "b1").await;
    until("parked", async || running.status("parked_keys") == 1).await;
    assert_eq!(running.status("last_error"), "never");
    assert!(running.status("last_error_at").is_string());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_is_tried_in_its_place_and_parked_when_it_had_its_time() {
    let mut config = made().await;
    let warehouse = Warehouse::default();
    warehouse.fail_first("a1", 2);
    let running = Running::start(&config, &warehouse);
    put(&config, "a", "a1").await;
    put(&config, "a", "a2").await;
    until("carried out", async || warehouse.of("a") == values(&["a1", "a2"])).await;
    running.stop().await;

    config.inbound.retry_for = Duration::ZERO;
    warehouse.fail_first("b1", 1);
    let running = Running::start(&config, &warehouse);
    put(&config, "b", "b1").await;
    let topic = config.inbound.fulfillment_topic.clone();
    let parked = async || dlq::list(&config, &topic).await.unwrap().remove("b".as_bytes());
    until("parked", async || parked().await.is_some()).await;
    // As anybody reads it there.
    let dlq = seen(&config, &format!("{topic}.dlq")).await;
    let of_b: Vec<_> = dlq.iter().filter(|record| record.key == "b").collect();
    assert_eq!((of_b.len(), of_b[0].header("dlq_cause")), (1, "not yet"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_behind_a_record_in_hand_is_committed_when_its_process_dies() {
    let (config, warehouse) = (made().await, Warehouse::default());
    // All in one partition, so that the one that is held holds back the offset of the others.
    let key = |n: u32| format!("k{n}");
    warehouse.hold("k0-0");
    let running = Running::start(&config, &warehouse);
    put_into(&config, 0, "first", "first").await;
    for n in 0..20 {
        put_into(&config, 0, &key(n), &format!("{}-0", key(n))).await;
    }
    until("the others", async || (1..20).all(|n| warehouse.of(&key(n)).len() == 1)).await;
    // A commit is of all partitions, so this one shows that there was one since.
    put_into(&config, 1, "other", "other").await;
    until("a commit", async || committed(&config).await[1] == 1).await;
    running.kill().await;
    assert_eq!(committed(&config).await, [1, 1, 0]);

    warehouse.0.held.lock().unwrap().clear();
    let running = Running::start(&config, &warehouse);
    until("the first", async || warehouse.of(&key(0)).len() == 1).await;
    running.stop().await;
    assert_eq!(committed(&config).await, [21, 1, 0]);
    for n in 0..20 {
        assert!(!warehouse.of(&key(n)).is_empty(), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_be_in_hand_waits_and_comes_later() {
    let mut config = made().await;
    config.inbound.in_hand = 2;
    let warehouse = Warehouse::default();
    let held = warehouse.hold("a0");
    let running = Running::start(&config, &warehouse);
    for n in 0..30 {
        put(&config, "a", &format!("a{n}")).await;
    }
    held.add_permits(1);
    let expected: Vec<String> = (0..30).map(|n| format!("a{n}")).collect();
    until("all", async || warehouse.of("a") == expected).await;
    let error = running.status("last_error").to_string();
    assert!(!error.contains("failed for good"), "the group was joined anew: {error}");
    running.stop().await;
    assert_eq!(committed(&config).await.iter().sum::<i64>(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_grows_and_shrinks_keeps_the_order_of_each_key() {
    let (config, warehouse) = (made().await, Warehouse::default());
    let first = Running::start(&config, &warehouse);
    let mut sent = 0;
    let mut put_some = async || {
        for _ in 0..10 {
            for key in ["a", "b", "c", "d", "e"] {
                put(&config, key, &format!("{sent:04}")).await;
            }
            sent += 1;
        }
    };
    put_some().await;
    let second = Running::start(&config, &warehouse);
    put_some().await;
    first.stop().await;
    put_some().await;
    second.stop().await;
    let third = Running::start(&config, &warehouse);
    put_some().await;
    let done = |key: &str| warehouse.of(key).into_iter().collect::<BTreeSet<_>>().len();
    let all = || ["a", "b", "c", "d", "e"].iter().all(|key| done(key) == 40);
    until("all", async || all()).await;
    third.stop().await;
    for key in ["a", "b", "c", "d", "e"] {
        let mut first_seen: Vec<String> = Vec::new();
        for value in warehouse.of(key) {
            if !first_seen.contains(&value) {
                first_seen.push(value);
            }
        }
        assert!(first_seen.is_sorted(), "{key}: {first_seen:?}");
    }
    let parked = dlq::list(&config, &config.inbound.fulfillment_topic).await.unwrap();
    assert!(parked.is_empty(), "{parked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_says_that_its_topic_is_missing_and_waits_until_it_is_made() {
    let (config, warehouse) = (super::names().await, Warehouse::default());
    let running = Running::start(&config, &warehouse);
    let missing = missing(&config.inbound.fulfillment_topic);
    until("it says so", async || {
        running.last_error().is_some_and(|told| told.starts_with(&missing))
    })
    .await;
    create_topics(&config).await.unwrap();
    put(&config, "a", "a1").await;
    until("carried out", async || warehouse.of("a") == values(&["a1"])).await;
    assert_eq!(running.last_error(), None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_anew_is_read_from_its_beginning() {
    let (config, warehouse) = (made().await, Warehouse::default());
    let topic = config.inbound.fulfillment_topic.clone();
    let running = Running::start(&config, &warehouse);
    for value in ["a1", "a2", "a3"] {
        put_into(&config, 0, "a", value).await;
    }
    until("the old ones", async || warehouse.of("a") == values(&["a1", "a2", "a3"])).await;
    let (admin, options) = delete(&config, &topic).await;
    let anew = NewTopic::new(&topic, 3, TopicReplication::Fixed(1));
    until("made anew", async || {
        admin.create_topics([&anew], &options).await.unwrap().remove(0).is_ok()
    })
    .await;
    put_into(&config, 0, "a", "a4").await;
    until("the new one", async || warehouse.of("a") == values(&["a1", "a2", "a3", "a4"])).await;
    running.stop().await;
    assert_eq!(committed(&config).await, [1, 0, 0]);
}
