//! A record of a topic, and what is done with it.

use std::future::Future;

use rdkafka::message::{Header, Headers as _, Message, OwnedHeaders};
use serde_json::Value;

/// A record of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Where it stands there.
    pub offset: i64,
    /// Its key: records of one key are handed out one after the other.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Whether it was parked, and is handed out again on purpose.
    pub again: bool,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out, or there is nothing to do.
    Done,
    /// It may pass later.
    Later(String),
    /// It will not pass as long as nobody mends the cause.
    Refused(String),
}

/// Carries out records. It is handed each at least once, so it has to recognise those it has seen.
pub trait Handler: Send + Sync + 'static {
    /// Carries out a record.
    fn handle(&self, delivery: &Delivery) -> impl Future<Output = Verdict> + Send;
}

impl Delivery {
    /// A copy of what a client has read.
    pub(super) fn of(message: &impl Message) -> Self {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
            again: false,
        }
    }

    /// The key by which it is ordered and parked. One without a key is ordered with no other.
    pub(super) fn lane(&self) -> Vec<u8> {
        let own = || format!("{}/{}/{}", self.topic, self.partition, self.offset).into_bytes();
        self.key.clone().unwrap_or_else(own)
    }

    /// The last header of this name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(key, _)| key == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    /// The id of the event that it is, in either mode, as far as that can be read.
    pub fn event_id(&self) -> Option<String> {
        if !self.is_structured() {
            return self.header("ce_id").map(str::to_owned);
        }
        let event: Value = serde_json::from_slice(self.value.as_deref()?).ok()?;
        event.get("id")?.as_str().map(str::to_owned)
    }

    /// Whether its value is a whole event, and not only the event's data.
    pub(super) fn is_structured(&self) -> bool {
        let content = self.header("content-type").unwrap_or_default();
        content.starts_with("application/cloudevents+json")
    }
}

/// Headers as a client sends them.
pub(super) fn owned_headers<'a>(
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> OwnedHeaders {
    headers
        .into_iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event_id(headers: &[(&str, &str)], value: &str) -> Option<String> {
        let header =
            |&(name, value): &(&str, &str)| (name.to_owned(), Some(value.as_bytes().to_vec()));
        let delivery = Delivery {
            topic: "in".to_owned(),
            partition: 0,
            offset: 0,
            key: None,
            value: Some(value.as_bytes().to_vec()),
            headers: headers.iter().map(header).collect(),
            again: false,
        };
        delivery.event_id()
    }

    #[test]
    fn an_event_is_known_by_its_id_in_either_mode() {
        let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
        assert_eq!(event_id(&[("ce_id", "e-1")], "no json").as_deref(), Some("e-1"));
        assert_eq!(event_id(&structured, r#"{"id":"e-2"}"#).as_deref(), Some("e-2"));
        assert_eq!(event_id(&structured, "no json"), None);
        assert_eq!(event_id(&[], "{}"), None);
    }
}
