//! A member of a consumer group, whose partitions change when the session says so.

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, StreamConsumer},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use tokio::sync::Notify;

use crate::kafka::{
    client::Logs,
    config::{Config, SetupError, millis},
};

/// What the group asks of a member.
#[derive(Debug)]
pub(super) enum Change {
    /// These partitions are its own from the time it takes them.
    Assigned(TopicPartitionList),
    /// It is to give all of its partitions back.
    Revoked,
}

/// Keeps what the group asks until the session answers it: only that answer changes the partitions.
#[derive(Debug, Default)]
pub(super) struct Changes {
    asked: Mutex<VecDeque<Change>>,
    told: Notify,
    closing: AtomicBool,
    logs: Logs,
}

impl Changes {
    /// Waits for what the group asks next.
    pub(super) async fn next(&self) -> Change {
        loop {
            let told = self.told.notified();
            let next = self.asked.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(change) => return change,
                None => told.await,
            }
        }
    }

    fn ask(&self, change: Change) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
        self.told.notify_one();
    }
}

impl ClientContext for Changes {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.logs.log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logs.error(error, reason);
    }
}

impl ConsumerContext for Changes {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        asked: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let closing = self.closing.load(Ordering::SeqCst);
        if closing {
            // Nobody answers any more, and whoever closes waits for an answer.
            give_back(consumer);
        } else if asked == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.ask(Change::Assigned(partitions.clone()));
        } else {
            self.ask(Change::Revoked);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(%error, "offsets were not committed; the records come again");
        }
    }
}

fn give_back(consumer: &BaseConsumer<Changes>) {
    if let Err(error) = consumer.unassign() {
        tracing::warn!(%error, "partitions cannot be given back");
    }
}

/// A member of a consumer group. Dropping it leaves the group, which may block for a moment.
pub(super) struct Member(Arc<StreamConsumer<Changes>>);

/// How soon a member that died is missed.
const SESSION: Duration = Duration::from_secs(10);

impl Member {
    /// Joins the group.
    pub(super) fn join(config: &Config, topic: &str, logs: Logs) -> Result<Self, SetupError> {
        let mut client = config.client()?;
        client
            .set("group.id", &config.inbound.group)
            .set("session.timeout.ms", millis(SESSION))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest");
        let changes = Changes { logs, ..Changes::default() };
        let consumer: StreamConsumer<Changes> =
            client.create_with_context(changes).map_err(SetupError::Client)?;
        consumer.subscribe(&[topic]).map_err(SetupError::Client)?;
        Ok(Self(Arc::new(consumer)))
    }

    /// To be used where it may block.
    pub(super) fn shared(&self) -> Arc<StreamConsumer<Changes>> {
        Arc::clone(&self.0)
    }
}

impl Deref for Member {
    type Target = StreamConsumer<Changes>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.context().closing.store(true, Ordering::SeqCst);
        // Also answers what the group may have asked last.
        if let Err(error) = self.0.unassign() {
            tracing::warn!(%error, "partitions cannot be given back");
        }
    }
}
