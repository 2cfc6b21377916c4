//! What a call without an answer means: for the breaker, for another try, for metrics.

use super::http::{Error, NotSent, Unknown};
use mainstay_resilience::{breaker::Outcome, retry::Verdict};
use std::time::Duration;

/// What it says of the health of the service. A caller whose deadline did not leave it this `patience`
/// says nothing.
pub(super) fn health(error: &Error, patience: Duration) -> Outcome {
    match error {
        Error::NotSent(why) => match why {
            NotSent::Connect(_) | NotSent::Unwritten(_) => Outcome::FAILURE,
            NotSent::BreakerOpen { .. }
            | NotSent::Full(_)
            | NotSent::Ended(_)
            | NotSent::Invalid(_) => Outcome::Ignored,
        },
        Error::Unknown(why) => match why {
            Unknown::TimedOut { waited } if *waited < patience => Outcome::Ignored,
            Unknown::TimedOut { .. } | Unknown::Lost(_) | Unknown::TooLong { .. } => {
                Outcome::FAILURE
            }
            Unknown::Ended(_) => Outcome::Ignored,
        },
    }
}

/// What it says of another try.
pub(super) fn verdict(error: &Error) -> Verdict {
    match error {
        Error::NotSent(why) => match why {
            NotSent::Connect(_) | NotSent::Unwritten(_) => Verdict::NotSent,
            NotSent::BreakerOpen { .. }
            | NotSent::Full(_)
            | NotSent::Ended(_)
            | NotSent::Invalid(_) => Verdict::Refused,
        },
        Error::Unknown(why) => match why {
            Unknown::TimedOut { .. } | Unknown::Lost(_) => Verdict::MaybeSent { retry_after: None },
            // The same answer would come again.
            Unknown::TooLong { .. } | Unknown::Ended(_) => Verdict::Final,
        },
    }
}

/// How metrics call it.
pub(super) fn label(error: &Error) -> &'static str {
    match error {
        Error::NotSent(_) => "not_sent",
        Error::Unknown(_) => "unknown",
    }
}
