//! What every client of Kafka has: where it logs to, and what was last wrong with its brokers.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainstay::telemetry::error_chain;
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::time::Instant;

use super::fold::Fold;

/// Passes what librdkafka says on to the log, and keeps what was last wrong with a broker: a call
/// only says that its time was up. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Logs(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    trouble: Option<String>,
    lines: Fold,
    is_closed: bool,
}

impl Logs {
    /// What was last wrong with a broker.
    pub(super) fn trouble(&self) -> Option<String> {
        self.said().trouble.clone()
    }

    /// Forgets it: a broker answered since.
    pub(super) fn forget(&self) {
        self.said().trouble = None;
    }

    /// What went wrong with a call, and what was last wrong with a broker.
    pub(super) fn explain(&self, error: &(dyn Error + 'static)) -> String {
        self.with_trouble(error_chain(error))
    }

    /// The same for an error that is a text already.
    pub(super) fn with_trouble(&self, error: String) -> String {
        match self.trouble() {
            Some(trouble) => format!("{error}; a broker: {trouble}"),
            None => error,
        }
    }

    /// Logs nothing any more: whoever used the clients is done, and some may be dropped later.
    pub(super) fn close(&self) {
        self.said().is_closed = true;
    }

    /// A line as it is to be logged, if it is.
    fn line(&self, facility: &str, message: &str) -> Option<String> {
        let mut said = self.said();
        if said.is_closed {
            return None;
        }
        let left_out = said.lines.tell(facility, message, Instant::now())?;
        Some(if left_out == 0 {
            format!("kafka: {message}")
        } else {
            format!("kafka: {message}; {left_out} like it were left out before")
        })
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Logs {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        if fac == LOST {
            // That a broker hangs up is no error to the client, and all that somebody sees who speaks
            // plain text where TLS is spoken.
            self.said().trouble.get_or_insert_with(|| of_a_broker(message).to_owned());
        }
        let Some(line) = self.line(fac, message) else { return };
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::warn!(kafka.facility = fac, "{line}"),
            RDKafkaLogLevel::Warning
            | RDKafkaLogLevel::Notice
            | RDKafkaLogLevel::Info
            | RDKafkaLogLevel::Debug => tracing::debug!(kafka.facility = fac, "{line}"),
        }
    }

    /// A client as a whole is in trouble. It goes on by itself, and what comes of a call is told by that
    /// call.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client is in trouble");
        // That all are down comes after what is wrong with each, and says less.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.said().trouble = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Logs {}

/// The facility of lines that tell that a connection was lost, or not made.
const LOST: &str = "FAIL";

/// What such a line says, without the thread that says it.
fn of_a_broker(message: &str) -> &str {
    let said = message.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: "));
    said.map_or(message, |(_, said)| said)
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

    #[test]
    fn a_broker_that_hangs_up_is_told_of_unless_worse_is_known() {
        let logs = Logs::default();
        let hung_up = "[thrd:kafka-1:9092/1]: kafka-1:9092/1: Disconnected: requesting ApiVersion";
        logs.log(RDKafkaLogLevel::Info, LOST, hung_up);
        let told = Some("kafka-1:9092/1: Disconnected: requesting ApiVersion");
        assert_eq!(logs.trouble().as_deref(), told);
        logs.error(KafkaError::Global(RDKafkaErrorCode::Authentication), "a wrong password");
        logs.log(RDKafkaLogLevel::Info, LOST, hung_up);
        assert_eq!(logs.trouble().as_deref(), Some("a wrong password"));
    }

    #[test]
    fn a_client_whose_user_is_done_says_nothing_any_more() {
        let logs = Logs::default();
        let line = |message| logs.clone().line("FAIL", message);
        assert_eq!(line("it is away").as_deref(), Some("kafka: it is away"));
        assert_eq!(line("it is away"), None, "it was told");
        logs.close();
        assert_eq!(line("another one is away"), None);
    }
}
