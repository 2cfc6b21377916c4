//! The core's errors as problems: a full match, side by side.

use std::sync::Arc;

use orders::{
    Error, Refusal, Violation,
    domain::{Command, State},
    ports::NotWritten,
};

use super::{Code, Facts, FieldError, Problem};

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = sentence(&error.to_string());
        let (code, facts) = match &error {
            Error::Unauthenticated => (Code::Unauthenticated, Facts::None),
            Error::Invalid(violations) => (Code::Invalid, Facts::Errors(errors(violations))),
            Error::TotalMismatch { expected, computed } => {
                (Code::TotalMismatch, Facts::Totals(*expected, computed.clone()))
            }
            Error::NotFound => (Code::NotFound, Facts::None),
            Error::Refused { refusal, .. } => refused(*refusal),
            Error::KeyReused => (Code::KeyReused, Facts::None),
            Error::KeyExpired { order } => (Code::KeyExpired, Facts::Order(*order)),
            Error::VersionMismatch { current } => (Code::VersionMismatch, Facts::Version(*current)),
            Error::Contended => (Code::Contended, Facts::None),
            Error::CursorTooOld { oldest } => (Code::CursorTooOld, Facts::Oldest(*oldest)),
            Error::NotWritten(NotWritten::Busy) => (Code::StoreBusy, Facts::None),
            Error::NotWritten(NotWritten::Expired) | Error::DeadlineExceeded => {
                (Code::DeadlineExceeded, Facts::None)
            }
            Error::NotWritten(NotWritten::Full) => (Code::StoreFull, Facts::None),
            Error::Unavailable(_) => (Code::StoreUnavailable, Facts::None),
            Error::OutcomeUnknown => (Code::OutcomeUnknown, Facts::None),
        };
        let replayed = matches!(error, Error::Refused { replayed: true, .. });
        // A cause is for the operator's log. What load and deadlines refuse is in the line of the
        // request, and a line more for each would make an overload worse.
        let told = matches!(error, Error::Unavailable(_) | Error::OutcomeUnknown);
        let cause = told.then(|| Arc::new(error) as _);
        Self { code, detail, facts, replayed, cause }
    }
}

fn refused(refusal: Refusal) -> (Code, Facts) {
    match refusal {
        Refusal::IllegalTransition { state, .. } => (Code::IllegalTransition, Facts::State(state)),
        Refusal::NotesFull => (Code::NotesFull, Facts::None),
        Refusal::ExternalReferenceTaken { order } => {
            (Code::ExternalReferenceTaken, Facts::Order(order))
        }
        Refusal::PaymentInProgress => (Code::PaymentInProgress, Facts::None),
        Refusal::PaymentInDoubt => (Code::PaymentInDoubt, Facts::None),
        Refusal::AmountNotLeft { .. } => (Code::AmountNotLeft, Facts::None),
        Refusal::NoSuchPayment => (Code::NoSuchPayment, Facts::None),
        Refusal::TooManyPayments => (Code::TooManyPayments, Facts::None),
        Refusal::NotParked => (Code::NotParked, Facts::None),
        Refusal::MovedElsewhere => (Code::MovedElsewhere, Facts::None),
        Refusal::HandedOver => (Code::HandedOver, Facts::None),
        Refusal::NoSuchLine { .. } => (Code::NoSuchLine, Facts::None),
        Refusal::PiecesNotLeft { .. } => (Code::PiecesNotLeft, Facts::None),
    }
}

fn errors(violations: &[Violation]) -> Vec<FieldError> {
    let error = |violation: &Violation| FieldError {
        pointer: Some(violation.pointer.clone()),
        parameter: None,
        code: violation.code.to_owned(),
        detail: violation.detail.clone(),
    };
    violations.iter().map(error).collect()
}

/// The verbs a client may give in this state, as their addresses end.
pub(crate) fn verbs(state: State) -> Vec<&'static str> {
    state.allowed().map(address).collect()
}

/// The gRPC calls a client may make in this state.
pub(crate) fn calls(state: State) -> Vec<&'static str> {
    state.allowed().map(call).collect()
}

/// The name of a verb's call; the other commands have none, and are never allowed to a client.
const fn call(command: Command) -> &'static str {
    match command {
        Command::Confirm => "ConfirmOrder",
        Command::Cancel => "CancelOrder",
        Command::Fulfill => "CreateFulfillment",
        Command::Return => "ReturnOrder",
        Command::AddNote => "AddNote",
        Command::Pay => "PayOrder",
        Command::Capture => "CaptureOrder",
        Command::Refund => "RefundOrder",
        Command::RecordPayment => "RecordPayment",
        Command::Place
        | Command::BeginCancel
        | Command::FinishCancel
        | Command::Complete
        | Command::Expire
        | Command::CancelLines
        | Command::ExpireAuthorization
        | Command::Settle => command.as_str(),
    }
}

/// How the address of a verb ends; the other commands have none, and are never allowed to a client.
const fn address(command: Command) -> &'static str {
    match command {
        Command::AddNote => "notes",
        Command::RecordPayment => "payments",
        Command::Fulfill => "fulfillments",
        Command::Confirm
        | Command::Cancel
        | Command::Pay
        | Command::Capture
        | Command::Refund
        | Command::Place
        | Command::BeginCancel
        | Command::FinishCancel
        | Command::Complete
        | Command::Expire
        | Command::CancelLines
        | Command::Return
        | Command::ExpireAuthorization
        | Command::Settle => command.as_str(),
    }
}

/// An error's message, which starts small and ends open, as a sentence.
pub(super) fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    chars
        .next()
        .map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}
