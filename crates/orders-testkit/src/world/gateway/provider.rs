//! The provider itself: a ledger that is the judge of what happened, the keys it knows, and what it
//! tells unasked.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use orders::{
    domain::{AttemptId, Outcome, PaymentId, PaymentOperation},
    ports::Instruction,
};
use tokio::time::Instant;

use super::{faults::Mishaps, webhooks::Mail};
use crate::{Stream, world::bug::Bug};

/// How long the provider knows a key, unless told otherwise.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);
/// By how much a client stays inside of it.
const MARGIN: SignedDuration = SignedDuration::from_hours(1);

/// Something that really happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Under which reference.
    pub attempt: AttemptId,
    /// On which payment.
    pub payment: PaymentId,
    /// What.
    pub operation: PaymentOperation,
    /// How much, in minor units.
    pub minor: i64,
}

/// How an attempt was asked for, as the provider's door saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Requests that may have arrived.
    pub sent: u32,
    /// Questions that were answered: it knows nothing of it.
    pub absent: u32,
    /// When the first request that may have arrived was sent, by the service's clock.
    pub first: Option<Timestamp>,
    /// Whether a request was sent that the store did not know may be.
    pub unmarked: bool,
    /// Whether a request was sent, by the service's clock, when the key was no longer known.
    pub too_late: bool,
}

#[derive(Debug)]
pub(in crate::world) struct Provider {
    bug: Option<Bug>,
    effects: Vec<Effect>,
    /// The effects of each attempt, by their places in the list.
    by_attempt: BTreeMap<AttemptId, Vec<usize>>,
    sums: BTreeMap<(PaymentId, PaymentOperation), i64>,
    /// What was answered last, by reference, and since when its key is known.
    known: BTreeMap<AttemptId, (Outcome, Instant)>,
    later: BTreeMap<(Instant, u64), Instruction>,
    queued: u64,
    pub(super) calls: BTreeMap<AttemptId, Calls>,
    pub(super) mishaps: Mishaps,
    pub(super) mail: Mail,
    pub(super) window: SignedDuration,
    pub(super) margin: SignedDuration,
}

impl Provider {
    pub(in crate::world) fn new(faults: Stream, mail: Stream, bug: Option<Bug>) -> Self {
        Self {
            bug,
            effects: Vec::new(),
            by_attempt: BTreeMap::new(),
            sums: BTreeMap::new(),
            known: BTreeMap::new(),
            later: BTreeMap::new(),
            queued: 0,
            calls: BTreeMap::new(),
            mishaps: Mishaps::new(faults),
            mail: Mail::new(mail, bug),
            window: WINDOW,
            margin: MARGIN,
        }
    }

    pub(super) fn effects(&self) -> &[Effect] {
        &self.effects
    }

    pub(super) fn effects_of(&self, attempt: AttemptId) -> Vec<Effect> {
        let places = self.by_attempt.get(&attempt).into_iter().flatten();
        places.map(|place| self.effects[*place]).collect()
    }

    /// What became of an attempt, as far as it arrived.
    pub(super) fn outcome(&self, attempt: AttemptId) -> Option<Outcome> {
        self.known.get(&attempt).map(|(outcome, _)| outcome.clone())
    }

    /// A request is about to leave; it may arrive.
    pub(super) fn leaves(&mut self, attempt: AttemptId, at: Timestamp, marked: bool) {
        let window = self.window;
        let calls = self.calls.entry(attempt).or_default();
        let first = *calls.first.get_or_insert(at);
        calls.sent += 1;
        calls.unmarked |= !marked;
        calls.too_late |= at.duration_since(first) >= window;
    }

    pub(super) fn apply_later(&mut self, order: Instruction, at: Instant) {
        self.queued += 1;
        self.later.insert((at, self.queued), order);
    }

    /// Does what is due by now.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(next) = self.later.first_entry().filter(|next| next.key().0 <= now) {
            let at = next.key().0;
            let order = next.remove();
            self.apply(&order, at, false);
        }
    }

    /// Does an operation, unless its key is known.
    pub(super) fn apply(&mut self, order: &Instruction, at: Instant, decline: bool) -> Outcome {
        let window = Duration::try_from(self.window).unwrap_or(Duration::MAX);
        if let Some((outcome, since)) = self.known.get(&order.attempt)
            && at.duration_since(*since) < window
            && self.bug != Some(Bug::NewKeyOnRetry)
        {
            return outcome.clone();
        }
        let minor = self.asked(order);
        let refused = self.refusal(order, minor).or(decline.then_some("card-declined"));
        let outcome = refused.map_or(Outcome::Succeeded, |code| {
            Outcome::Declined(code.parse().expect("a decline code"))
        });
        if refused.is_none() {
            let Instruction { attempt, payment, operation, .. } = *order;
            self.by_attempt.entry(attempt).or_default().push(self.effects.len());
            self.effects.push(Effect { attempt, payment, operation, minor });
            *self.sums.entry((payment, operation)).or_default() += minor;
        }
        self.known.insert(order.attempt, (outcome.clone(), at));
        self.mail.post(order, &outcome, at);
        outcome
    }

    /// How much is asked for.
    fn asked(&self, order: &Instruction) -> i64 {
        let whole =
            self.bug == Some(Bug::PartTakenAsWhole) && order.operation == PaymentOperation::Capture;
        if whole { self.held(order.payment).max(order.amount.minor) } else { order.amount.minor }
    }

    fn held(&self, payment: PaymentId) -> i64 {
        use PaymentOperation as P;
        let sum = |operation| self.sum(payment, operation);
        sum(P::Authorize) - sum(P::Capture) - sum(P::Void)
    }

    fn refusal(&self, order: &Instruction, minor: i64) -> Option<&'static str> {
        use PaymentOperation as P;
        let kept = self.sum(order.payment, P::Capture) - self.sum(order.payment, P::Refund);
        match order.operation {
            P::Capture | P::Void if minor > self.held(order.payment) => Some("exceeds-authorized"),
            P::Refund if minor > kept => Some("exceeds-captured"),
            P::Authorize | P::Capture | P::Void | P::Refund => None,
        }
    }

    /// What an operation came to on a payment, in minor units.
    pub(super) fn sum(&self, payment: PaymentId, operation: PaymentOperation) -> i64 {
        self.sums.get(&(payment, operation)).copied().unwrap_or(0)
    }
}
