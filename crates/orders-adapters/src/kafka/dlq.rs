//! Dead letter topics: what is parked there, and how it is handed out again.
//!
//! The dead letter topic of a topic keeps each record that could not be carried out, and every later
//! one of its key, in order. A tombstone of a key, with the header `dlq_through`, says up to which
//! offset its records are no longer parked; one without that header releases all before it, so a person
//! who has settled a key by hand can write it with any tool. A dead letter topic must keep its records
//! for ever and must not be compacted: [`create_topics`](super::create_topics) makes it so. It also says
//! which store the topic belongs to.

mod claim;
mod entry;
mod lot;
mod parked;
mod reader;

use std::{collections::BTreeMap, sync::Arc};

use rdkafka::error::KafkaError;
use tokio::task;

pub(super) use self::{
    claim::ClaimError,
    lot::{Lot, cause_of},
    reader::ReadError,
};
pub use self::{
    claim::{TakeOverError, TakenOver, take_over},
    entry::Entry,
};

use self::{entry::Read, reader::Reader};
use super::{
    client::Logs,
    config::{Config, SetupError, dlq_of},
    delivery::{Handler, Verdict},
    sink::{Record, SendError, Sink, release},
};

/// The parked records of a key, in order.
pub type Keys = BTreeMap<Vec<u8>, Vec<Entry>>;

/// Why parked records cannot be listed or handed out again.
#[derive(Debug, thiserror::Error)]
pub enum DlqError {
    /// A client cannot be made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The dead letter topic cannot be read; why, with what was last wrong with a broker.
    #[error("{0}")]
    Read(String),
    /// It was carried out, but that is not noted: it will be handed out once more.
    #[error("it cannot be noted that records are no longer parked")]
    Note(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many records are carried out now.
    pub passed: usize,
    /// How many keys have none left.
    pub released: usize,
    /// The first record of each key that has some left, which stays with all behind it, and why: it
    /// failed again, or was parked meanwhile.
    pub stuck: Vec<(Entry, String)>,
}

/// The parked records of a topic, by their keys.
///
/// # Errors
/// [`DlqError`].
pub async fn list(config: &Config, topic: &str) -> Result<Keys, DlqError> {
    let (dlq, logs) = (dlq_of(topic), Logs::default());
    let reader = Reader::new(config, &dlq, logs.clone())?;
    let read = task::spawn_blocking(move || {
        let mut keys = Keys::new();
        let read =
            reader.read(|_| 0, |record| note(&mut keys, record.lane(), entry::read(&record)));
        read.map(|()| keys)
    });
    let read = read.await.unwrap_or_else(|_| Err(ReadError::failed(&dlq, KafkaError::Canceled)));
    read.map_err(|error| DlqError::Read(logs.explain(&error)))
}

fn note(keys: &mut Keys, key: Vec<u8>, read: Read) {
    match read {
        Read::Parked(entry) => keys.entry(key).or_default().push(*entry),
        Read::Released { through } => {
            if let Some(entries) = keys.get_mut(&key) {
                entries.retain(|entry| entry.offset > through);
                if entries.is_empty() {
                    keys.remove(&key);
                }
            }
        }
    }
}

/// Hands the parked records of a topic to this handler again, those of one key or of all keys, each in
/// order. May run beside the service: what it parks meanwhile stays parked, behind.
///
/// # Errors
/// [`DlqError`]; what passed before has passed.
pub async fn replay(
    config: &Config,
    topic: &str,
    key: Option<&[u8]>,
    handler: &impl Handler,
) -> Result<Replayed, DlqError> {
    let mut keys = list(config, topic).await?;
    if let Some(key) = key {
        keys.retain(|parked, _| parked == key);
    }
    let sink = Arc::new(Sink::new(config)?);
    let (mut replayed, mut through) = (Replayed::default(), Vec::new());
    for (key, entries) in keys {
        let noted = replay_key((&sink, &dlq_of(topic)), &key, entries, handler).await;
        let (passed, stuck) = noted.map_err(|error| DlqError::Note(error.into()))?;
        replayed.passed += passed;
        match stuck {
            Some(stuck) => replayed.stuck.push(stuck),
            None => through.push(key),
        }
    }
    release(sink).await;
    // What came while they were handed out was parked behind them.
    let mut left = if through.is_empty() { Keys::new() } else { list(config, topic).await? };
    for key in through {
        match left.remove(&key).and_then(|entries| entries.into_iter().next()) {
            Some(entry) => {
                let cause = entry.cause.clone();
                replayed.stuck.push((entry, cause));
            }
            None => replayed.released += 1,
        }
    }
    Ok(replayed)
}

async fn replay_key(
    (sink, dlq): (&Sink, &str),
    key: &[u8],
    entries: Vec<Entry>,
    handler: &impl Handler,
) -> Result<(usize, Option<(Entry, String)>), SendError> {
    let (mut passed, mut stuck) = (Vec::new(), None);
    for entry in entries {
        let verdict = if entry.value_omitted {
            Verdict::Refused("its value was too large to be kept here".to_owned())
        } else {
            handler.handle(&entry.delivery).await
        };
        match verdict {
            Verdict::Done => passed.push(entry.offset),
            Verdict::Later(cause) | Verdict::Refused(cause) => {
                stuck = Some((entry, cause));
                break;
            }
        }
    }
    if let Some(through) = passed.last() {
        let headers = entry::released(*through);
        sink.send(&Record { topic: dlq, key, value: None, headers }).await?;
    }
    Ok((passed.len(), stuck))
}
