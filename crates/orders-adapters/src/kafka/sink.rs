//! Where records are sent: an idempotent producer that is made anew when it has failed for good.

use std::{
    fmt, mem, ptr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    message::OwnedHeaders,
    producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig},
    util::Timeout,
};
use tokio::task;

use super::{
    client::Logs,
    config::{Config, SetupError, millis},
};

/// A record to be sent.
#[derive(Clone, Debug)]
pub(super) struct Record<'a> {
    pub(super) topic: &'a str,
    pub(super) key: &'a [u8],
    /// `None` is a tombstone.
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: OwnedHeaders,
}

/// Where a record is kept now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// Why a record was not, or not surely, kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The broker refuses this record, or one that was sent along with it.
    #[error("the broker refuses the record")]
    Refused(#[source] KafkaError),
    /// It may pass later.
    #[error("the record was not acknowledged")]
    Failed(#[source] KafkaError),
}

/// An idempotent producer: of one partition, what is handed to it first is kept first, and once.
pub(super) struct Sink {
    config: ClientConfig,
    producer: Mutex<FutureProducer<Logs>>,
    logs: Logs,
}

impl Sink {
    pub(super) fn new(config: &Config) -> Result<Self, SetupError> {
        let client = producer(config)?;
        let logs = Logs::default();
        let producer = client.create_with_context(logs.clone()).map_err(SetupError::Client)?;
        Ok(Self { config: client, producer: Mutex::new(producer), logs })
    }

    /// What its client has, to be shared by others for the same brokers.
    pub(super) fn logs(&self) -> Logs {
        self.logs.clone()
    }

    /// Sends a record and waits until it is surely kept. A full queue waits for room, as long as the
    /// caller does.
    pub(super) async fn send(&self, record: &Record<'_>) -> Result<Kept, SendError> {
        let producer = self.producer();
        match producer.send(future_record(record), Timeout::Never).await {
            Ok(delivery) => Ok(Kept { partition: delivery.partition, offset: delivery.offset }),
            Err((error, _)) => {
                if producer.client().fatal_error().is_some() {
                    self.renew(producer).await;
                }
                Err(error.into())
            }
        }
    }

    /// How many records wait to be acknowledged.
    pub(super) fn in_flight(&self) -> usize {
        usize::try_from(self.producer().in_flight_count()).unwrap_or(0)
    }

    /// Waits at most this long until all that was handed over is acknowledged; whether it was.
    pub(super) async fn flush(&self, budget: Duration) -> bool {
        let producer = self.producer();
        let flushed = task::spawn_blocking(move || producer.flush(budget).is_ok()).await;
        flushed.unwrap_or(false)
    }

    /// Puts a new producer in the place of one that a fatal error has ended.
    ///
    /// Whatever the old one still had is taken from it and told as failed. What it had already sent may
    /// still be kept, later: whoever keeps an order must not have handed over a record before the one
    /// before it was acknowledged.
    async fn renew(&self, failed: FutureProducer<Logs>) {
        let old = {
            let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
            if ptr::eq(producer.client(), failed.client()) {
                match self.config.create_with_context(self.logs.clone()) {
                    Ok(new) => Some(mem::replace(&mut *producer, new)),
                    Err(error) => {
                        tracing::error!(%error, "the Kafka producer cannot be made anew");
                        None
                    }
                }
            } else {
                None
            }
        };
        if let Some(old) = &old {
            let why = old.client().fatal_error().map(|(_, why)| why).unwrap_or_default();
            tracing::error!(error = why, "the Kafka producer failed for good and was made anew");
            old.purge(PurgeConfig::default().queue().inflight());
        }
        // Everybody whose record failed has the old one in hand, and the last to let go waits for it.
        release((old, failed)).await;
    }

    fn producer(&self) -> FutureProducer<Logs> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

/// What every producer is made with.
pub(super) fn producer(config: &Config) -> Result<ClientConfig, SetupError> {
    let mut client = config.client()?;
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // Where the clients of Java put a key, too.
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", config.queue.max(1).to_string())
        .set("queue.buffering.max.kbytes", "262144")
        .set("message.timeout.ms", millis(config.delivery_timeout))
        .set("linger.ms", "1");
    Ok(client)
}

/// A record as a producer takes it.
pub(super) fn future_record<'a>(record: &Record<'a>) -> FutureRecord<'a, [u8], [u8]> {
    let Record { topic, key, value, ref headers } = *record;
    FutureRecord { payload: value, ..FutureRecord::to(topic).key(key).headers(headers.clone()) }
}

/// Drops a client where that may block.
pub(super) async fn release<T: Send + 'static>(client: T) {
    if task::spawn_blocking(move || drop(client)).await.is_err() {
        tracing::error!("a Kafka client could not be closed");
    }
}

impl From<KafkaError> for SendError {
    fn from(error: KafkaError) -> Self {
        if is_of_the_record(&error) { Self::Refused(error) } else { Self::Failed(error) }
    }
}

/// Whether an error is about the record, or one that was sent along with it, and not about the broker.
fn is_of_the_record(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::MessageBatchTooLarge
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidDifferentRecord
                | RDKafkaErrorCode::InvalidTimestamp
        )
    )
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        mocking::MockCluster,
        types::{RDKafkaApiKey, RDKafkaRespErr},
    };

    use super::*;

    #[tokio::test]
    async fn a_producer_that_failed_for_good_is_replaced() {
        let kafka = MockCluster::new(1).unwrap();
        kafka.create_topic("out", 1, 1).unwrap();
        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
        kafka.request_errors(RDKafkaApiKey::InitProducerId, &[denied]);
        let config = Config { brokers: vec![kafka.bootstrap_servers()], ..Config::default() };
        let sink = Sink::new(&config).unwrap();
        let failed = sink.producer();
        let record =
            Record { topic: "out", key: b"a", value: Some(b"1"), headers: OwnedHeaders::new() };
        let error = sink.send(&record).await.unwrap_err();
        assert!(matches!(error, SendError::Failed(_)), "{error:?}");
        assert!(failed.client().fatal_error().is_some());
        let kept = sink.send(&record).await.unwrap();
        assert_eq!(kept, Kept { partition: 0, offset: 0 });
        release(failed).await;
    }
}
