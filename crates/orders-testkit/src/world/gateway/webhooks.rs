//! What the provider tells unasked: early, late, twice, in any order, and of what nobody knows.

use std::{collections::BTreeMap, time::Duration};

use orders::{
    domain::{AttemptId, Outcome},
    ports::Instruction,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Stream, world::bug::Bug};

/// How much the provider tells unasked. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Webhooks {
    /// Outcomes per mille that are told.
    pub told: u64,
    /// Of these, per mille, told twice.
    pub twice: u64,
    /// Of these, per mille, followed by one of an attempt that nobody knows.
    pub stray: u64,
    /// Up to how long after its outcome one arrives.
    pub delay: Duration,
}

/// One such message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The operation it is about.
    pub of: Instruction,
    /// What became of it.
    pub outcome: Outcome,
}

/// Messages on their way.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) webhooks: Webhooks,
    waiting: BTreeMap<(Instant, u64), Webhook>,
    posted: u64,
    /// What a planted bug takes the next message for.
    mistaken: Option<Instruction>,
    bug: Option<Bug>,
    stream: Stream,
}

impl Mail {
    pub(super) fn new(stream: Stream, bug: Option<Bug>) -> Self {
        let webhooks = Webhooks::default();
        Self { webhooks, waiting: BTreeMap::new(), posted: 0, mistaken: None, bug, stream }
    }

    /// Sends word of an outcome, or not.
    pub(super) fn post(&mut self, of: &Instruction, outcome: &Outcome, at: Instant) {
        let Webhooks { told, twice, stray, .. } = self.webhooks;
        if !self.stream.chance(told) {
            return;
        }
        let of = if self.bug == Some(Bug::WebhookToWrongAttempt) {
            self.mistaken.replace(of.clone()).unwrap_or_else(|| of.clone())
        } else {
            of.clone()
        };
        let word = Webhook { of, outcome: outcome.clone() };
        if self.stream.chance(twice) {
            self.send(word.clone(), at);
        }
        if self.stream.chance(stray) {
            let nobody = AttemptId(Uuid::from_u64_pair(self.stream.bits(), self.stream.bits()));
            let of = Instruction { attempt: nobody, ..word.of.clone() };
            self.send(Webhook { of, ..word.clone() }, at);
        }
        self.send(word, at);
    }

    fn send(&mut self, word: Webhook, at: Instant) {
        let most = u64::try_from(self.webhooks.delay.as_micros()).unwrap_or(u64::MAX);
        let after = Duration::from_micros(self.stream.below(most));
        self.again(word, at + after);
    }

    pub(super) fn again(&mut self, word: Webhook, at: Instant) {
        self.posted += 1;
        self.waiting.insert((at, self.posted), word);
    }

    pub(super) fn arrived(&mut self, now: Instant) -> Option<Webhook> {
        let next = self.waiting.first_entry().filter(|next| next.key().0 <= now)?;
        Some(next.remove())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
