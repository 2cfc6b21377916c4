//! What the core needs of a payment gateway.

use std::future::Future;

use mainstay_context::Context;

use crate::domain::{
    AttemptId, DeclineCode, Instrument, Money, Outcome, PaymentId, PaymentOperation,
};

/// Moves money at a provider that honours a key per operation and can be asked what became of one.
///
/// An answer may be lost, and never guessed: what is not definite is [`Sent::Unknown`].
pub trait Gateway: Send + Sync + 'static {
    /// Asks for an operation. The same attempt sent again within the provider's window is the same
    /// operation.
    fn send(&self, cx: &Context, order: &Instruction) -> impl Future<Output = Sent> + Send;

    /// Asks what became of an attempt.
    fn look_up(&self, cx: &Context, order: &Instruction) -> impl Future<Output = Found> + Send;

    /// How long the provider knows an attempt's key after it was first sent, less what clocks and
    /// requests under way may be off.
    fn key_window(&self) -> jiff::SignedDuration;
}

/// One operation, as a gateway is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Our reference, from which the key is derived.
    pub attempt: AttemptId,
    /// The payment it is on.
    pub payment: PaymentId,
    /// What to do.
    pub operation: PaymentOperation,
    /// With how much.
    pub amount: Money,
    /// What to pay with; given with an authorization.
    pub instrument: Option<Instrument>,
}

/// What came of sending an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The gateway has answered definitely.
    Answered(Outcome),
    /// The gateway refuses the request itself, which was sent once: it changed nothing.
    Refused(DeclineCode),
    /// It surely did not reach the gateway, for this reason.
    NotSent(String),
    /// It may have reached it, and there is no answer that counts, for this reason.
    Unknown(String),
}

/// What came of asking for an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It has this outcome.
    Answered(Outcome),
    /// The gateway does not know it. A request that is still under way may reach it yet.
    Absent,
    /// There is no answer that counts, for this reason.
    Unknown(String),
    /// The gateway knows another operation by this reference than the one it was sent, such as one
    /// with another amount.
    Contradicted(String),
}
