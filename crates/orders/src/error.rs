//! What can go wrong, told by what the caller can do about it.

use crate::{
    domain::{Command, Money, OrderId, Position, State, Totals, Version},
    ports::{CommitError, NotWritten, ReadError},
};

/// One thing wrong with a command, at a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where: a JSON pointer (RFC 6901) into the command.
    pub pointer: String,
    /// What rule, for programs.
    pub code: &'static str,
    /// What is wrong, for people; reads on from the name of the field.
    pub detail: String,
}

/// A definite no, decided inside a commit. It is remembered under the idempotency key: the same
/// request again gets the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The table has no such move from where the order stands.
    #[error("an order that is {state} cannot {}", command.passive())]
    IllegalTransition {
        /// Where the order stands.
        state: State,
        /// What was asked.
        command: Command,
    },
    /// The order has as many notes as it may have.
    #[error("the order has as many notes as it may have")]
    NotesFull,
    /// Another order of the tenant has this external reference.
    #[error("another order has this external reference")]
    ExternalReferenceTaken {
        /// The order that has it.
        order: OrderId,
    },
    /// A payment of the order has no outcome yet.
    #[error("a payment of the order is under way")]
    PaymentInProgress,
    /// It is not known yet what became of an operation on this payment.
    #[error("it is not known yet what became of an operation on this payment")]
    PaymentInDoubt,
    /// The amount is above what is left, or not above nothing.
    #[error("{}", not_left(*left))]
    AmountNotLeft {
        /// What is left.
        left: Money,
    },
    /// The order has no such payment.
    #[error("the order has no such payment")]
    NoSuchPayment,
    /// A person can decide only what waits for one.
    #[error("the operation does not wait for a person")]
    NotParked,
    /// The gateway has no part in it.
    #[error("the money was moved elsewhere, and the gateway has no part in it")]
    MovedElsewhere,
    /// Pieces were handed over.
    #[error("pieces of the order were handed over")]
    HandedOver,
    /// The order has no such line.
    #[error("the order has no line {line}")]
    NoSuchLine {
        /// The line that was named, counted from 1.
        line: u32,
    },
    /// A line has fewer pieces left for that.
    #[error("at most {left} of line {line} can be named for that")]
    PiecesNotLeft {
        /// Which line, counted from 1.
        line: u32,
        /// How many it has left.
        left: u32,
    },
    /// The order has as many payments, or the payment as many attempts, as it may have.
    #[error("the order has as many payments or attempts as it may have")]
    TooManyPayments,
}

fn not_left(left: Money) -> String {
    if left.minor == 0 {
        return format!("nothing is left for that: {left}");
    }
    format!("the amount must be above 0 and at most {left}, in that currency")
}

/// Why a use case did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is known to be asking. Authenticate.
    #[error("the request is not authenticated")]
    Unauthenticated,
    /// The command breaks rules. Mend it.
    #[error("the request breaks {} {}", .0.len(), if .0.len() == 1 { "rule" } else { "rules" })]
    Invalid(Vec<Violation>),
    /// The expected total is not the computed one. Find out who is wrong.
    #[error("the total is {}, not {expected}", computed.total)]
    TotalMismatch {
        /// What the client computed.
        expected: Money,
        /// What the order comes to.
        computed: Box<Totals>,
    },
    /// This tenant has no such order.
    #[error("there is no such order")]
    NotFound,
    /// A definite no.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whether this was decided in an earlier try.
        replayed: bool,
    },
    /// The key was used for another command. Use a new one.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The key made an order longer ago than decisions are remembered.
    #[error("the idempotency key made an order too long ago to be replayed")]
    KeyExpired {
        /// The order it made.
        order: OrderId,
    },
    /// The order is not at the version the caller saw. Read it again.
    #[error("the order is at version {current}")]
    VersionMismatch {
        /// Where it is.
        current: Version,
    },
    /// Others kept changing the order. Try again.
    #[error("the order kept changing under the request")]
    Contended,
    /// The events after this position are gone. Start from the oldest.
    #[error("the events after this position are no longer kept; the oldest is {oldest}")]
    CursorTooOld {
        /// The oldest position still kept.
        oldest: Position,
    },
    /// Surely nothing was written. Try again later.
    #[error("nothing was written: {0}")]
    NotWritten(NotWritten),
    /// The deadline passed, or the caller went away, before anything was written.
    #[error("the deadline passed before the work was done")]
    DeadlineExceeded,
    /// The store cannot be reached; surely nothing was written. Try again later.
    #[error("the order store is unavailable")]
    Unavailable(#[source] Option<crate::ports::Cause>),
    /// It may have been written. Try again with the same idempotency key.
    #[error("it is not known whether the change was written")]
    OutcomeUnknown,
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Busy => Self::NotWritten(NotWritten::Busy),
            ReadError::Expired => Self::DeadlineExceeded,
            ReadError::CursorTooOld { oldest } => Self::CursorTooOld { oldest },
            ReadError::Unavailable(cause) => Self::Unavailable(cause),
        }
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NotWritten(NotWritten::Expired) => Self::DeadlineExceeded,
            CommitError::NotWritten(reason) => Self::NotWritten(reason),
            CommitError::Unavailable(cause) => Self::Unavailable(cause),
            CommitError::OutcomeUnknown => Self::OutcomeUnknown,
        }
    }
}
