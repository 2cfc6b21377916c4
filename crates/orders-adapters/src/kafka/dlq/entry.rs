//! How a record stands in a dead letter topic: as it was, with headers that say why it is there.

use std::str::FromStr;

use rdkafka::message::OwnedHeaders;

use crate::kafka::delivery::{Delivery, owned_headers};

/// What all headers begin with that are not the record's own.
const PREFIX: &str = "dlq_";
/// Up to which offset of the dead letter topic the records of a key are no longer parked.
const THROUGH: &str = "dlq_through";
/// Who dropped them. A tombstone without it says that they were carried out.
const DROPPED_BY: &str = "dlq_dropped_by";
const REASON: &str = "dlq_reason";
const AT: &str = "dlq_at";
/// Says that the value is not what it was.
const VALUE: &str = "dlq_value";
const NULL: &str = "null";
const OMITTED: &str = "omitted";

/// A record that is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key that is parked: the record's own, or one made of its place when it has none.
    pub key: Vec<u8>,
    /// The record as it was.
    pub delivery: Delivery,
    /// Why it is here.
    pub cause: String,
    /// How often it was tried; 0 when it waits behind an earlier record of its key.
    pub tries: u32,
    /// When it was parked.
    pub at: String,
    /// The partition of the dead letter topic.
    pub partition: i32,
    /// Where it stands there.
    pub offset: i64,
    /// Whether its value was too large for the dead letter topic as well, and is not kept.
    pub value_omitted: bool,
}

/// Who dropped parked records, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: String,
}

/// What a record of a dead letter topic says.
pub(super) enum Read {
    /// A record is parked.
    Parked(Box<Entry>),
    /// Those of its key up to here are no longer: they were carried out, or dropped by somebody.
    Released { through: i64, dropped: Option<Word> },
}

/// Why a record is parked.
#[derive(Clone, Copy, Debug)]
pub(in crate::kafka) struct Why<'a> {
    pub(in crate::kafka) cause: &'a str,
    pub(in crate::kafka) tries: u32,
    pub(in crate::kafka) at: &'a str,
}

/// The headers and the value that a record is parked with.
pub(super) fn parked<'a>(
    delivery: &'a Delivery,
    why: Why<'_>,
    omit: bool,
) -> (OwnedHeaders, &'a [u8]) {
    let (value, changed): (&[u8], _) = match &delivery.value {
        _ if omit => (b"", Some(OMITTED)),
        // Without a value it would be a tombstone here.
        None => (b"", Some(NULL)),
        Some(value) => (value, None),
    };
    let (partition, offset) = (delivery.partition.to_string(), delivery.offset.to_string());
    let tries = why.tries.to_string();
    let told = [
        ("dlq_topic", delivery.topic.as_str()),
        ("dlq_partition", &partition),
        ("dlq_offset", &offset),
        ("dlq_cause", why.cause),
        ("dlq_tries", &tries),
        (AT, why.at),
    ];
    let told = told.into_iter().chain(changed.map(|changed| (VALUE, changed)));
    let own = delivery.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    (owned_headers(own.chain(told.map(|(name, value)| (name, Some(value.as_bytes()))))), value)
}

/// The headers of a tombstone: what it releases was carried out.
pub(super) fn released(through: i64) -> OwnedHeaders {
    owned_headers([(THROUGH, Some(through.to_string().as_bytes()))])
}

/// The headers of a tombstone: what it releases was dropped.
pub(super) fn dropped(through: i64, word: &Word) -> OwnedHeaders {
    let through = through.to_string();
    let told =
        [(THROUGH, &through), (DROPPED_BY, &word.by), (REASON, &word.reason), (AT, &word.at)];
    owned_headers(told.map(|(name, value)| (name, Some(value.as_bytes()))))
}

/// Reads a record of a dead letter topic.
pub(super) fn read(record: &Delivery) -> Read {
    fn number<T: FromStr>(record: &Delivery, name: &str) -> Option<T> {
        record.header(name)?.parse().ok()
    }
    let text = |name| record.header(name).unwrap_or_default().to_owned();
    if record.value.is_none() {
        // One that a person made releases all before it.
        let through = number(record, THROUGH).unwrap_or(record.offset);
        let dropped = record.header(DROPPED_BY).map(|by| Word {
            by: by.to_owned(),
            reason: text(REASON),
            at: text(AT),
        });
        return Read::Released { through, dropped };
    }
    let changed = record.header(VALUE);
    let own = |(name, _): &(String, _)| !name.starts_with(PREFIX);
    let delivery = Delivery {
        topic: text("dlq_topic"),
        partition: number(record, "dlq_partition").unwrap_or(-1),
        offset: number(record, "dlq_offset").unwrap_or(-1),
        key: record.key.clone(),
        value: record.value.clone().filter(|_| changed != Some(NULL)),
        headers: record.headers.iter().filter(|header| own(header)).cloned().collect(),
        again: true,
    };
    Read::Parked(Box::new(Entry {
        key: record.lane(),
        delivery,
        cause: text("dlq_cause"),
        tries: number(record, "dlq_tries").unwrap_or(0),
        at: text(AT),
        partition: record.partition,
        offset: record.offset,
        value_omitted: changed == Some(OMITTED),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::{OwnedMessage, Timestamp};

    fn delivery(value: Option<&[u8]>) -> Delivery {
        Delivery {
            topic: "in".to_owned(),
            partition: 2,
            offset: 40,
            key: Some(b"order".to_vec()),
            value: value.map(<[u8]>::to_vec),
            headers: vec![("ce_id".to_owned(), Some(b"e-1".to_vec())), ("empty".to_owned(), None)],
            again: false,
        }
    }

    fn entry(delivery: &Delivery, omit: bool) -> Entry {
        let why = Why { cause: "it cannot be read", tries: 3, at: "2026-01-02T03:04:05Z" };
        let (headers, value) = parked(delivery, why, omit);
        let key = Some(b"order".to_vec());
        let record = OwnedMessage::new(
            Some(value.to_vec()),
            key,
            "in.dlq".to_owned(),
            Timestamp::NotAvailable,
            1,
            7,
            Some(headers),
        );
        match read(&Delivery::of(&record)) {
            Read::Parked(entry) => *entry,
            Read::Released { through, .. } => panic!("released through {through}"),
        }
    }

    #[test]
    fn a_parked_record_can_be_handed_out_as_it_was() {
        for value in [Some(b"{}".as_slice()), Some(b""), None] {
            let was = delivery(value);
            let entry = entry(&was, false);
            assert_eq!(entry.delivery, Delivery { again: true, ..was });
            assert_eq!((entry.cause.as_str(), entry.tries), ("it cannot be read", 3));
            assert_eq!((entry.partition, entry.offset, entry.value_omitted), (1, 7, false));
        }
    }

    #[test]
    fn a_value_that_is_left_out_is_told() {
        let entry = entry(&delivery(Some(b"much")), true);
        assert!(entry.value_omitted);
        assert_eq!(entry.delivery.value.as_deref(), Some(b"".as_slice()));
    }

    #[test]
    fn a_tombstone_says_how_far_it_releases_and_who_dropped_that() {
        let tombstone = |headers| {
            let key = Some(b"order".to_vec());
            let topic = "in.dlq".to_owned();
            let record =
                OwnedMessage::new(None, key, topic, Timestamp::NotAvailable, 1, 9, headers);
            match read(&Delivery::of(&record)) {
                Read::Released { through, dropped } => (through, dropped),
                Read::Parked(entry) => panic!("{entry:?}"),
            }
        };
        assert_eq!(tombstone(Some(released(7))), (7, None));
        assert_eq!(tombstone(None), (9, None));
        let word = Word {
            by: "ann".to_owned(),
            reason: "it cannot be read".to_owned(),
            at: "2026-01-02T03:04:05Z".to_owned(),
        };
        assert_eq!(tombstone(Some(dropped(7, &word))), (7, Some(word)));
    }
}
