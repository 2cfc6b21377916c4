//! Reads a topic from where it was read to where it ends now.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataPartition,
};
use tokio::time::Instant;

use crate::kafka::{
    client::Logs,
    config::{Config, SetupError},
    delivery::Delivery,
};

/// A reader of one topic, outside any group. Its calls block.
pub(super) struct Reader {
    consumer: BaseConsumer<Logs>,
    topic: String,
    timeout: Duration,
}

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::kafka) enum ReadError {
    #[error("the topic {0} does not exist; `orderly events topics` makes it")]
    Missing(String),
    #[error("the topic {topic} cannot be read")]
    Failed {
        topic: String,
        #[source]
        error: Box<KafkaError>,
    },
}

impl ReadError {
    pub(super) fn failed(topic: &str, error: KafkaError) -> Self {
        Self::Failed { topic: topic.to_owned(), error: Box::new(error) }
    }
}

/// How long a poll waits.
const POLL: Duration = Duration::from_millis(100);
/// How long brokers may take to know a topic that was just made.
const APPEARS: Duration = Duration::from_secs(2);
/// How long it is listened at most to what is wrong with brokers.
const LISTEN: Duration = Duration::from_secs(1);

impl Reader {
    pub(super) fn new(config: &Config, topic: &str, logs: Logs) -> Result<Self, SetupError> {
        let mut client = config.client()?;
        client
            // Partitions are assigned by hand; nobody joins this group, and nothing is committed.
            .set("group.id", format!("{}.reader", config.inbound.group))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // The last place of a partition need not be a record: whoever writes in transactions leaves
            // their marks there.
            .set("enable.partition.eof", "true")
            // To the very end, where a transaction of somebody else may still be open.
            .set("isolation.level", "read_uncommitted")
            .set("auto.offset.reset", "earliest");
        let consumer = client.create_with_context(logs).map_err(SetupError::Client)?;
        Ok(Self { consumer, topic: topic.to_owned(), timeout: config.request_timeout })
    }

    /// Makes sure that these topics exist.
    pub(super) fn find(&self, topics: &[String]) -> Result<(), ReadError> {
        topics.iter().try_for_each(|topic| self.partitions(topic).map(drop))
    }

    /// Hands over every record from where `next` says, for a partition, to where the topic ends now.
    ///
    /// # Errors
    /// Fails when the brokers do not answer in time; what was handed over was read.
    pub(super) fn read(
        &self,
        next: impl Fn(i32) -> i64,
        each: impl FnMut(Delivery),
    ) -> Result<(), ReadError> {
        let partitions = self.partitions(&self.topic)?;
        let read = self.read_partitions(&partitions, next, each);
        read.map_err(|error| self.failed(&self.topic, error))
    }

    fn read_partitions(
        &self,
        partitions: &[i32],
        next: impl Fn(i32) -> i64,
        mut each: impl FnMut(Delivery),
    ) -> Result<(), KafkaError> {
        let mut open = self.unread(partitions, next)?;
        if open.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for &(partition, from, _) in &open {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(from))?;
        }
        self.consumer.assign(&list)?;
        let read = self.read_all(&mut open, &mut each);
        self.consumer.unassign()?;
        read
    }

    /// Polls until each of these partitions is read to its end.
    fn read_all(
        &self,
        open: &mut Vec<(i32, i64, i64)>,
        each: &mut impl FnMut(Delivery),
    ) -> Result<(), KafkaError> {
        let mut heard = Instant::now();
        while !open.is_empty() {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let delivery = Delivery::of(&message);
                    let (partition, next) = (delivery.partition, delivery.offset + 1);
                    each(delivery);
                    open.retain(|(open, _, end)| *open != partition || next < *end);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    open.retain(|(open, _, _)| *open != partition);
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                // It goes on by itself, or not in time.
                Some(Err(_)) | None if heard.elapsed() < self.timeout => {}
                Some(Err(error)) => return Err(error),
                None => return Err(KafkaError::MessageConsumption(OUT_OF_TIME)),
            }
        }
        Ok(())
    }

    /// Where a partition begins and ends. One that has no leader at the moment is asked again.
    fn ends(&self, partition: i32) -> Result<(i64, i64), KafkaError> {
        let begun = Instant::now();
        loop {
            match self.consumer.fetch_watermarks(&self.topic, partition, self.timeout) {
                Err(error) if begun.elapsed() < self.timeout && has_no_leader(&error) => {
                    // Nothing is assigned, so nothing can come of it but the wait.
                    let _none = self.consumer.poll(POLL);
                }
                ends => return ends,
            }
        }
    }

    /// The partitions that hold something unread: from where, and where they end.
    fn unread(
        &self,
        partitions: &[i32],
        next: impl Fn(i32) -> i64,
    ) -> Result<Vec<(i32, i64, i64)>, KafkaError> {
        let mut unread = Vec::new();
        for &partition in partitions {
            let (low, high) = self.ends(partition)?;
            let from = next(partition).max(low);
            if from < high {
                unread.push((partition, from, high));
            }
        }
        Ok(unread)
    }

    /// The partitions of a topic.
    fn partitions(&self, topic: &str) -> Result<Vec<i32>, ReadError> {
        let begun = Instant::now();
        loop {
            match self.described(topic) {
                Ok(partitions) => return Ok(partitions),
                Err(error) if is_unknown(&error) && begun.elapsed() < APPEARS => {
                    // Nothing is assigned, so nothing can come of it but the wait.
                    let _none = self.consumer.poll(POLL);
                }
                Err(error) if is_unknown(&error) => {
                    return Err(ReadError::Missing(topic.to_owned()));
                }
                Err(error) => return Err(self.failed(topic, error)),
            }
        }
    }

    /// The partitions of a topic, as a broker knows them.
    fn described(&self, topic: &str) -> Result<Vec<i32>, KafkaError> {
        let metadata = self.consumer.fetch_metadata(Some(topic), self.timeout)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let found = found.ok_or(KafkaError::MetadataFetch(UNKNOWN_TOPIC))?;
        match found.error() {
            None => Ok(found.partitions().iter().map(MetadataPartition::id).collect()),
            Some(error) => Err(KafkaError::MetadataFetch(error.into())),
        }
    }

    /// A call failed. What is wrong with brokers is heard only by polling, and then in the logs.
    fn failed(&self, topic: &str, error: KafkaError) -> ReadError {
        let begun = Instant::now();
        while begun.elapsed() < LISTEN && matches!(self.consumer.poll(POLL), Some(Err(_))) {}
        ReadError::failed(topic, error)
    }
}

/// Whether a broker knows no such topic.
fn is_unknown(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(UNKNOWN_TOPIC)
}

fn has_no_leader(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
    )
}

const OUT_OF_TIME: RDKafkaErrorCode = RDKafkaErrorCode::OperationTimedOut;
const UNKNOWN_TOPIC: RDKafkaErrorCode = RDKafkaErrorCode::UnknownTopicOrPartition;

#[cfg(test)]
mod tests {
    use rdkafka::{mocking::MockCluster, types::RDKafkaRespErr};

    use super::*;

    #[test]
    fn a_topic_that_cannot_be_described_is_not_taken_for_an_empty_one() {
        let kafka = MockCluster::new(1).unwrap();
        let config = Config { brokers: vec![kafka.bootstrap_servers()], ..Config::default() };
        kafka.create_topic("in.dlq", 1, 1).unwrap();
        let read = || {
            let reader = Reader::new(&config, "in.dlq", Logs::default()).unwrap();
            reader.read(|_| 0, |_| {})
        };
        read().unwrap();
        for error in [
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        ] {
            kafka.topic_error("in.dlq", error).unwrap();
            let expected = KafkaError::MetadataFetch(error.into());
            let told = read().unwrap_err();
            assert!(
                matches!(&told, ReadError::Failed { error, .. } if **error == expected),
                "{told:?}"
            );
        }
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        kafka.topic_error("in.dlq", error).unwrap();
        assert_eq!(
            read().unwrap_err().to_string(),
            "the topic in.dlq does not exist; `orderly events topics` makes it"
        );
    }

    #[test]
    fn what_is_wrong_with_a_broker_is_known_when_it_cannot_be_read() {
        let kafka = MockCluster::new(1).unwrap();
        kafka.broker_down(-1).unwrap();
        let brokers = vec![kafka.bootstrap_servers()];
        let request_timeout = Duration::from_secs(1);
        let config = Config { brokers, request_timeout, ..Config::default() };
        let logs = Logs::default();
        let reader = Reader::new(&config, "in.dlq", logs.clone()).unwrap();
        let error = reader.read(|_| 0, |_| {}).unwrap_err();
        assert!(logs.explain(&error).contains(&config.brokers[0]), "{}", logs.explain(&error));
    }
}
