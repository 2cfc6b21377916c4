//! How a call without an answer reads to callers of tonic.

use super::{Error, NotSent, Unknown};
use crate::chain::chain;
use mainstay_context::Cause;
use std::{error::Error as _, sync::Arc};
use tonic::{Code, Status};

/// Why there is no answer to a call that ended with `status`; `None` when there is one, and it is the
/// peer's.
///
/// ```
/// # use mainstay::client::grpc::unanswered;
/// # use tonic::Status;
/// assert!(unanswered(&Status::not_found("there is no such order")).is_none());
/// ```
pub fn unanswered(status: &Status) -> Option<&Error> {
    status.source()?.downcast_ref()
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut status = Self::new(code(&error), chain(&error));
        status.set_source(Arc::new(error));
        status
    }
}

fn code(error: &Error) -> Code {
    match error {
        Error::NotSent(why) => match why {
            NotSent::BreakerOpen { .. }
            | NotSent::Full(_)
            | NotSent::Connect(_)
            | NotSent::Unwritten(_) => Code::Unavailable,
            NotSent::Ended(cause) => of(*cause),
            NotSent::Invalid(_) => Code::InvalidArgument,
        },
        Error::Unknown(why) => match why {
            Unknown::TimedOut { .. } => Code::DeadlineExceeded,
            Unknown::Ended(cause) => of(*cause),
            Unknown::Lost(_) => Code::Unavailable,
            Unknown::TooLong { .. } => Code::ResourceExhausted,
        },
    }
}

fn of(cause: Cause) -> Code {
    match cause {
        Cause::DeadlineExceeded => Code::DeadlineExceeded,
        Cause::CallerGone | Cause::ShuttingDown => Code::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_status_says_why_there_is_no_answer_and_keeps_the_error() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let status = Status::from(Error::NotSent(NotSent::Connect(refused)));
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "the request was not sent: no connection: connection refused");
        assert!(unanswered(&status).is_some_and(Error::is_not_sent));
    }

    #[test]
    fn an_end_reads_as_what_ended_the_call() {
        for (cause, code) in [
            (Cause::DeadlineExceeded, Code::DeadlineExceeded),
            (Cause::CallerGone, Code::Cancelled),
            (Cause::ShuttingDown, Code::Cancelled),
        ] {
            let before = Status::from(Error::NotSent(NotSent::Ended(cause)));
            let after = Status::from(Error::Unknown(Unknown::Ended(cause)));
            assert_eq!((before.code(), after.code()), (code, code));
        }
    }
}
