//! The payments of an order: what was tried, what came of it, and what that comes to.
//!
//! A payment is a list of attempts, which only grows, and an attempt that has an outcome keeps it.
//! Every sum is computed from the list, so that no sum can disagree with it. What is not here: who
//! calls the gateway and when, which is the worker's and its tasks'.

use super::{
    ids::{AttemptId, PaymentId},
    money::Money,
    text::{DeclineCode, Instrument},
};
use crate::names::names;

/// One payment of an order. An order may have several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Our id of it, by which the gateway knows it too.
    pub id: PaymentId,
    /// What is paid with.
    pub means: Means,
    /// Every operation that was asked for, oldest first.
    pub attempts: Vec<Attempt>,
}

/// What is paid with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// A payment instrument, by the provider's token.
    Instrument(Instrument),
    /// Something that this service does not move, such as a bank transfer: it was told of it.
    Elsewhere,
}

names! {
    /// What can be done with money at a gateway.
    PaymentOperation {
        /// Hold it.
        Authorize = "authorize",
        /// Take what is held.
        Capture = "capture",
        /// Let go of what is held and not taken.
        Void = "void",
        /// Give back what was taken.
        Refund = "refund",
    }
}

impl PaymentOperation {
    /// Whether it gives money back, or lets go of it.
    pub const fn gives_back(self) -> bool {
        match self {
            Self::Void | Self::Refund => true,
            Self::Authorize | Self::Capture => false,
        }
    }
}

/// One operation on a payment, asked for once: however often it is sent, it happens once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its id, from which the key is derived that the gateway knows it by.
    pub id: AttemptId,
    /// What is to be done.
    pub operation: PaymentOperation,
    /// With how much.
    pub amount: Money,
    /// For which pieces the amount is, where it was asked for by line.
    pub lines: Vec<LineShare>,
    /// Whether the order asked for it by itself, because of its goods, and no client.
    pub by_itself: bool,
    /// Whether the gateway has declined it and it waits for a person all the same.
    pub is_refused: bool,
    /// How far it is.
    pub state: AttemptState,
}

/// The part of an amount that is for pieces of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineShare {
    /// Which line, counted from 1.
    pub line: u32,
    /// How many of its pieces.
    pub quantity: u32,
    /// How much of the amount, in minor units.
    pub minor: i64,
}

impl Attempt {
    /// One that is to be sent.
    pub const fn open(id: AttemptId, operation: PaymentOperation, amount: Money) -> Self {
        Self {
            id,
            operation,
            amount,
            lines: Vec::new(),
            by_itself: false,
            is_refused: false,
            state: AttemptState::Open,
        }
    }
}

/// How far an attempt is. Only a definite answer of the gateway is an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// To be sent, or sent and not answered yet.
    Open,
    /// Sent, and the answer is lost: the gateway is being asked.
    Unknown,
    /// It could not be resolved: a person has to.
    Parked,
    /// It happened.
    Succeeded,
    /// The gateway said no, so it did not happen.
    Declined(DeclineCode),
}

impl AttemptState {
    /// Whether it has no outcome yet.
    pub const fn is_unresolved(&self) -> bool {
        match self {
            Self::Open | Self::Unknown | Self::Parked => true,
            Self::Succeeded | Self::Declined(_) => false,
        }
    }
}

impl Payment {
    /// Whether it is moved through the gateway.
    pub const fn is_ours(&self) -> bool {
        matches!(self.means, Means::Instrument(_))
    }

    /// Held at the gateway in all, whatever became of it since.
    pub fn authorized(&self) -> i64 {
        self.sum(PaymentOperation::Authorize, has_succeeded)
    }

    /// Taken in all.
    pub fn captured(&self) -> i64 {
        self.sum(PaymentOperation::Capture, has_succeeded)
    }

    /// Given back in all.
    pub fn refunded(&self) -> i64 {
        self.sum(PaymentOperation::Refund, has_succeeded)
    }

    /// Let go of without being taken.
    pub fn voided(&self) -> i64 {
        self.sum(PaymentOperation::Void, has_succeeded)
    }

    /// Held and neither taken nor let go of.
    pub fn held(&self) -> i64 {
        self.authorized().saturating_sub(self.captured()).saturating_sub(self.voided())
    }

    /// Taken and not given back.
    pub fn kept(&self) -> i64 {
        self.captured().saturating_sub(self.refunded())
    }

    /// How much may still be captured or voided: what is asked for already is left out, since it may
    /// happen.
    pub fn left_to_capture(&self) -> i64 {
        self.held()
            .saturating_sub(self.sum(PaymentOperation::Capture, AttemptState::is_unresolved))
            .saturating_sub(self.sum(PaymentOperation::Void, AttemptState::is_unresolved))
    }

    /// How much may still be refunded, as [`left_to_capture`](Self::left_to_capture) counts.
    pub fn left_to_refund(&self) -> i64 {
        self.kept().saturating_sub(self.sum(PaymentOperation::Refund, AttemptState::is_unresolved))
    }

    /// Its attempts, each with it.
    pub(super) fn attempts_of(&self) -> impl Iterator<Item = (&Self, &Attempt)> {
        self.attempts.iter().map(move |attempt| (self, attempt))
    }

    /// Asks for an attempt. No gateway can give back what it did not take: a person has to.
    pub(super) fn ask(&mut self, mut attempt: Attempt) {
        if !self.is_ours() {
            attempt.state = AttemptState::Parked;
        }
        self.attempts.push(attempt);
    }

    /// What it covers: what was taken, whatever went back since, and what is held and can be taken; of
    /// a hold that the gateway has declined to take, what is being taken all the same.
    pub fn covers(&self) -> i64 {
        let asked = self.sum(PaymentOperation::Capture, AttemptState::is_unresolved);
        let held = if self.declines_capture() { asked } else { self.held() };
        self.captured().saturating_add(held)
    }

    /// How often the gateway has declined an operation.
    pub fn declines(&self, operation: PaymentOperation) -> usize {
        let declined =
            |a: &&Attempt| a.operation == operation && matches!(a.state, AttemptState::Declined(_));
        self.attempts.iter().filter(declined).count()
    }

    /// Whether the gateway has declined the latest capture.
    pub(super) fn declines_capture(&self) -> bool {
        let mut captures = self.attempts.iter().rev();
        let latest = captures.find(|attempt| attempt.operation == PaymentOperation::Capture);
        latest.is_some_and(|attempt| matches!(attempt.state, AttemptState::Declined(_)))
    }

    /// Whether an attempt has no outcome yet.
    pub fn is_unresolved(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.state.is_unresolved())
    }

    /// Whether it is not known what became of an attempt that was sent.
    pub fn is_in_doubt(&self) -> bool {
        let doubt = |attempt: &Attempt| {
            matches!(attempt.state, AttemptState::Unknown | AttemptState::Parked)
        };
        self.attempts.iter().any(doubt)
    }

    /// Whether the sums can be true: no more is taken than held, nor given back than taken, also when
    /// everything happens that may.
    pub fn is_sound(&self) -> bool {
        self.left_to_capture() >= 0
            && self.left_to_refund() >= 0
            && self.attempts.iter().all(|attempt| attempt.amount.minor > 0)
    }

    /// The amounts of one operation whose states count, together.
    pub(super) fn sum(
        &self,
        operation: PaymentOperation,
        counts: fn(&AttemptState) -> bool,
    ) -> i64 {
        let counted = self.attempts.iter().filter(|attempt| attempt.operation == operation);
        counted
            .filter(|attempt| counts(&attempt.state))
            .fold(0, |sum: i64, attempt| sum.saturating_add(attempt.amount.minor))
    }
}

fn has_succeeded(state: &AttemptState) -> bool {
    *state == AttemptState::Succeeded
}

names! {
    /// Where the money of an order is; derived from its payments.
    PaymentState {
        /// No payment was asked for.
        None = "NONE",
        /// Asked for, and the gateway has not answered yet.
        Pending = "PENDING",
        /// Held, not taken.
        Authorized = "AUTHORIZED",
        /// Some of it taken.
        PartiallyCaptured = "PARTIALLY_CAPTURED",
        /// All of it taken.
        Captured = "CAPTURED",
        /// Some of what was taken given back.
        PartiallyRefunded = "PARTIALLY_REFUNDED",
        /// All that was taken given back.
        Refunded = "REFUNDED",
        /// Let go without being taken.
        Voided = "VOIDED",
        /// Refused by the gateway; another instrument may pay.
        Declined = "DECLINED",
        /// It is not known yet what became of something that was sent.
        Unknown = "UNKNOWN",
        /// It could not be found out what became of something; an operator has to.
        Parked = "PARKED",
    }
}

impl PaymentState {
    /// Derives the state from the payments. What is in doubt is told before all that is not.
    pub fn of(payments: &[Payment]) -> Self {
        let any = |is: fn(&AttemptState) -> bool| {
            payments.iter().flat_map(|p| &p.attempts).any(|attempt| is(&attempt.state))
        };
        match () {
            () if payments.is_empty() => Self::None,
            () if any(|state| *state == AttemptState::Parked) => Self::Parked,
            () if any(|state| *state == AttemptState::Unknown) => Self::Unknown,
            () => Self::of_sums(payments),
        }
    }

    fn of_sums(payments: &[Payment]) -> Self {
        let sum = |part: fn(&Payment) -> i64| {
            payments.iter().fold(0, |sum: i64, payment| sum.saturating_add(part(payment)))
        };
        let (captured, refunded, held) =
            (sum(Payment::captured), sum(Payment::refunded), sum(Payment::held));
        match () {
            () if captured == 0 && held > 0 => Self::Authorized,
            () if captured == 0 && payments.iter().any(Payment::is_unresolved) => Self::Pending,
            () if captured == 0 && sum(Payment::voided) > 0 => Self::Voided,
            () if captured == 0 => Self::Declined,
            () if refunded == captured => Self::Refunded,
            () if refunded > 0 => Self::PartiallyRefunded,
            () if held > 0 => Self::PartiallyCaptured,
            () => Self::Captured,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn attempt(operation: PaymentOperation, minor: i64, state: AttemptState) -> Attempt {
        let id = AttemptId(Uuid::nil());
        let amount = Money::new(minor, "EUR".parse().unwrap());
        Attempt { state, ..Attempt::open(id, operation, amount) }
    }

    /// A payment of these attempts: `A10` is a successful authorization of 10, `C4?` a capture that is
    /// open, `R4!` a refund whose outcome is unknown, `V4#` a void that is parked, `A10-` a declined
    /// authorization.
    fn payment(attempts: &str) -> Payment {
        let read = |word: &str| {
            let operation = match &word[..1] {
                "A" => PaymentOperation::Authorize,
                "C" => PaymentOperation::Capture,
                "V" => PaymentOperation::Void,
                _ => PaymentOperation::Refund,
            };
            let (digits, state) = match word[1..].split_at(word.len() - 2) {
                (digits, "?") => (digits, AttemptState::Open),
                (digits, "!") => (digits, AttemptState::Unknown),
                (digits, "#") => (digits, AttemptState::Parked),
                (digits, "-") => (digits, AttemptState::Declined("no".parse().unwrap())),
                _ => (&word[1..], AttemptState::Succeeded),
            };
            attempt(operation, digits.parse().unwrap(), state)
        };
        let attempts = attempts.split_whitespace().map(read).collect();
        Payment { id: PaymentId(Uuid::nil()), means: Means::Elsewhere, attempts }
    }

    #[test]
    fn the_state_follows_from_what_came_of_every_attempt() {
        use PaymentState as S;
        for (payments, state) in [
            (&[][..], S::None),
            (&["A10?"], S::Pending),
            (&["A10"], S::Authorized),
            (&["A10-"], S::Declined),
            (&["A10-", "A10?"], S::Pending),
            (&["A10 C10?"], S::Authorized),
            (&["A10 V10"], S::Voided),
            (&["A10 C4"], S::PartiallyCaptured),
            (&["A10 C4 V6"], S::Captured),
            (&["A10 C10 R3"], S::PartiallyRefunded),
            (&["A10 C10 R10"], S::Refunded),
            (&["A10 V10", "A10 C10"], S::Captured),
            (&["A10 C10!"], S::Unknown),
            (&["A10 C10", "A5#"], S::Parked),
            (&["A10!", "A5#"], S::Parked),
        ] {
            let payments: Vec<_> = payments.iter().map(|attempts| payment(attempts)).collect();
            assert_eq!(PaymentState::of(&payments), state, "{payments:?}");
        }
    }

    #[test]
    fn what_may_still_happen_is_not_left_to_be_asked_for() {
        for (attempts, capture, refund) in [
            ("A10", 10, 0),
            ("A10 C4?", 6, 0),
            ("A10 C4! V3#", 3, 0),
            ("A10 C4- C10", 0, 10),
            ("A10 C10 R3 R4?", 0, 3),
            ("A10 C10 R3 R4-", 0, 7),
        ] {
            let payment = payment(attempts);
            let left = (payment.left_to_capture(), payment.left_to_refund());
            assert_eq!(left, (capture, refund), "{attempts}");
            assert!(payment.is_sound());
        }
        for unsound in ["A10 C11", "A10 C10? V1?", "A10 C10 R6 R5?", "A0", "C1"] {
            assert!(!payment(unsound).is_sound(), "{unsound}");
        }
    }
}
