//! Where orders are told as they are now: only whoever was ready last is heard.
//!
//! A compacted topic keeps the last record of a key, so one that comes late would stand for good. So
//! what is sent together is one transaction, and all producers of a topic have one transactional id:
//! [`ready`](States::ready) ends what another of them has begun, and from then on the brokers refuse all
//! it sends. Who is ready before it reads the orders can put none in the place of a later one.

use std::{collections::BTreeMap, fmt, mem, time::Duration};

use futures_util::future::join_all;
use rdkafka::{
    ClientConfig,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{FutureProducer, Producer},
    util::Timeout,
};
use tokio::{sync::Mutex, task};

use super::{
    client::Logs,
    config::{Config, SetupError, millis},
    sink::{Record, SendError, future_record, producer, release},
};

/// Sends records in transactions, one at a time.
pub(super) struct States {
    client: ClientConfig,
    topic: String,
    logs: Logs,
    timeout: Duration,
    place: Mutex<Place>,
}

/// Why records were not, or not surely, kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatesError {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(
        "another process was made ready to write {0} since; if it serves another store, that needs a \
         kafka.state_topic of its own"
    )]
    Overtaken(String),
}

#[derive(Default)]
struct Place {
    producer: Option<FutureProducer<Logs>>,
    /// Whether it can begin a transaction.
    is_ready: bool,
}

/// The longest that a transaction stays open when nobody ends it. A reader of what is committed waits
/// behind it as long.
const LONGEST: Duration = Duration::from_mins(1);
/// How long brokers may take to make a producer ready: for the first of all they make a topic of their
/// own before they answer.
const FIRST: Duration = Duration::from_secs(30);

impl States {
    pub(super) fn new(config: &Config, logs: Logs) -> Result<Self, SetupError> {
        let mut client = producer(config)?;
        client
            // Of the topic and not of the process, so that a successor takes its place.
            .set("transactional.id", &config.state_topic)
            .set("transaction.timeout.ms", millis(config.delivery_timeout.max(LONGEST)));
        let (topic, timeout) = (config.state_topic.clone(), config.request_timeout);
        Ok(Self { client, topic, logs, timeout, place: Mutex::default() })
    }

    /// Ends what others have begun, unless the last transaction of this one ended well; whether it did.
    /// That somebody took its place since is found out by [`send`](Self::send).
    pub(super) async fn ready(&self) -> Result<bool, SendError> {
        let mut place = self.place.lock().await;
        if place.is_ready {
            return Ok(false);
        }
        if let Some(old) = place.producer.take() {
            release(old).await;
        }
        let new: FutureProducer<Logs> =
            self.client.create_with_context(self.logs.clone()).map_err(SendError::Failed)?;
        let timeout = self.timeout.max(FIRST);
        let made = task::spawn_blocking(move || new.init_transactions(timeout).map(|()| new));
        place.producer = Some(made.await.unwrap_or(Err(KafkaError::Canceled))?);
        place.is_ready = true;
        Ok(true)
    }

    /// Sends records as one transaction. When some are refused, by themselves or for others, it tells
    /// which, and none is kept.
    ///
    /// # Errors
    /// [`StatesError`]: it has to be made ready anew, and what was to be sent has to be read anew.
    pub(super) async fn send(
        &self,
        records: &[Record<'_>],
    ) -> Result<BTreeMap<usize, KafkaError>, StatesError> {
        let mut place = self.place.lock().await;
        // Taken at once, so that what is given up leaves nothing behind to rely on.
        let is_ready = mem::take(&mut place.is_ready);
        let producer = place.producer.clone().filter(|_| is_ready);
        let producer = producer.ok_or(SendError::Failed(NOT_READY))?;
        let sent = self.transact(&producer, records).await;
        place.is_ready = sent.is_ok();
        sent.map_err(|error| match producer.client().fatal_error() {
            Some((RDKafkaErrorCode::Fenced, _)) => StatesError::Overtaken(self.topic.clone()),
            Some(_) | None => error.into(),
        })
    }

    async fn transact(
        &self,
        producer: &FutureProducer<Logs>,
        records: &[Record<'_>],
    ) -> Result<BTreeMap<usize, KafkaError>, SendError> {
        let timeout = self.timeout;
        let abort = || blocking(producer, move |producer| producer.abort_transaction(timeout));
        let mut is_again = false;
        loop {
            blocking(producer, Producer::begin_transaction).await?;
            let (refused, failed) = deliver(producer, records).await;
            if !refused.is_empty() {
                abort().await?;
                return Ok(refused);
            }
            let Some(error) = failed else {
                blocking(producer, move |producer| producer.commit_transaction(timeout)).await?;
                return Ok(refused);
            };
            // After a refusal the client counts on, and the brokers find a gap. To give up because of
            // that makes it count anew.
            if mem::replace(&mut is_again, true) || abort().await.is_err() {
                return Err(error);
            }
        }
    }
}

/// Sends records within a transaction; returns those that were refused, and what else went wrong first.
/// Once some are refused, whatever else fails does so because of them.
async fn deliver(
    producer: &FutureProducer<Logs>,
    records: &[Record<'_>],
) -> (BTreeMap<usize, KafkaError>, Option<SendError>) {
    let sends = records.iter().map(|record| producer.send(future_record(record), Timeout::Never));
    let (mut refused, mut failed) = (BTreeMap::new(), None);
    for (at, sent) in join_all(sends).await.into_iter().enumerate() {
        match sent.map_err(|(error, _)| SendError::from(error)) {
            Ok(_) => {}
            Err(SendError::Refused(error)) => drop(refused.insert(at, error)),
            Err(error @ SendError::Failed(_)) => failed = failed.or(Some(error)),
        }
    }
    (refused, failed)
}

/// Calls a producer where that may block.
async fn blocking(
    producer: &FutureProducer<Logs>,
    call: impl FnOnce(&FutureProducer<Logs>) -> KafkaResult<()> + Send + 'static,
) -> Result<(), SendError> {
    let producer = producer.clone();
    let done = task::spawn_blocking(move || call(&producer)).await;
    done.unwrap_or(Err(KafkaError::Canceled)).map_err(SendError::Failed)
}

/// What the client says itself of a transaction at the wrong time.
const NOT_READY: KafkaError = KafkaError::MessageProduction(RDKafkaErrorCode::State);

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        mocking::MockCluster,
        types::{RDKafkaApiKey, RDKafkaRespErr},
    };

    use super::*;

    #[tokio::test]
    async fn brokers_that_take_longer_to_begin_with_than_for_a_request_are_waited_for() {
        let kafka = MockCluster::new(1).unwrap();
        let loads = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
        // Asked again every half a second.
        kafka.request_errors(RDKafkaApiKey::InitProducerId, &[loads; 4]);
        let brokers = vec![kafka.bootstrap_servers()];
        let request_timeout = Duration::from_secs(1);
        let config = Config { brokers, request_timeout, ..Config::default() };
        let states = States::new(&config, Logs::default()).unwrap();
        assert!(states.ready().await.unwrap());
    }
}
