//! How a consumer stands: for the status page, and in the log whether records are taken.

use std::{
    error::Error,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mainstay::telemetry::error_chain;
use orders::ports::Clock as _;

use crate::{SystemClock, kafka::client::Logs};

/// How a consumer stands. Whoever does something notes it here.
#[derive(Debug)]
pub(super) struct Standing {
    topic: String,
    logs: Logs,
    now: Mutex<Now>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    /// The partitions that are its own; `None` while the group gives it none and may.
    pub(super) partitions: Option<Vec<i32>>,
    /// How many of their records the group is not done with; `None` while nobody could tell.
    pub(super) lag: Option<i64>,
    /// How many records it has taken and is not done with.
    pub(super) in_hand: usize,
    /// What went wrong last, since it takes records.
    pub(super) last_error: Option<String>,
    /// When that was.
    pub(super) last_error_at: Option<String>,
    /// Why no records are taken, if they are not.
    idle: Option<String>,
}

impl Standing {
    pub(super) fn new(topic: &str, logs: Logs) -> Self {
        Self { topic: topic.to_owned(), logs, now: Mutex::default() }
    }

    /// How it stands now, and with it what is wrong with a broker.
    pub(super) fn now(&self) -> Now {
        let mut now = self.noted().clone();
        if let Some(idle) = now.idle.clone() {
            // It may only say that the time was up.
            now.last_error = Some(self.logs.with_trouble(idle));
        } else if let Some(trouble) = self.logs.trouble() {
            // It tells more than what was wrong before.
            now.last_error = Some(format!("a broker: {trouble}"));
            now.last_error_at = None;
        }
        now
    }

    /// Records of these partitions are taken.
    pub(super) fn works(&self, partitions: Vec<i32>) {
        self.logs.forget();
        let mut now = self.noted();
        now.partitions = Some(partitions);
        now.last_error = None;
        now.last_error_at = None;
        let was_idle = now.idle.take().is_some();
        drop(now);
        if was_idle {
            tracing::info!(kafka.topic = self.topic, "records are taken again");
        }
    }

    /// The group takes all of its partitions, or it left the group.
    pub(super) fn revoked(&self) {
        let mut now = self.noted();
        now.partitions = None;
        now.lag = None;
    }

    pub(super) fn behind(&self, lag: Option<i64>) {
        self.noted().lag = lag;
    }

    pub(super) fn in_hand(&self, records: usize) {
        self.noted().in_hand = records;
    }

    /// Something went wrong, which whoever did it tells in the log, and it goes on.
    pub(super) fn failed(&self, error: &str) {
        let at = SystemClock.now().to_string();
        let mut now = self.noted();
        now.last_error = Some(error.to_owned());
        now.last_error_at = Some(at);
    }

    /// No records are taken. It is told once, until that changes or the cause does.
    pub(super) fn idle(&self, error: &(dyn Error + 'static)) {
        let error = error_chain(error);
        self.failed(&error);
        let broker = self.logs.trouble();
        let before = self.noted().idle.replace(error.clone());
        if before.as_ref() == Some(&error) {
            tracing::debug!(kafka.topic = self.topic, error, broker, "no records are taken");
        } else {
            tracing::warn!(
                kafka.topic = self.topic,
                error,
                broker,
                "no records are taken; they wait in the topic"
            );
        }
    }

    fn noted(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        ClientContext as _,
        error::{KafkaError, RDKafkaErrorCode},
    };

    use super::*;

    /// How a consumer stands, and what it hears of brokers.
    fn standing() -> (Standing, Logs) {
        let logs = Logs::default();
        (Standing::new("in", logs.clone()), logs)
    }

    /// The brokers do not let it in.
    fn locked_out(logs: &Logs) {
        logs.error(KafkaError::Global(RDKafkaErrorCode::Authentication), "a wrong password");
    }

    fn last_error(standing: &Standing) -> Option<String> {
        standing.now().last_error
    }

    #[test]
    fn while_no_records_are_taken_it_tells_why_and_what_is_wrong_with_a_broker() {
        let (standing, logs) = standing();
        standing.idle(&KafkaError::Canceled);
        let why = last_error(&standing).unwrap();
        locked_out(&logs);
        standing.failed("nothing was received");
        let told = last_error(&standing).unwrap();
        assert_eq!(told, format!("{why}; a broker: a wrong password"));
    }

    #[test]
    fn what_is_wrong_with_a_broker_is_told_before_what_was_wrong_with_a_record() {
        let (standing, logs) = standing();
        standing.works(vec![0]);
        standing.failed("never");
        assert!(standing.now().last_error_at.is_some());
        locked_out(&logs);
        assert_eq!(last_error(&standing).as_deref(), Some("a broker: a wrong password"));
        assert_eq!(standing.now().last_error_at, None);
        logs.forget();
        assert_eq!(last_error(&standing).as_deref(), Some("never"));
    }

    #[test]
    fn once_records_are_taken_what_was_wrong_before_is_over() {
        let (standing, logs) = standing();
        locked_out(&logs);
        standing.idle(&KafkaError::Canceled);
        standing.works(vec![0, 1]);
        let now = standing.now();
        assert_eq!((now.last_error, now.last_error_at), (None, None));
        assert_eq!(now.partitions, Some(vec![0, 1]));
    }
}
