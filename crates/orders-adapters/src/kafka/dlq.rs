//! Dead letter topics: what is parked there, how it is handed out again, and how it is dropped.
//!
//! The dead letter topic of a topic keeps each record that could not be carried out, and every later
//! one of its key, in order. A tombstone of a key, with the header `dlq_through`, says up to which
//! offset its records are no longer parked; one without that header releases all before it, so a person
//! who has settled a key by hand can write it with any tool. One that was made to drop records says who
//! did it and why (`dlq_dropped_by`, `dlq_reason`, `dlq_at`). One with the header `dlq_store` says which
//! store the topic belongs to, and releases nothing. A dead letter topic must keep its records for ever
//! and must not be compacted: [`create_topics`](super::create_topics) makes it so, and so it is also the
//! record of what was dropped.

mod claim;
mod entry;
mod lot;
mod parked;
mod reader;

use std::{collections::BTreeMap, sync::Arc};

use orders::ports::Clock as _;
use rdkafka::error::KafkaError;
use tokio::task;

pub(super) use self::{
    claim::ClaimError,
    lot::{LOOK_EVERY, Lot, cause_of},
    reader::ReadError,
};
pub use self::{
    claim::{TakeOverError, TakenOver, take_over},
    entry::{Entry, Word},
};

use self::{entry::Read, reader::Reader};
use super::{
    client::Logs,
    config::{Config, SetupError, dlq_of},
    delivery::{Handler, Verdict},
    sink::{Record, SendError, Sink, release},
};
use crate::SystemClock;

/// The parked records of a key, in order.
pub type Keys = BTreeMap<Vec<u8>, Vec<Entry>>;

/// What a dead letter topic tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// What is parked.
    pub keys: Keys,
    /// What was dropped, in no order but that of each key.
    pub dropped: Vec<Dropped>,
}

/// Records of a key that somebody dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The key.
    pub key: Vec<u8>,
    /// The records, in order. They stay readable where they were parked.
    pub entries: Vec<Entry>,
    /// Who did it, and why.
    pub word: Word,
}

/// Which of the parked records of a key are to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The first, when it was tried: one that only waited behind another may pass.
    First,
    /// The first, when it stands at this offset of the dead letter topic.
    At(i64),
    /// All that are parked now.
    All,
}

/// Why parked records cannot be listed, handed out again or dropped.
#[derive(Debug, thiserror::Error)]
pub enum DlqError {
    /// A client cannot be made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The dead letter topic cannot be read; why, with what was last wrong with a broker.
    #[error("{0}")]
    Read(String),
    /// They stay parked. Those that were carried out will be handed out once more.
    #[error("it cannot be noted that records are no longer parked")]
    Note(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The key has nothing that could be handed out or dropped.
    #[error("nothing of the key {key} is parked behind {topic}")]
    NotParked {
        /// Behind which topic.
        topic: String,
        /// The key.
        key: String,
    },
    /// The first record of the key only waited behind another that is gone.
    #[error(
        "the first record of its key, at offset {0}, was never tried: it waited behind another"
    )]
    Untried(i64),
    /// The first record of the key is another one.
    #[error("the first record of its key is the one at offset {0}")]
    Another(i64),
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

/// What is parked behind a topic, and what was dropped there.
///
/// # Errors
/// [`DlqError`].
pub async fn read(config: &Config, topic: &str) -> Result<Contents, DlqError> {
    let (dlq, logs) = (dlq_of(topic), Logs::default());
    let reader = Reader::new(config, &dlq, logs.clone())?;
    let read = task::spawn_blocking(move || {
        let mut contents = Contents::default();
        let read = reader.read(|_| 0, |record| contents.note(record.lane(), entry::read(&record)));
        read.map(|()| contents)
    });
    let read = read.await.unwrap_or_else(|_| Err(ReadError::failed(&dlq, KafkaError::Canceled)));
    read.map_err(|error| DlqError::Read(logs.explain(&error)))
}

/// The parked records of a topic, by their keys.
///
/// # Errors
/// [`DlqError`].
pub async fn list(config: &Config, topic: &str) -> Result<Keys, DlqError> {
    Ok(read(config, topic).await?.keys)
}

impl Contents {
    /// Notes what the next record says.
    fn note(&mut self, key: Vec<u8>, read: Read) {
        let (through, word) = match read {
            Read::Parked(entry) => return self.keys.entry(key).or_default().push(*entry),
            Read::Released { through, dropped } => (through, dropped),
        };
        let parked = self.keys.remove(&key).unwrap_or_default();
        let (entries, left): (Vec<_>, Vec<_>) =
            parked.into_iter().partition(|entry| entry.offset <= through);
        if !left.is_empty() {
            self.keys.insert(key.clone(), left);
        }
        if let Some(word) = word {
            self.dropped.push(Dropped { key, entries, word });
        }
    }
}

/// Drops parked records of a key, for good: they are not handed out any more, and who dropped them and
/// why is kept in the dead letter topic. Returns them, and how many of the key stay.
///
/// May run beside the service, which then lets later records of the key pass if none stays. Not beside a
/// [`replay`], which may have the record in hand.
///
/// # Errors
/// [`DlqError`]; nothing was dropped, or it is not known.
pub async fn let_go(
    config: &Config,
    topic: &str,
    key: &[u8],
    which: Which,
    (by, reason): (&str, &str),
) -> Result<(Dropped, usize), DlqError> {
    let mut entries = list(config, topic).await?.remove(key).unwrap_or_default();
    let count = which.count(&entries)?;
    let left = entries.split_off(count).len();
    let last = entries.last().ok_or_else(|| not_parked(topic, key))?;
    let word =
        Word { by: by.to_owned(), reason: reason.to_owned(), at: SystemClock.now().to_string() };
    let (sink, dlq) = (Sink::new(config)?, dlq_of(topic));
    let headers = entry::dropped(last.offset, &word);
    let sent = sink.send(&Record { topic: &dlq, key, value: None, headers }).await;
    release(sink).await;
    sent.map_err(|error| DlqError::Note(error.into()))?;
    Ok((Dropped { key: key.to_owned(), entries, word }, left))
}

fn not_parked(topic: &str, key: &[u8]) -> DlqError {
    DlqError::NotParked { topic: topic.to_owned(), key: String::from_utf8_lossy(key).into_owned() }
}

impl Which {
    /// How many of these are meant, from the first on.
    fn count(self, entries: &[Entry]) -> Result<usize, DlqError> {
        let Some(first) = entries.first() else { return Ok(0) };
        match self {
            Self::All => return Ok(entries.len()),
            Self::First if first.tries == 0 => return Err(DlqError::Untried(first.offset)),
            Self::At(offset) if offset != first.offset => {
                return Err(DlqError::Another(first.offset));
            }
            Self::First | Self::At(_) => {}
        }
        // A record that was delivered again before its offset was committed is parked once more.
        Ok(entries.iter().take_while(|entry| entry.delivery == first.delivery).count())
    }
}

/// Hands the parked records of a topic to this handler again, those of one key or of all keys, each in
/// order. May run beside the service: what it parks meanwhile stays parked, behind.
///
/// # Errors
/// [`DlqError`]; what passed before has passed. That a key is not parked is an error, that none is, is
/// none.
pub async fn replay(
    config: &Config,
    topic: &str,
    key: Option<&[u8]>,
    handler: &impl Handler,
) -> Result<Replayed, DlqError> {
    let mut keys = list(config, topic).await?;
    if let Some(key) = key {
        keys.retain(|parked, _| parked == key);
        if keys.is_empty() {
            return Err(not_parked(topic, key));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::delivery::Delivery;

    fn entry(offset: i64, value: &str, tries: u32) -> Entry {
        let delivery = Delivery {
            topic: "in".to_owned(),
            partition: 0,
            offset: 40,
            key: Some(b"order".to_vec()),
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
            again: true,
        };
        Entry {
            key: b"order".to_vec(),
            delivery,
            cause: String::new(),
            tries,
            at: String::new(),
            partition: 0,
            offset,
            value_omitted: false,
        }
    }

    #[test]
    fn a_record_that_was_parked_twice_is_dropped_whole() {
        let entries = [entry(5, "a", 1), entry(6, "a", 0), entry(7, "b", 0)];
        assert_eq!(Which::First.count(&entries).unwrap(), 2);
        assert_eq!(Which::At(5).count(&entries).unwrap(), 2);
        assert_eq!(Which::All.count(&entries).unwrap(), 3);
        assert!(matches!(Which::At(6).count(&entries), Err(DlqError::Another(5))));
        assert!(matches!(Which::First.count(&entries[2..]), Err(DlqError::Untried(7))));
        assert_eq!(Which::At(7).count(&entries[2..]).unwrap(), 1);
    }

    #[test]
    fn what_was_dropped_is_told_with_the_records_and_what_was_carried_out_is_not() {
        let mut contents = Contents::default();
        let mut note = |read| contents.note(b"order".to_vec(), read);
        for offset in [5, 6, 8] {
            note(Read::Parked(Box::new(entry(offset, "a", 1))));
        }
        note(Read::Released { through: 5, dropped: None });
        let word = Word { by: "ann".to_owned(), reason: "why".to_owned(), at: "today".to_owned() };
        note(Read::Released { through: 7, dropped: Some(word.clone()) });
        let dropped = Dropped { key: b"order".to_vec(), entries: vec![entry(6, "a", 1)], word };
        assert_eq!(contents.dropped, [dropped]);
        assert_eq!(contents.keys[b"order".as_slice()], [entry(8, "a", 1)]);
    }
}
