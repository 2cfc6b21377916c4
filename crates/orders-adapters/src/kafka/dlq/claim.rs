//! Whose a topic is: its dead letter topic says so.
//!
//! A store that finds a topic nobody's writes a claim there: a tombstone that releases nothing, so that
//! it is no record to anybody else. The first claim counts, and then only one that names the owner
//! before it, which a person asks for. So of two stores that claim at once one is refused, without a
//! lock: all read the claims in the same order.

use std::sync::Arc;

use mainstay::metrics::Metrics;
use rdkafka::message::{Header, OwnedHeaders};
use uuid::Uuid;

use super::{entry, lot::Lot, reader::ReadError};
use crate::kafka::{
    config::{Config, SetupError},
    delivery::Delivery,
    instruments::Instruments,
    sink::{Record, SendError, Sink, release},
};

/// The key of every claim, so that all are in one partition.
const KEY: &[u8] = b"dlq_store";
/// Whose claim it is.
const STORE: &str = "dlq_store";
/// Whose the topic was until then.
const AFTER: &str = "dlq_after";

/// Why a topic is not to be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::kafka) enum ClaimError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a claim on the topic cannot be written")]
    Write(#[from] SendError),
    #[error(
        "the topic {topic} belongs to another store ({owner}; this one is {store}): set \
         kafka.events_topic, kafka.state_topic, kafka.inbound.fulfillment_topic and \
         kafka.inbound.group to names of this store's own, or, if it takes the place of the other, \
         run `orderly events claim` with it"
    )]
    Taken { topic: String, owner: Uuid, store: Uuid },
}

/// Makes sure that a topic that belongs to `owner` may be used by `store`.
pub(super) fn check(topic: &str, owner: Option<Uuid>, store: Uuid) -> Result<(), ClaimError> {
    match owner {
        Some(owner) if owner != store => {
            Err(ClaimError::Taken { topic: topic.to_owned(), owner, store })
        }
        Some(_) | None => Ok(()),
    }
}

/// Claims the topic of this dead letter topic for a store, after `owner`.
pub(super) async fn write(
    sink: &Sink,
    dlq: &str,
    store: Uuid,
    owner: Option<Uuid>,
) -> Result<(), SendError> {
    let record = Record { topic: dlq, key: KEY, value: None, headers: headers(store, owner) };
    sink.send(&record).await.map(|_| ())
}

fn headers(store: Uuid, owner: Option<Uuid>) -> OwnedHeaders {
    let insert = |headers: OwnedHeaders, key, id: Uuid| {
        headers.insert(Header { key, value: Some(id.to_string().as_bytes()) })
    };
    let headers = insert(entry::released(-1), STORE, store);
    match owner {
        Some(owner) => insert(headers, AFTER, owner),
        None => headers,
    }
}

/// Whose the topic is once this record of its dead letter topic was read.
pub(super) fn owner_after(owner: Option<Uuid>, record: &Delivery) -> Option<Uuid> {
    let id = |name| record.header(name)?.parse::<Uuid>().ok();
    // What is parked keeps the headers it came with, and has a value.
    let claimed = if record.value.is_none() { id(STORE) } else { None };
    let counts = owner.is_none() || owner == id(AFTER);
    claimed.filter(|_| counts).or(owner)
}

/// A topic, and whose it was before it was taken over.
pub type TakenOver = (String, Option<Uuid>);

/// Why topics were not taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// A client cannot be made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The topics cannot be read or written.
    #[error("the topics cannot be taken over: {0}")]
    Failed(String),
}

/// Makes the topics of the configuration those of this store, whosever they were. Another store that
/// still uses them stops when it finds that out.
///
/// # Errors
/// [`TakeOverError`]; some may have been taken over.
pub async fn take_over(config: &Config, store: Uuid) -> Result<Vec<TakenOver>, TakeOverError> {
    let instruments = Instruments::new(&Metrics::new("unread"));
    let sink = Arc::new(Sink::new(config)?);
    let mut taken = Vec::new();
    for topic in [&config.events_topic, &config.inbound.fulfillment_topic] {
        let lot = Lot::new(config, store, topic, Arc::clone(&sink), instruments.clone())?;
        let owner = lot.take_over().await;
        let owner = owner.map_err(|error| TakeOverError::Failed(lot.logs().explain(&error)))?;
        taken.push((topic.clone(), owner));
        release(lot).await;
    }
    release(sink).await;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::{entry::Word, *};
    use rdkafka::message::{OwnedMessage, Timestamp};

    fn claim(store: Uuid, after: Option<Uuid>) -> Delivery {
        let headers = [(STORE, Some(store)), (AFTER, after)];
        let headers = headers.into_iter().filter_map(|(name, id)| Some((name, id?)));
        Delivery {
            topic: "in.dlq".to_owned(),
            partition: 0,
            offset: 0,
            key: Some(KEY.to_vec()),
            value: None,
            headers: headers
                .map(|(name, id)| (name.to_owned(), Some(id.to_string().into_bytes())))
                .collect(),
            again: false,
        }
    }

    fn owner(records: &[Delivery]) -> Option<Uuid> {
        records.iter().fold(None, owner_after)
    }

    const ONE: Uuid = Uuid::from_u128(1);
    const TWO: Uuid = Uuid::from_u128(2);
    const THREE: Uuid = Uuid::from_u128(3);

    #[test]
    fn the_first_claim_counts() {
        assert_eq!(owner(&[]), None);
        assert_eq!(owner(&[claim(ONE, None), claim(TWO, None), claim(ONE, None)]), Some(ONE));
    }

    #[test]
    fn a_claim_on_purpose_counts_when_it_names_the_owner_before_it() {
        let records = [claim(ONE, None), claim(TWO, Some(ONE)), claim(THREE, Some(ONE))];
        assert_eq!(owner(&records), Some(TWO));
        // What was before it may be gone.
        assert_eq!(owner(&records[1..]), Some(TWO));
    }

    #[test]
    fn what_is_parked_claims_nothing_whatever_headers_it_came_with() {
        let parked = Delivery { value: Some(Vec::new()), ..claim(ONE, None) };
        assert_eq!(owner(&[parked]), None);
    }

    /// A tombstone of this key as it is read.
    fn tombstone(key: &[u8], headers: OwnedHeaders) -> Delivery {
        let (topic, time) = ("in.dlq".to_owned(), Timestamp::NotAvailable);
        let message = OwnedMessage::new(None, Some(key.to_vec()), topic, time, 0, 5, Some(headers));
        Delivery::of(&message)
    }

    #[test]
    fn a_claim_is_read_as_it_is_written_and_neither_releases_nor_drops() {
        let record = tombstone(KEY, headers(TWO, Some(ONE)));
        assert_eq!(owner_after(Some(ONE), &record), Some(TWO));
        let read = entry::read(&record);
        assert!(matches!(read, entry::Read::Released { through: -1, dropped: None }));
    }

    #[test]
    fn who_releases_or_drops_records_claims_nothing() {
        let word = Word { by: "ann".to_owned(), reason: TWO.to_string(), at: "today".to_owned() };
        for headers in [entry::released(3), entry::dropped(3, &word)] {
            let record = tombstone(b"order", headers);
            assert_eq!(owner_after(None, &record), None);
            assert_eq!(owner_after(Some(ONE), &record), Some(ONE));
        }
    }
}
