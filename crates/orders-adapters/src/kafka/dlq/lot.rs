//! Where keys of one topic are parked, and are known to be.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainstay::telemetry::error_chain;
use orders::ports::Clock as _;
use rdkafka::error::KafkaError;
use tokio::task;
use uuid::Uuid;

use super::{
    claim::{self, ClaimError},
    entry::{self, Read, Why, Word},
    parked::Parked,
    reader::{ReadError, Reader},
};
use crate::{
    SystemClock,
    kafka::{
        client::Logs,
        config::{Config, SetupError, dlq_of},
        delivery::Delivery,
        instruments::Instruments,
        sink::{Kept, Record, SendError, Sink},
    },
};

/// The parked keys of one topic.
///
/// Only who reads or writes the topic parks a key of it, and only a tombstone in the dead letter topic
/// takes it out again, which another process may write. So what is known is read up when others may
/// have parked, and before a key counts as parked; one that does not is not. And every few seconds, so
/// that what is told of it is never old.
pub(in crate::kafka) struct Lot {
    store: Uuid,
    topic: String,
    dlq: String,
    sink: Arc<Sink>,
    state: Arc<State>,
    instruments: Instruments,
}

struct State {
    owner: Mutex<Option<Uuid>>,
    parked: Mutex<Parked>,
    reader: Mutex<Reader>,
}

/// How often to [`look`](Lot::look).
pub(in crate::kafka) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The cause of a record that is parked behind another.
const BEHIND: &str = "an earlier record of its key is parked";

impl Lot {
    pub(in crate::kafka) fn new(
        config: &Config,
        store: Uuid,
        topic: &str,
        sink: Arc<Sink>,
        instruments: Instruments,
    ) -> Result<Self, SetupError> {
        let dlq = dlq_of(topic);
        let reader = Mutex::new(Reader::new(config, &dlq, sink.logs())?);
        let state = State { owner: Mutex::default(), parked: Mutex::default(), reader };
        let state = Arc::new(state);
        instruments.parks(topic);
        Ok(Self { store, topic: topic.to_owned(), dlq, sink, state, instruments })
    }

    /// What its clients have.
    pub(in crate::kafka) fn logs(&self) -> Logs {
        self.sink.logs()
    }

    /// Makes sure that its topic is there and this store's: one that is nobody's is claimed. What was
    /// parked and released is read on the way.
    pub(in crate::kafka) async fn claim(&self) -> Result<(), ClaimError> {
        self.find(&[self.topic.as_str()]).await?;
        self.catch_up().await?;
        if self.state.owner().is_none() {
            claim::write(&self.sink, &self.dlq, self.store, None).await?;
            self.catch_up().await?;
        }
        claim::check(&self.topic, self.state.owner(), self.store)
    }

    /// Makes its topic this store's, whosever it was; returns that.
    pub(in crate::kafka) async fn take_over(&self) -> Result<Option<Uuid>, ClaimError> {
        self.catch_up().await?;
        let owner = self.state.owner();
        if owner != Some(self.store) {
            claim::write(&self.sink, &self.dlq, self.store, owner).await?;
            self.catch_up().await?;
        }
        claim::check(&self.topic, self.state.owner(), self.store)?;
        Ok(owner)
    }

    /// Makes sure that these topics exist.
    pub(in crate::kafka) async fn find(&self, topics: &[&str]) -> Result<(), ReadError> {
        let topics: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
        self.reading(move |state| state.reader().find(&topics)).await
    }

    /// Reads what was parked and released since it was last read.
    pub(in crate::kafka) async fn catch_up(&self) -> Result<(), ReadError> {
        let read = self.reading(State::read_up).await;
        self.instruments.parked_keys(&self.topic, self.parked_keys());
        read
    }

    /// Reads where that may block.
    async fn reading(
        &self,
        read: impl FnOnce(&State) -> Result<(), ReadError> + Send + 'static,
    ) -> Result<(), ReadError> {
        let state = Arc::clone(&self.state);
        let done = task::spawn_blocking(move || read(&state)).await;
        done.unwrap_or_else(|_| Err(ReadError::failed(&self.dlq, KafkaError::Canceled)))
    }

    /// Reads what others parked and released, for what is told of it; whether it could be read. Whoever
    /// needs it reads it then, and tells why it cannot be.
    pub(in crate::kafka) async fn look(&self) -> bool {
        let read = self.catch_up().await;
        if let Err(error) = &read {
            tracing::debug!(kafka.topic = self.topic, %error, "what is parked cannot be read");
        }
        read.is_ok()
    }

    /// Whether a key is parked, as far as was read. One that is not, is not.
    pub(in crate::kafka) fn seems_to_hold(&self, key: &[u8]) -> bool {
        self.state.parked().has(key)
    }

    /// Whether a key is parked.
    pub(in crate::kafka) async fn holds(&self, key: &[u8]) -> Result<bool, ReadError> {
        if !self.seems_to_hold(key) {
            return Ok(false);
        }
        self.catch_up().await?;
        Ok(self.seems_to_hold(key))
    }

    /// Parks a record, and with it its key.
    pub(in crate::kafka) async fn park(
        &self,
        delivery: &Delivery,
        cause: &str,
        tries: u32,
    ) -> Result<(), SendError> {
        let at = SystemClock.now().to_string();
        let (key, why) = (delivery.lane(), Why { cause, tries, at: &at });
        let kept = match self.write(&key, delivery, why, false).await {
            // What is too large for its topic may be too large here as well.
            Err(SendError::Refused(_)) => self.write(&key, delivery, why, true).await?,
            other => other?,
        };
        self.state.parked().wrote(&key, kept.partition, kept.offset);
        self.instruments.parked(&self.topic);
        self.instruments.parked_keys(&self.topic, self.parked_keys());
        let key = String::from_utf8_lossy(&key);
        tracing::error!(
            kafka.topic = self.topic,
            kafka.key = %key,
            kafka.partition = delivery.partition,
            kafka.offset = delivery.offset,
            cause,
            tries,
            "a record cannot be carried out, and its key is parked"
        );
        Ok(())
    }

    /// Parks a record behind another of its key.
    pub(in crate::kafka) async fn park_behind(&self, delivery: &Delivery) -> Result<(), SendError> {
        self.park(delivery, BEHIND, 0).await
    }

    /// How many keys are known to be parked.
    pub(in crate::kafka) fn parked_keys(&self) -> usize {
        self.state.parked().len()
    }

    async fn write(
        &self,
        key: &[u8],
        delivery: &Delivery,
        why: Why<'_>,
        omit: bool,
    ) -> Result<Kept, SendError> {
        let (headers, value) = entry::parked(delivery, why, omit);
        self.sink.send(&Record { topic: &self.dlq, key, value: Some(value), headers }).await
    }
}

impl State {
    fn parked(&self) -> MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose the topic is, as far as was read.
    fn owner(&self) -> Option<Uuid> {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_up(&self) -> Result<(), ReadError> {
        // One at a time, so that nothing is counted twice.
        let reader = self.reader();
        let is_known = self.parked().is_known;
        reader.read(
            |partition| self.parked().next(partition),
            |record| {
                let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
                *owner = claim::owner_after(*owner, &record);
                drop(owner);
                let (key, partition, offset) = (record.lane(), record.partition, record.offset);
                match entry::read(&record) {
                    Read::Parked(_) => self.parked().read(&key, partition, offset),
                    Read::Released { through, dropped } => {
                        let records = self.parked().read_release(&key, partition, offset, through);
                        // What was released before this process looked is no news.
                        if is_known && records > 0 {
                            tell_released(&record, records, dropped.as_ref());
                        }
                    }
                }
            },
        )?;
        self.parked().is_known = true;
        Ok(())
    }
}

fn tell_released(tombstone: &Delivery, records: usize, dropped: Option<&Word>) {
    let (topic, key) = (&tombstone.topic, tombstone.lane());
    let key = String::from_utf8_lossy(&key);
    match dropped {
        None => tracing::info!(
            kafka.topic = topic,
            kafka.key = %key,
            records,
            "parked records were released"
        ),
        Some(Word { by, reason, at }) => tracing::warn!(
            kafka.topic = topic,
            kafka.key = %key,
            records,
            by,
            reason,
            at,
            "parked records were dropped"
        ),
    }
}

impl fmt::Debug for Lot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lot")
            .field("topic", &self.topic)
            .field("parked_keys", &self.parked_keys())
            .finish_non_exhaustive()
    }
}

/// The text of an error that is the cause of something.
pub(in crate::kafka) fn cause_of(error: &(dyn std::error::Error + 'static)) -> String {
    error_chain(error)
}
