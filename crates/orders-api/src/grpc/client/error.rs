use std::{fmt, time::Duration};

use mainstay::client::grpc::{self, NotSent, Safety, Unknown, unanswered};
use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt as _};

/// A call was refused, or has no answer.
#[derive(Clone, Debug)]
pub struct Error {
    status: Status,
    info: Option<ErrorInfo>,
    safety: Safety,
}

impl Error {
    /// The error of a call that ended so, whose second try would do that.
    pub(super) fn new(status: Status, safety: Safety) -> Self {
        let info = status.get_details_error_info();
        Self { status, info, safety }
    }

    /// What kind of error it is.
    pub fn code(&self) -> Code {
        self.status.code()
    }

    /// The stable code of `docs/PROBLEMS.md`, such as `VERSION_MISMATCH`; `None` when the service did
    /// not answer, or something before it did.
    pub fn reason(&self) -> Option<&str> {
        self.info.as_ref().map(|info| info.reason.as_str())
    }

    /// What else the service tells by this name, such as `current_version`.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.info.as_ref()?.metadata.get(name).map(String::as_str)
    }

    /// Whether the same call may succeed later, and does no harm: what the service says of it, or else
    /// what is known of a call without an answer.
    pub fn is_retryable(&self) -> bool {
        if let Some(told) = self.detail("retryable") {
            return told == "true";
        }
        let harmless = self.safety != Safety::Once;
        match unanswered(&self.status) {
            Some(grpc::Error::NotSent(why)) => match why {
                NotSent::BreakerOpen { .. }
                | NotSent::Full(_)
                | NotSent::Connect(_)
                | NotSent::Unwritten(_) => true,
                NotSent::Ended(_) | NotSent::Invalid(_) => false,
            },
            Some(grpc::Error::Unknown(why)) => match why {
                Unknown::TimedOut { .. } | Unknown::Lost(_) => harmless,
                Unknown::Ended(_) | Unknown::TooLong { .. } => false,
            },
            None => harmless && self.code() == Code::Unavailable,
        }
    }

    /// Whether surely nothing has happened, because nothing was sent.
    pub fn is_not_sent(&self) -> bool {
        unanswered(&self.status).is_some_and(grpc::Error::is_not_sent)
    }

    /// How long to wait before the next try, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        let told = self.status.get_details_retry_info().and_then(|info| info.retry_delay);
        told.or_else(|| unanswered(&self.status)?.retry_in())
    }

    /// The status as it came, with all its details.
    pub fn status(&self) -> &Status {
        &self.status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status.message())?;
        self.reason().map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

/// The text says already what an error comes from.
impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, io};

    use mainstay_context::Cause;
    use tonic_types::ErrorDetails;

    use super::*;

    fn told(retryable: &str) -> Status {
        let metadata = HashMap::from([("retryable".to_owned(), retryable.to_owned())]);
        let mut details = ErrorDetails::with_error_info("STORE_BUSY", "orderly.dev", metadata);
        details.set_retry_info(Some(Duration::from_secs(1)));
        Status::with_error_details(Code::Unavailable, "The store is busy.", details)
    }

    #[test]
    fn an_error_says_what_the_service_said() {
        let error = Error::new(told("true"), Safety::Once);
        assert_eq!((error.code(), error.reason()), (Code::Unavailable, Some("STORE_BUSY")));
        assert_eq!(error.to_string(), "The store is busy. (STORE_BUSY)");
        assert!(error.is_retryable() && !error.is_not_sent());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        assert!(!Error::new(told("false"), Safety::Safe).is_retryable());
    }

    #[test]
    fn a_call_without_an_answer_may_be_made_again_where_that_does_no_harm() {
        let lost = || io::Error::from(io::ErrorKind::ConnectionReset).into();
        let unknown = || Status::from(grpc::Error::Unknown(Unknown::Lost(lost())));
        let unsent = || Status::from(grpc::Error::NotSent(NotSent::Unwritten(lost())));
        let ended = || Status::from(grpc::Error::NotSent(NotSent::Ended(Cause::CallerGone)));
        for (status, safety, retryable) in [
            (unknown(), Safety::Keyed, true),
            (unknown(), Safety::Once, false),
            (unsent(), Safety::Once, true),
            (ended(), Safety::Safe, false),
            (Status::unavailable("proxy"), Safety::Safe, true),
            (Status::unavailable("proxy"), Safety::Once, false),
            (Status::internal("proxy"), Safety::Safe, false),
        ] {
            let error = Error::new(status, safety);
            assert_eq!(error.is_retryable(), retryable, "{error:?}");
        }
        assert!(Error::new(unsent(), Safety::Once).is_not_sent());
    }
}
