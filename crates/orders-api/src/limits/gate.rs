//! The layers that limit: one for addresses around all routes, one for principals behind authentication.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{Method, StatusCode};
use mainstay::http::ClientAddr;
use mainstay_context::{Context, Principal};
use mainstay_resilience::rate_limit::{Layer, Rate, Rules};

use super::{ADDRESS, Class, GUESS, Limits, told};
use crate::{gate::Forbidden, grpc, http as api, problem::Problem};

impl Limits {
    /// The layer that limits addresses, if they are limited. A trusted proxy that speaks for itself is
    /// not, nor is a request whose address nobody knows.
    pub(crate) fn of_addresses(&self) -> Option<Layer<IpAddr, Request, Response>> {
        let shared = self.0.as_ref()?;
        let rules: Rules<IpAddr, Request, Response> = Rules {
            key: |request: &Request| request.extensions().get::<ClientAddr>()?.counted(),
            refuse: |refused, rate| {
                let mut answer = Problem::limited(ADDRESS, refused).into_response();
                told::tell(answer.headers_mut(), ADDRESS, rate, refused.left);
                answer
            },
            extra: |answer: &Response| {
                if answer.status() == StatusCode::UNAUTHORIZED { GUESS } else { 0 }
            },
        };
        Some(Layer::new(shared.address.limiter.clone(), shared.config.address?, rules))
    }

    /// Under which limit a request stands, and what it costs.
    fn asked(&self, request: &Request) -> Option<Asked> {
        let principal = request.extensions().get::<Context>()?.principal()?;
        let (class, cost) = class(request);
        // A batch that is refused as a whole has no orders that cost.
        let is_refused = request.extensions().get::<Forbidden>().is_some();
        let cost = cost.max(u32::from(is_refused));
        let rate = self.rate(principal, class)?;
        Some(Asked { principal: principal.clone(), class, rate, cost })
    }
}

/// A request under a limit.
struct Asked {
    principal: Principal,
    class: Class,
    rate: Rate,
    cost: u32,
}

/// Lets a request pass if its principal has not asked too much.
pub(crate) async fn limit(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let Some(Asked { principal, class, rate, cost }) = limits.asked(&request) else {
        return next.run(request).await;
    };
    let (mut answer, left) = match limits.check(&principal, class, rate, cost) {
        Ok(left) => (next.run(request).await, left),
        Err(refused) => {
            (Problem::limited(class.as_str(), refused).into_response(), Some(refused.left))
        }
    };
    if let Some(left) = left {
        told::tell(answer.headers_mut(), class.as_str(), rate, left);
    }
    answer
}

/// What a request counts as, and what it costs.
fn class(request: &Request) -> (Class, u32) {
    let path = request.uri().path();
    let is_live = || api::opens_a_feed(path, request.headers());
    if api::is_batch(path) || path == grpc::BATCH {
        // Each of its orders costs, when it is read.
        (Class::Write, 0)
    } else if path == grpc::WATCH || is_live() {
        (Class::Watch, 1)
    } else if grpc::is_read(path) || matches!(*request.method(), Method::GET | Method::HEAD) {
        (Class::Read, 1)
    } else {
        (Class::Write, 1)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::header;

    use super::*;

    #[track_caller]
    fn is(method: &str, path: &str, accept: &str, expected: (Class, u32)) {
        let request =
            http::Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
        assert_eq!(class(&request.body(Body::empty()).unwrap()), expected, "{method} {path}");
    }

    #[test]
    fn a_request_counts_as_what_its_route_does() {
        for path in ["/v1/orders", "/v1/orders/x", "/v1/orders/x/history", "/v1/events"] {
            is("GET", path, "*/*", (Class::Read, 1));
        }
        is("HEAD", "/v1/orders/x", "", (Class::Read, 1));
        is("GET", "/v1/events", "text/event-stream", (Class::Watch, 1));
        is("GET", "/v1/orders", "text/event-stream", (Class::Read, 1));
        is("POST", "/v1/orders", "", (Class::Write, 1));
        is("POST", "/v1/orders/x/pay", "", (Class::Write, 1));
        is("POST", "/v1/orders/batch", "", (Class::Write, 0));
    }

    #[test]
    fn a_call_counts_as_its_twin_over_http() {
        for (call, expected) in [
            ("GetOrder", (Class::Read, 1)),
            ("ListOrders", (Class::Read, 1)),
            ("ListHistory", (Class::Read, 1)),
            ("WatchEvents", (Class::Watch, 1)),
            ("BatchCreateOrders", (Class::Write, 0)),
            ("CreateOrder", (Class::Write, 1)),
            ("ResolvePayment", (Class::Write, 1)),
        ] {
            is("POST", &format!("/orders.v1.OrderService/{call}"), "", expected);
        }
    }
}
