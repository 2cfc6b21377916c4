//! What every client of Kafka has: where it logs to.

use rdkafka::{
    ClientContext, config::RDKafkaLogLevel, consumer::ConsumerContext, error::KafkaError,
};

/// Passes what librdkafka says on to the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logs;

impl ClientContext for Logs {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        lost(&error, reason);
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
