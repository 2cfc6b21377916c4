//! How far a group is behind in a topic.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};

use crate::kafka::{
    client::Logs,
    config::{Config, SetupError},
};

/// Asks the brokers, without being a member of the group. A member knows only where the partitions end
/// that it reads on in, and it does not while enough is in hand.
pub(super) struct Lag {
    consumer: BaseConsumer<Logs>,
    topic: String,
    timeout: Duration,
}

/// How long it is waited for more that the client has to tell of itself.
const HEAR: Duration = Duration::from_millis(10);

impl Lag {
    pub(super) fn new(config: &Config, topic: &str, logs: Logs) -> Result<Self, SetupError> {
        let mut client = config.client()?;
        client
            .set("group.id", &config.inbound.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        let consumer = client.create_with_context(logs).map_err(SetupError::Client)?;
        Ok(Self { consumer, topic: topic.to_owned(), timeout: config.request_timeout })
    }

    /// How many records of these partitions, if there are any to ask about, the group is not done with,
    /// as far as it has committed. May block.
    pub(super) fn of(&self, partitions: Option<&[i32]>) -> Result<Option<i64>, KafkaError> {
        // Nothing is assigned, so what comes of it is what the client has to tell of itself. It is heard
        // each time, so that it is not old.
        while self.consumer.poll(HEAR).is_some() {}
        let Some(partitions) = partitions else { return Ok(None) };
        if partitions.is_empty() {
            return Ok(Some(0));
        }
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        let committed = self.consumer.committed_offsets(list, self.timeout)?;
        let mut lag = 0;
        for place in committed.elements() {
            let partition = place.partition();
            let (low, high) =
                self.consumer.fetch_watermarks(&self.topic, partition, self.timeout)?;
            let done = if let Offset::Offset(offset) = place.offset() { offset } else { low };
            lag += (high - done.max(low)).max(0);
        }
        Ok(Some(lag))
    }
}
