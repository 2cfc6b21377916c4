//! Whether records are taken, and why not.

use std::{
    error::Error,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mainstay::telemetry::error_chain;

use crate::kafka::client::Logs;

/// What keeps records of a topic from being taken, if anything does.
#[derive(Debug)]
pub(super) struct Standing {
    topic: String,
    logs: Logs,
    wrong: Mutex<Option<String>>,
}

impl Standing {
    pub(super) fn new(topic: &str, logs: Logs) -> Self {
        Self { topic: topic.to_owned(), logs, wrong: Mutex::default() }
    }

    /// They are not taken. It is told once, until that changes or the cause does.
    pub(super) fn failed(&self, error: &(dyn Error + 'static)) {
        let error = error_chain(error);
        let broker = self.logs.trouble();
        let before = mem::replace(&mut *self.wrong(), Some(error.clone()));
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

    /// They are taken.
    pub(super) fn works(&self) {
        self.logs.forget();
        if self.wrong().take().is_some() {
            tracing::info!(kafka.topic = self.topic, "records are taken again");
        }
    }

    /// Why they are not taken, if they are not.
    pub(super) fn error(&self) -> Option<String> {
        let wrong = self.wrong().clone();
        wrong.map(|error| self.logs.with_trouble(error))
    }

    fn wrong(&self) -> MutexGuard<'_, Option<String>> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
