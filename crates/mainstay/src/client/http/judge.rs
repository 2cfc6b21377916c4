//! What an answer or an error means, side by side: for the breaker, for another try, for metrics.

use super::{Answer, Error, answer::retry_after};
use crate::client::{ask::was_tried_again, unanswered};
use http::StatusCode;
use mainstay_resilience::{breaker::Outcome, retry::Verdict};
use std::time::Duration;

/// What a result says of the health of the service. A caller whose deadline did not leave it this
/// `patience` says nothing.
pub(super) fn health(result: &Result<Answer, Error>, patience: Duration) -> Outcome {
    match result {
        Ok(answer) => answered(answer),
        Err(error) => unanswered::health(error, patience),
    }
}

fn answered(answer: &Answer) -> Outcome {
    let status = answer.status();
    if status.is_server_error() {
        Outcome::Failure { retry_after: retry_after(answer.headers()) }
    } else if status == StatusCode::TOO_MANY_REQUESTS {
        // It is well, and asks for less: no proof of health, and no failure.
        Outcome::Ignored
    } else if status.is_client_error() {
        Outcome::Declined
    } else {
        Outcome::Success
    }
}

/// What a result says of another try.
pub(super) fn verdict(result: &Result<Answer, Error>) -> Verdict {
    match result {
        Ok(answer) if is_worth_another(answer.status()) && !was_tried_again(answer.headers()) => {
            Verdict::MaybeSent { retry_after: retry_after(answer.headers()) }
        }
        Ok(_) => Verdict::Final,
        Err(error) => unanswered::verdict(error),
    }
}

fn is_worth_another(status: StatusCode) -> bool {
    let never = [StatusCode::NOT_IMPLEMENTED, StatusCode::HTTP_VERSION_NOT_SUPPORTED];
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() && !never.contains(&status)
}

/// How metrics call a result.
pub(super) fn label(result: &Result<Answer, Error>) -> &'static str {
    match result {
        Ok(answer) if answer.status().is_server_error() => "failed",
        Ok(answer) if answer.status().is_client_error() => "refused",
        Ok(_) => "ok",
        Err(error) => unanswered::label(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NotSent, Unknown};
    use super::*;
    use bytes::Bytes;
    use http::Response;
    use mainstay_context::Cause;
    use std::io;

    const SLOW: Duration = Duration::from_secs(1);
    const MAYBE: Verdict = Verdict::MaybeSent { retry_after: None };

    fn answer(status: u16) -> Answer {
        Response::builder().status(status).body(Bytes::new()).unwrap()
    }

    fn lost() -> Result<Answer, Error> {
        Err(Error::Unknown(Unknown::Lost(io::Error::other("reset").into())))
    }

    fn timed_out(waited: Duration) -> Result<Answer, Error> {
        Err(Error::Unknown(Unknown::TimedOut { waited }))
    }

    #[test]
    fn every_result_has_its_meaning() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let not_sent = |why| Err(Error::NotSent(why));
        let too_long = Unknown::TooLong { status: StatusCode::OK, limit: 1 };
        let ended = Cause::CallerGone;
        let open = NotSent::BreakerOpen { retry_in: None };
        for (result, outcome, another, name) in [
            (Ok(answer(200)), Outcome::Success, Verdict::Final, "ok"),
            (Ok(answer(302)), Outcome::Success, Verdict::Final, "ok"),
            (Ok(answer(404)), Outcome::Declined, Verdict::Final, "refused"),
            (Ok(answer(429)), Outcome::Ignored, MAYBE, "refused"),
            (Ok(answer(500)), Outcome::FAILURE, MAYBE, "failed"),
            (Ok(answer(501)), Outcome::FAILURE, Verdict::Final, "failed"),
            (Ok(answer(503)), Outcome::FAILURE, MAYBE, "failed"),
            (not_sent(NotSent::Connect(refused())), Outcome::FAILURE, Verdict::NotSent, "not_sent"),
            (not_sent(open), Outcome::Ignored, Verdict::Refused, "not_sent"),
            (not_sent(NotSent::Ended(ended)), Outcome::Ignored, Verdict::Refused, "not_sent"),
            (lost(), Outcome::FAILURE, MAYBE, "unknown"),
            (timed_out(SLOW), Outcome::FAILURE, MAYBE, "unknown"),
            (timed_out(SLOW / 2), Outcome::Ignored, MAYBE, "unknown"),
            (Err(Error::Unknown(too_long)), Outcome::FAILURE, Verdict::Final, "unknown"),
            (
                Err(Error::Unknown(Unknown::Ended(ended))),
                Outcome::Ignored,
                Verdict::Final,
                "unknown",
            ),
        ] {
            let told = (health(&result, SLOW), verdict(&result), label(&result));
            assert_eq!(told, (outcome, another, name), "{result:?}");
        }
    }

    #[test]
    fn what_a_proxy_has_tried_again_is_not_tried_again_here() {
        for (count, another) in [("1", MAYBE), ("2", Verdict::Final), ("two", MAYBE)] {
            let busy = Response::builder().status(503).header("x-envoy-attempt-count", count);
            let busy = Ok(busy.body(Bytes::new()).unwrap());
            assert_eq!(verdict(&busy), another, "{count}");
            assert_eq!(health(&busy, SLOW), Outcome::FAILURE, "{count}");
        }
    }

    #[test]
    fn a_retry_after_reaches_the_breaker_and_the_retries() {
        let busy = Response::builder().status(503).header("retry-after", "7");
        let busy = Ok(busy.body(Bytes::new()).unwrap());
        let retry_after = Some(Duration::from_secs(7));
        assert_eq!(health(&busy, SLOW), Outcome::Failure { retry_after });
        assert_eq!(verdict(&busy), Verdict::MaybeSent { retry_after });
    }
}
