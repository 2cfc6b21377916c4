//! What every client of Kafka has: where it logs to, and what was last wrong with its brokers.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

/// Passes what librdkafka says on to the log, and keeps what was last wrong with a broker: a call
/// only says that its time was up. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Logs {
    trouble: Arc<Mutex<Option<String>>>,
}

impl Logs {
    /// What was last wrong with a broker.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets it: a broker answered since.
    pub(super) fn forget(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ClientContext for Logs {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        lost(&error, reason);
        // That all are down comes after what is wrong with each, and says less.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            let trouble = Some(reason.to_owned());
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        }
    }
}

impl ConsumerContext for Logs {}

pub(super) fn log(level: RDKafkaLogLevel, fac: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(kafka.facility = fac, "kafka: {message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(kafka.facility = fac, "kafka: {message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(kafka.facility = fac, "kafka: {message}"),
    }
}

/// A client as a whole is in trouble. It goes on by itself, and what comes of a call is told by that
/// call.
pub(super) fn lost(error: &KafkaError, reason: &str) {
    tracing::debug!(%error, reason, "the Kafka client is in trouble");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_all_brokers_are_down_does_not_hide_why() {
        let logs = Logs::default();
        let shared = logs.clone();
        shared.error(KafkaError::Global(RDKafkaErrorCode::Authentication), "a wrong password");
        shared.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 are down");
        assert_eq!(logs.trouble().as_deref(), Some("a wrong password"));
        logs.forget();
        assert_eq!(shared.trouble(), None);
    }
}
