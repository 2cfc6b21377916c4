//! Events to and from a real Kafka.

mod claimed;
mod dropped;
mod inbound;
mod outage;
mod published;
mod retention;
mod shipped;
mod tls;

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mainstay_context::Context;
use orders_adapters::kafka::{Config, Inbound, create_topics};
use orders_testkit::{builders, servers::Kafka};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{Header, Headers as _, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use tokio::{task, time::Instant};
use uuid::Uuid;

/// The store of a test that has one.
const STORE: Uuid = Uuid::from_u128(1);
/// The most that any of these tests waits for what must come.
const PATIENCE: Duration = Duration::from_mins(1);

/// The Kafka that all tests of this process share. The first call starts it.
fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(1))
}

/// Topics and a group of its own, at the shared Kafka, before they are made.
async fn names() -> Config {
    let bootstrap = task::spawn_blocking(|| kafka().bootstrap()).await.unwrap();
    names_at(bootstrap)
}

fn names_at(bootstrap: &str) -> Config {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    Config {
        brokers: bootstrap.split(',').map(str::to_owned).collect(),
        events_topic: format!("{own}.events"),
        state_topic: format!("{own}.state"),
        partitions: 3,
        inbound: Inbound {
            fulfillment_topic: format!("{own}.fulfillment"),
            group: own,
            ..Inbound::default()
        },
        ..Config::default()
    }
}

/// Topics of its own at the shared Kafka.
async fn made() -> Config {
    let config = names().await;
    create_topics(&config).await.unwrap();
    config
}

/// Deletes a topic; returns what it was done with.
async fn delete(config: &Config, topic: &str) -> (AdminClient<DefaultClientContext>, AdminOptions) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", config.brokers.join(",")).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    admin.delete_topics(&[topic], &options).await.unwrap().remove(0).unwrap();
    (admin, options)
}

/// What is said of a topic that does not exist.
fn missing(topic: &str) -> String {
    format!("the topic {topic} does not exist; `orderly events topics` makes it")
}

/// A request with time.
fn request() -> Context {
    builders::context("acme").with_deadline((Instant::now() + PATIENCE).into_std())
}

/// A record as a plain consumer sees it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    key: String,
    value: Option<String>,
    headers: BTreeMap<String, String>,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// All that is in a topic now, each partition in order, read by a plain consumer.
async fn seen(config: &Config, topic: &str) -> Vec<Seen> {
    let (brokers, topic) = (config.brokers.join(","), topic.to_owned());
    task::spawn_blocking(move || read(&brokers, &topic)).await.unwrap()
}

fn read(brokers: &str, topic: &str) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "plain")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        // What was acknowledged is there at once, and committed in a moment.
        .set("isolation.level", "read_uncommitted")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut list = TopicPartitionList::new();
    // Ends are told, not counted: transactions leave marks between the records.
    let mut open = metadata.topics()[0].partitions().len();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut seen = Vec::new();
    while open > 0 {
        let message = match consumer.poll(PATIENCE).unwrap() {
            Err(KafkaError::PartitionEOF(_)) => {
                open -= 1;
                continue;
            }
            message => message.unwrap(),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        seen.push(Seen {
            key: text(message.key().unwrap_or_default()),
            value: message.payload().map(text),
            headers: headers
                .map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default())))
                .collect(),
        });
    }
    seen
}

/// What each key has, in order, by `of`.
fn by_key(seen: &[Seen], of: impl Fn(&Seen) -> String) -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in seen {
        keys.entry(record.key.clone()).or_default().push(of(record));
    }
    keys
}

/// Sends a record as somebody else would.
async fn tell(config: &Config, topic: &str, key: &str, value: &str, headers: &[(&str, &str)]) {
    let headers = headers.iter().fold(OwnedHeaders::new(), |all, &(key, value)| {
        all.insert(Header { key, value: Some(value) })
    });
    send(config, FutureRecord::to(topic).key(key).payload(value).headers(headers)).await;
}

async fn send(config: &Config, record: FutureRecord<'_, str, str>) {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", config.brokers.join(",")).create().unwrap();
    producer.send(record, PATIENCE).await.unwrap();
}

/// Returns once this holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
