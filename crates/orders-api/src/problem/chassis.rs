//! The failures of the chassis as problems: a full match, so that there is one table. And what the
//! chassis is told, because the head of an answer does not say it.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use http::request::Parts;
use mainstay::http::{Failure, Record};
use mainstay_context::Context;
use mainstay_resilience::{
    admission::{Reason, Refused},
    pool,
};

use super::{Code, Facts, Problem};
use crate::grpc::{health, is_call};

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let code = match failure {
            Failure::DeadlineExceeded => Code::DeadlineExceeded,
            Failure::InvalidTimeout(_) => Code::InvalidTimeout,
            Failure::Internal => Code::Internal,
        };
        Self::new(code, failure.detail())
    }
}

impl Problem {
    /// Has the chassis count a request as failed whose answer ends with this after its head.
    pub(crate) fn ends(&self, record: &Record) {
        record.set_failed(self.code.as_str(), self.answered());
    }

    /// What the pool has no result of. One that it did not take may be sent again after this time.
    pub(crate) fn unpooled(error: pool::Error, retry_after: Duration) -> Self {
        let overloaded = |detail| overloaded(detail, retry_after);
        match error {
            pool::Error::Full => overloaded("Too much waits already; nothing was done."),
            pool::Error::Closed => overloaded("The service stops; nothing was done."),
            pool::Error::Expired => {
                let detail = "There was no time left for it; nothing was done.";
                Self::new(Code::DeadlineExceeded, detail)
            }
            pool::Error::Panicked(_) => {
                let detail = "The request met a fault of the service; nothing was done.";
                let cause = Some(Arc::new(error) as _);
                Self { cause, ..Self::new(Code::Internal, detail) }
            }
        }
    }
}

impl From<Refused> for Problem {
    fn from(Refused { reason, retry_after }: Refused) -> Self {
        let overloaded = |detail| overloaded(detail, retry_after);
        match reason {
            Reason::Late => {
                overloaded("What waits already leaves it too little time; nothing was done.")
            }
            Reason::Full => overloaded("Too many requests wait already; nothing was done."),
            Reason::Share => {
                overloaded("Too many requests of this tenant wait already; nothing was done.")
            }
            Reason::Behind | Reason::Shed => {
                overloaded("More comes than the processors can do; nothing was done.")
            }
            Reason::Ended(_) => {
                let detail = "The time was spent before its turn came; nothing was done.";
                Self::new(Code::DeadlineExceeded, detail)
            }
        }
    }
}

fn overloaded(detail: &str, retry_after: Duration) -> Problem {
    Problem { facts: Facts::After(retry_after), ..Problem::new(Code::Overloaded, detail) }
}

/// Whether a request may be refused before anything is known of it: all may but of health.
pub fn may_shed(head: &Parts) -> bool {
    ![health::CHECK, health::WATCH].contains(&head.uri.path())
}

/// The answer to a request that is refused before anything is known of it: give it to
/// `mainstay::server::Server::with_shedding`.
pub fn shed(head: &Parts, cx: &Context, retry_after: Duration) -> Response {
    let reason = Reason::Shed;
    let problem = Problem::from(Refused { reason, retry_after });
    if is_call(head.version, &head.headers) {
        problem.status(cx).into_http()
    } else {
        problem.answer(cx)
    }
}

/// The answer where the chassis fails a request: give it to `mainstay::http::Stack::with_failures`.
pub fn chassis_failure(failure: Failure, cx: &Context) -> Response {
    Problem::from(failure).answer(cx)
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use http::{Request, header};
    use http_body_util::BodyExt as _;
    use mainstay::{
        http::{Stack, inbound},
        metrics::Metrics,
    };
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn a_failure_of_the_chassis_has_the_same_code_and_status_in_the_table() {
        for failure in Failure::ALL {
            let code = Problem::from(failure).code;
            // The log line has the chassis's word for it.
            assert_eq!((code.as_str(), code.status()), (failure.code(), failure.status()));
        }
    }

    #[tokio::test]
    async fn what_is_shed_is_told_in_the_words_of_whoever_asks_and_health_is_not() {
        let head = |version, kind: &str| {
            let request = Request::post("/orders.v1.OrderService/CreateOrder").version(version);
            request.header(header::CONTENT_TYPE, kind).body(()).unwrap().into_parts().0
        };
        let cx = Context::new("chassis-2".parse().unwrap());
        let after = Duration::from_millis(1_500);
        let answer = shed(&head(http::Version::HTTP_11, "application/json"), &cx, after);
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "2");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], "overloaded");
        assert_eq!(problem["request_id"], "chassis-2");
        let call = head(http::Version::HTTP_2, "application/grpc");
        let answer = shed(&call, &cx, after);
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["grpc-status"], "14");
        assert!(may_shed(&call));
        let health = Request::post("/grpc.health.v1.Health/Check").body(()).unwrap().into_parts().0;
        assert!(!may_shed(&health));
    }

    async fn problem(path: &str, timeout: &str) -> Value {
        let routes = Router::new()
            .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
            .route("/hold", get(async || std::future::pending::<&str>().await));
        let stack = Stack::new(&Metrics::new("test")).with_failures(chassis_failure);
        let request = Request::get(path)
            .header("x-request-id", "chassis-1")
            .header("x-request-timeout-ms", timeout);
        let request = request.body(Body::empty()).unwrap();
        let answer = inbound(routes, &stack).oneshot(request).await.unwrap();
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["status"], status);
        problem
    }

    #[tokio::test(start_paused = true)]
    async fn the_chassis_fails_in_the_words_of_the_table() {
        for (path, timeout, code) in [
            ("/hold", "50", Code::DeadlineExceeded),
            ("/hold", "soon", Code::InvalidTimeout),
            ("/panic", "1000", Code::Internal),
        ] {
            let problem = problem(path, timeout).await;
            assert_eq!(problem["type"], code.uri());
            assert_eq!(problem["title"], code.title());
            assert_eq!(problem["code"], code.as_str());
            assert_eq!(problem["retryable"], code.retryable());
            assert_eq!(problem["request_id"], "chassis-1");
            assert!(problem["trace_id"].is_string());
        }
    }
}
