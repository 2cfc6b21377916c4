//! How long topics keep their records, held against what is promised of them.
//!
//! What is parked must stay until somebody has dealt with it. A shipment must be gone before it is
//! forgotten that it was carried out: one that is read again later, because the group's offsets were
//! lost for instance, would be carried out again.

use std::{collections::HashMap, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier},
    error::KafkaError,
};
use tokio::time::{Instant, sleep};

use super::{
    client::Logs,
    config::{Config, SetupError, dlq_of},
    sink::release,
    topics::CreateError,
};

/// A topic that keeps its records for too short or too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Records may go before anybody has dealt with them.
    Loses {
        /// The topic.
        topic: String,
        /// The setting by which they go, such as `retention.ms=604800000`.
        setting: String,
    },
    /// Records may be read again after it was forgotten that they were carried out.
    Outlives {
        /// The topic.
        topic: String,
        /// How long it may keep a record; `None` for ever.
        kept: Option<Duration>,
    },
}

/// The topics that keep records for too short or too long, where it is remembered for `remembered` that
/// one was carried out. Brokers may take a moment to know a topic that was just made.
///
/// # Errors
/// [`CreateError`], also when a topic does not exist.
pub async fn misfits(config: &Config, remembered: Duration) -> Result<Vec<Misfit>, CreateError> {
    let shipped = &config.inbound.fulfillment_topic;
    let (shipped_dlq, events_dlq) = (dlq_of(shipped), dlq_of(&config.events_topic));
    let begun = Instant::now();
    let topics = loop {
        match settings(config, [shipped, &shipped_dlq, &events_dlq]).await {
            Ok(topics) => break topics,
            Err(error) if begun.elapsed() > config.request_timeout => return Err(error),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    };
    let misfit = |topic: Settings| {
        if topic.name == *shipped { topic.shipped(remembered) } else { topic.dead() }
    };
    Ok(topics.into_iter().filter_map(misfit).collect())
}

/// The settings of these topics.
async fn settings(config: &Config, topics: [&str; 3]) -> Result<Vec<Settings>, CreateError> {
    let admin: AdminClient<Logs> =
        config.client()?.create_with_context(Logs::default()).map_err(SetupError::Client)?;
    let options = AdminOptions::new().request_timeout(Some(config.request_timeout));
    let asked = topics.map(ResourceSpecifier::Topic);
    let answers = admin.describe_configs(&asked, &options).await;
    release(admin).await;
    let answers = answers.map_err(CreateError::Asked)?.into_iter();
    let settings = answers.map(|answer| {
        let answer = answer.map_err(|code| CreateError::Asked(KafkaError::AdminOp(code)));
        answer.map(Settings::from).and_then(Settings::told)
    });
    settings.collect()
}

/// The settings of a topic.
struct Settings {
    name: String,
    values: HashMap<String, String>,
}

impl From<ConfigResource> for Settings {
    fn from(resource: ConfigResource) -> Self {
        let name = match resource.specifier {
            OwnedResourceSpecifier::Topic(name) | OwnedResourceSpecifier::Group(name) => name,
            OwnedResourceSpecifier::Broker(id) => id.to_string(),
        };
        let values = resource.entries.into_iter();
        let values = values.filter_map(|entry| Some((entry.name, entry.value?))).collect();
        Self { name, values }
    }
}

impl Settings {
    /// The client takes an answer that says nothing of a topic for one without settings.
    fn told(self) -> Result<Self, CreateError> {
        if self.values.is_empty() { Err(CreateError::Untold(self.name)) } else { Ok(self) }
    }

    /// What is wrong with it as a dead letter topic.
    fn dead(self) -> Option<Misfit> {
        let is_bound = |name| self.number(name).is_some_and(|most| most >= 0);
        let setting = if self.is("compact") {
            "cleanup.policy"
        } else if self.is("delete") && is_bound("retention.ms") {
            "retention.ms"
        } else if self.is("delete") && is_bound("retention.bytes") {
            "retention.bytes"
        } else {
            return None;
        };
        Some(self.loses(setting))
    }

    /// What is wrong with it as the topic of shipments.
    fn shipped(self, remembered: Duration) -> Option<Misfit> {
        if self.is("compact") {
            return Some(self.loses("cleanup.policy"));
        }
        let kept = self.kept();
        let is_short = kept.is_some_and(|kept| kept <= remembered);
        (!is_short).then_some(Misfit::Outlives { topic: self.name, kept })
    }

    /// How long it keeps a record, at most: a segment goes as a whole, once its last record may.
    fn kept(&self) -> Option<Duration> {
        let time = |name| self.number(name).and_then(|time| u64::try_from(time).ok());
        let retention = time("retention.ms")?;
        Some(Duration::from_millis(retention.saturating_add(time("segment.ms")?)))
    }

    fn loses(self, setting: &str) -> Misfit {
        let value = self.values.get(setting).map_or("", String::as_str);
        Misfit::Loses { setting: format!("{setting}={value}"), topic: self.name }
    }

    /// Whether this is a part of its policy.
    fn is(&self, policy: &str) -> bool {
        self.values.get("cleanup.policy").is_some_and(|set| set.contains(policy))
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.values.get(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1_000;

    fn topic(policy: &str, retention: i64, segment: u64) -> Settings {
        let values = [
            ("cleanup.policy", policy.to_owned()),
            ("retention.ms", retention.to_string()),
            ("retention.bytes", "-1".to_owned()),
            ("segment.ms", segment.to_string()),
        ];
        Settings {
            name: "in".to_owned(),
            values: values.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }

    #[test]
    fn what_is_parked_may_not_go_by_itself() {
        let lost = |topic: Settings| match topic.dead() {
            Some(Misfit::Loses { setting, .. }) => Some(setting),
            Some(Misfit::Outlives { .. }) | None => None,
        };
        assert_eq!(lost(topic("delete", -1, DAY)), None);
        assert_eq!(lost(topic("delete", 5, DAY)).as_deref(), Some("retention.ms=5"));
        let compacted = lost(topic("compact,delete", -1, DAY));
        assert_eq!(compacted.as_deref(), Some("cleanup.policy=compact,delete"));
        let mut bound = topic("delete", -1, DAY);
        bound.values.insert("retention.bytes".to_owned(), "9".to_owned());
        assert_eq!(lost(bound).as_deref(), Some("retention.bytes=9"));
    }

    #[test]
    fn a_shipment_goes_before_it_is_forgotten_that_it_was_carried_out() {
        let week = Duration::from_hours(7 * 24);
        let days = |count: u64| i64::try_from(count * DAY).unwrap();
        assert_eq!(topic("delete", days(6), DAY).shipped(week), None);
        // The brokers' own: the first record of a segment may stay for a fortnight.
        let outlives = |kept| Some(Misfit::Outlives { topic: "in".to_owned(), kept });
        assert_eq!(
            topic("delete", days(7), 7 * DAY).shipped(week),
            outlives(Some(Duration::from_hours(14 * 24)))
        );
        assert_eq!(topic("delete", -1, DAY).shipped(week), outlives(None));
        let compacted = topic("compact", days(6), DAY).shipped(week);
        assert!(matches!(compacted, Some(Misfit::Loses { .. })), "{compacted:?}");
    }
}
