//! The topics, made with what they need.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use rdkafka::{
    admin::{
        AdminClient, AdminOptions, ConfigResourceResult, NewTopic, OwnedResourceSpecifier,
        ResourceSpecifier, TopicReplication,
    },
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataTopic,
    producer::{FutureProducer, Producer as _},
};
use tokio::{
    task,
    time::{Instant, sleep},
};

use super::{
    client::Logs,
    config::{Config, SetupError, dlq_of},
    dlq::cause_of,
    sink::release,
};

/// How long events are kept, in milliseconds: a week.
const EVENTS_KEPT: &str = "604800000";
/// How long shipments are kept: six days, and the day in which a segment may wait for its last record.
/// Together they are as long as a key is remembered unless that was set.
const SHIPMENTS_KEPT: &str = "518400000";
const SHIPMENTS_SEGMENT: &str = "86400000";

/// Makes those topics of the configuration that do not exist; returns the names of the new ones. Those
/// that exist stay as they are.
///
/// The topic of orders is compacted, dead letter topics keep their records for ever, events are kept for
/// a week, and shipments for less, as [`misfits`](super::misfits) wants it. With three replicas or more,
/// a record is taken once two have it, so that neither the loss of one broker stops the topics nor a
/// second one loses a record. How it is with fewer, or what the cluster does by default,
/// [`weak_topics`] tells.
///
/// # Errors
/// [`CreateError`]; some may have been made.
pub async fn create_topics(config: &Config) -> Result<Vec<String>, CreateError> {
    reach(config).await?;
    let admin: AdminClient<Logs> =
        config.client()?.create_with_context(Logs::default()).map_err(SetupError::Client)?;
    let replicas = if config.replicas == 0 { -1 } else { i32::from(config.replicas) };
    let partitions = i32::from(config.partitions.max(1));
    let make = |name| {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        if replicas >= 3 { topic.set("min.insync.replicas", "2") } else { topic }
    };
    let [events, events_dlq, states, shipped, shipped_dlq] = &names(config);
    let keeping = |name, millis| {
        let topic = make(name).set("cleanup.policy", "delete").set("retention.ms", millis);
        topic.set("retention.bytes", "-1")
    };
    let topics = [
        keeping(events, EVENTS_KEPT),
        keeping(events_dlq, "-1"),
        make(states).set("cleanup.policy", "compact"),
        keeping(shipped, SHIPMENTS_KEPT).set("segment.ms", SHIPMENTS_SEGMENT),
        keeping(shipped_dlq, "-1"),
    ];
    let timeout = Some(config.request_timeout);
    let options = AdminOptions::new().request_timeout(timeout).operation_timeout(timeout);
    let answers = admin.create_topics(&topics, &options).await.map_err(CreateError::Asked)?;
    release(admin).await;
    let mut new = Vec::new();
    for topic in answers {
        match topic {
            Ok(topic) => new.push(topic),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(CreateError::Refused { topic, code }),
        }
    }
    Ok(new)
}

/// Those topics of the configuration that the cluster has not, or does not show to this user.
///
/// # Errors
/// [`CreateError`].
pub async fn missing_topics(config: &Config) -> Result<Vec<String>, CreateError> {
    let there = reach(config).await?;
    Ok(names(config).into_iter().filter(|name| !there.contains(name)).collect())
}

/// The topics there are, once a broker answered. A client for topics does not hear what is wrong with a
/// broker; one for records does.
async fn reach(config: &Config) -> Result<HashSet<String>, CreateError> {
    let logs = Logs::default();
    let producer: FutureProducer<Logs> =
        config.client()?.create_with_context(logs.clone()).map_err(SetupError::Client)?;
    let timeout = config.request_timeout;
    let ask = move || -> Result<HashSet<String>, KafkaError> {
        let metadata = producer.client().fetch_metadata(None, timeout)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    };
    let answered = task::spawn_blocking(ask).await.unwrap_or(Err(KafkaError::Canceled));
    answered
        .map_err(|error| CreateError::Unreached(logs.trouble().unwrap_or_else(|| cause_of(&error))))
}

fn names(config: &Config) -> [String; 5] {
    let (events, shipped) = (&config.events_topic, &config.inbound.fulfillment_topic);
    let (events_dlq, shipped_dlq) = (dlq_of(events), dlq_of(shipped));
    [events.clone(), events_dlq, config.state_topic.clone(), shipped.clone(), shipped_dlq]
}

/// A topic of which a record is acknowledged when a single broker has it: the loss of that broker loses
/// the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeakTopic {
    /// Its name.
    pub topic: String,
    /// On how many brokers it is kept, at least.
    pub replicas: usize,
    /// How many of them must have a record: its `min.insync.replicas`.
    pub in_sync: usize,
}

impl WeakTopic {
    fn is_weak(&self) -> bool {
        self.replicas.min(self.in_sync) < 2
    }
}

/// The topics of the configuration that acknowledge a record of which there is one copy. Brokers may
/// take a moment to know a topic that was just made.
///
/// # Errors
/// [`CreateError`], also when a topic does not exist.
pub async fn weak_topics(config: &Config) -> Result<Vec<WeakTopic>, CreateError> {
    let begun = Instant::now();
    loop {
        match safety(config).await {
            Ok(topics) => return Ok(topics.into_iter().filter(WeakTopic::is_weak).collect()),
            Err(error) if begun.elapsed() > config.request_timeout => return Err(error),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// How each of the topics is kept.
async fn safety(config: &Config) -> Result<Vec<WeakTopic>, CreateError> {
    let admin: AdminClient<Logs> =
        config.client()?.create_with_context(Logs::default()).map_err(SetupError::Client)?;
    let (names, timeout) = (names(config), config.request_timeout);
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let asked = names.each_ref().map(|name| ResourceSpecifier::Topic(name));
    let answers = admin.describe_configs(&asked, &options).await;
    let in_sync = answers.and_then(|answers| answers.into_iter().map(in_sync).collect());
    let in_sync: HashMap<_, _> = in_sync.map_err(CreateError::Asked)?;
    let topic = move |topic: String| {
        let replicas = replicas(&admin, &topic, timeout)?;
        let in_sync = in_sync.get(&topic).copied().unwrap_or(1);
        Ok(WeakTopic { topic, replicas, in_sync })
    };
    let read = task::spawn_blocking(move || names.into_iter().map(topic).collect::<Result<_, _>>());
    read.await.unwrap_or(Err(KafkaError::Canceled)).map_err(CreateError::Asked)
}

/// Of which topic these settings are, and how many replicas they want to have a record.
fn in_sync(settings: ConfigResourceResult) -> Result<(String, usize), KafkaError> {
    let settings = settings.map_err(KafkaError::AdminOp)?;
    let value = settings.get("min.insync.replicas").and_then(|entry| entry.value.as_ref());
    let value = value.and_then(|value| value.parse().ok()).unwrap_or(1);
    match settings.specifier {
        OwnedResourceSpecifier::Topic(topic) => Ok((topic, value)),
        OwnedResourceSpecifier::Group(name) => Ok((name, value)),
        OwnedResourceSpecifier::Broker(id) => Ok((id.to_string(), value)),
    }
}

/// On how many brokers the partition of a topic is kept that is on the fewest. May block.
fn replicas(
    admin: &AdminClient<Logs>,
    topic: &str,
    timeout: Duration,
) -> Result<usize, KafkaError> {
    let metadata = admin.inner().fetch_metadata(Some(topic), timeout)?;
    let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    let replicas = partitions.map(|partition| partition.replicas().len()).min();
    replicas.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))
}

/// Why topics were not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A client cannot be made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// No broker answered in time; what was last wrong with one.
    #[error("no broker can be used: {0}")]
    Unreached(String),
    /// The cluster did not answer.
    #[error("the cluster cannot be asked for topics")]
    Asked(#[source] KafkaError),
    /// The cluster says nothing of how a topic is set: it does not know it, or the user may not ask.
    #[error("the cluster does not tell the settings of the topic {0}")]
    Untold(String),
    /// The cluster refuses a topic.
    #[error("the cluster does not make the topic {topic}")]
    Refused {
        /// Which.
        topic: String,
        /// Why.
        #[source]
        code: RDKafkaErrorCode,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_weak_where_one_copy_is_enough() {
        let weak =
            |replicas, in_sync| WeakTopic { topic: String::new(), replicas, in_sync }.is_weak();
        assert!(weak(1, 1) && weak(3, 1) && weak(1, 2));
        assert!(!weak(2, 2) && !weak(3, 2));
    }
}
