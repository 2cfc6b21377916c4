//! What an answer or an error means, side by side: for the breaker, for another try, for metrics.

use super::{
    Body, Error,
    answer::{Again, Answer, Said},
};
use crate::client::{ask::was_tried_again, unanswered};
use http::Response;
use mainstay_resilience::{breaker::Outcome, retry::Verdict};
use std::time::Duration;
use tonic::Code;

/// What a result says of the health of the service. A caller whose deadline did not leave it this
/// `patience` says nothing.
pub(super) fn health(result: &Result<Answer, Error>, patience: Duration) -> Outcome {
    match result {
        Ok(answer) if answer.said.code == Code::DeadlineExceeded && answer.waited < patience => {
            Outcome::Ignored
        }
        Ok(answer) => answered(answer.said),
        Err(error) => unanswered::health(error, patience),
    }
}

/// The same of the opening of a call that streams.
pub(super) fn health_of_head(
    result: &Result<Response<Body>, Error>,
    patience: Duration,
) -> Outcome {
    match result {
        Ok(head) => said(head).map_or(Outcome::Success, answered),
        Err(error) => unanswered::health(error, patience),
    }
}

fn answered(said: Said) -> Outcome {
    match said.code {
        Code::Ok => Outcome::Success,
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Outcome::Failure { retry_after: retry_after(said.again) },
        // It is well, and asks for less; or somebody did not want the answer any more.
        Code::ResourceExhausted | Code::Cancelled => Outcome::Ignored,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => Outcome::Declined,
    }
}

/// What a result says of another try. A deadline that is spent there is spent here too.
pub(super) fn verdict(result: &Result<Answer, Error>) -> Verdict {
    match result {
        Ok(answer) if was_tried_again(&answer.head.headers) => Verdict::Final,
        Ok(answer) => match (answer.said.code, answer.said.again) {
            (Code::Unavailable, Again::Unsaid) => Verdict::MaybeSent { retry_after: None },
            (Code::Unavailable | Code::ResourceExhausted, Again::After(time)) => {
                Verdict::MaybeSent { retry_after: Some(time) }
            }
            _ => Verdict::Final,
        },
        Err(error) => unanswered::verdict(error),
    }
}

fn retry_after(again: Again) -> Option<Duration> {
    match again {
        Again::After(time) => Some(time),
        Again::Unsaid | Again::Never => None,
    }
}

/// How metrics call a result.
pub(super) fn label(result: &Result<Answer, Error>) -> &'static str {
    match result {
        Ok(answer) => name(answer.said),
        Err(error) => unanswered::label(error),
    }
}

/// The same of the opening of a call that streams.
pub(super) fn label_of_head(result: &Result<Response<Body>, Error>) -> &'static str {
    match result {
        Ok(head) => said(head).map_or("ok", name),
        Err(error) => unanswered::label(error),
    }
}

fn name(said: Said) -> &'static str {
    match said.code {
        Code::Ok => "ok",
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => "failed",
        Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => "refused",
    }
}

/// What a head alone says; nothing when there is more to come.
fn said(head: &Response<Body>) -> Option<Said> {
    Said::of(head.status(), head.headers())
}

#[cfg(test)]
mod tests {
    use super::super::{NotSent, Unknown};
    use super::*;
    use bytes::Bytes;
    use std::io;

    const SLOW: Duration = Duration::from_secs(1);
    const MAYBE: Verdict = Verdict::MaybeSent { retry_after: None };
    const WAITED: Duration = Duration::from_secs(2);

    #[expect(clippy::unnecessary_wraps, reason = "it is what is judged")]
    fn answer(code: Code, again: Again, waited: Duration) -> Result<Answer, Error> {
        Ok(Answer::saying(Said { code, again }, waited))
    }

    #[test]
    fn every_code_has_its_meaning() {
        let refused = [
            Code::InvalidArgument,
            Code::NotFound,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::FailedPrecondition,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unimplemented,
            Code::Unauthenticated,
        ];
        let rows = refused.map(|code| (code, Outcome::Declined, Verdict::Final, "refused"));
        let others = [
            (Code::Ok, Outcome::Success, Verdict::Final, "ok"),
            (Code::Cancelled, Outcome::Ignored, Verdict::Final, "refused"),
            (Code::ResourceExhausted, Outcome::Ignored, Verdict::Final, "refused"),
            (Code::Unknown, Outcome::FAILURE, Verdict::Final, "failed"),
            (Code::DeadlineExceeded, Outcome::FAILURE, Verdict::Final, "failed"),
            (Code::Internal, Outcome::FAILURE, Verdict::Final, "failed"),
            (Code::DataLoss, Outcome::FAILURE, Verdict::Final, "failed"),
            (Code::Unavailable, Outcome::FAILURE, MAYBE, "failed"),
        ];
        for (code, outcome, another, name) in rows.into_iter().chain(others) {
            let result = answer(code, Again::Unsaid, WAITED);
            let told = (health(&result, SLOW), verdict(&result), label(&result));
            assert_eq!(told, (outcome, another, name), "{code:?}");
        }
    }

    #[test]
    fn when_to_come_again_reaches_the_breaker_and_the_retries() {
        let time = Duration::from_secs(7);
        let after = Verdict::MaybeSent { retry_after: Some(time) };
        let busy = answer(Code::Unavailable, Again::After(time), WAITED);
        assert_eq!(health(&busy, SLOW), Outcome::Failure { retry_after: Some(time) });
        assert_eq!(verdict(&busy), after);
        assert_eq!(verdict(&answer(Code::ResourceExhausted, Again::After(time), WAITED)), after);
        for code in [Code::Unavailable, Code::ResourceExhausted] {
            assert_eq!(verdict(&answer(code, Again::Never, WAITED)), Verdict::Final, "{code:?}");
        }
        let late = answer(Code::DeadlineExceeded, Again::After(time), WAITED);
        assert_eq!(verdict(&late), Verdict::Final);
    }

    #[test]
    fn a_caller_without_patience_says_nothing_of_the_service() {
        let late = answer(Code::DeadlineExceeded, Again::Unsaid, SLOW / 2);
        assert_eq!(health(&late, SLOW), Outcome::Ignored);
        let here = Err(Error::Unknown(Unknown::TimedOut { waited: SLOW / 2 }));
        assert_eq!(health(&here, SLOW), Outcome::Ignored);
    }

    #[test]
    fn what_has_no_answer_is_judged_as_over_http() {
        let lost = || io::Error::other("reset").into();
        let unwritten = Err(Error::NotSent(NotSent::Unwritten(lost())));
        assert_eq!((verdict(&unwritten), label(&unwritten)), (Verdict::NotSent, "not_sent"));
        let unknown = Err(Error::Unknown(Unknown::Lost(lost())));
        assert_eq!((verdict(&unknown), label(&unknown)), (MAYBE, "unknown"));
    }

    #[test]
    fn a_head_that_is_all_of_the_answer_is_judged_by_its_status() {
        let head = |status: Option<&str>| {
            let head = Response::builder();
            let head = status.into_iter().fold(head, |head, code| head.header("grpc-status", code));
            Ok(head.body(Body::whole(Bytes::new(), None)).unwrap())
        };
        for (status, outcome, name) in [
            (None, Outcome::Success, "ok"),
            (Some("14"), Outcome::FAILURE, "failed"),
            (Some("16"), Outcome::Declined, "refused"),
        ] {
            let result = head(status);
            assert_eq!(
                (health_of_head(&result, SLOW), label_of_head(&result)),
                (outcome, name),
                "{status:?}"
            );
        }
    }
}
