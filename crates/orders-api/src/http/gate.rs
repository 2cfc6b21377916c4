//! What every request passes: authentication, and the writing of problems.

use ::orders::ports::Ports;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{StatusCode, header};
use mainstay::http::{Record, set_principal};
use mainstay_context::{Context, Principal};

use super::Api;
use crate::problem::{Code, Problem};

/// Lets a request in when its key is known, and names its principal in the context.
pub(super) async fn authenticate<P: Ports>(
    State(api): State<Api<P>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let principal = principal(&api, &request).ok_or_else(|| {
        Problem::new(Code::Unauthenticated, "The request carries no key that is known here.")
    })?;
    set_principal(request.extensions_mut(), principal);
    Ok(next.run(request).await)
}

fn principal<P>(api: &Api<P>, request: &Request) -> Option<Principal> {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    let bearer = scheme.eq_ignore_ascii_case("bearer") && values.next().is_none();
    bearer.then(|| api.config.keys.verify(token.trim()))?
}

/// Writes the body of a problem, where the request's ids are known, and tells of it once.
pub(super) async fn write_problems(request: Request, next: Next) -> Response {
    let cx = request.extensions().get::<Context>().cloned();
    let record = request.extensions().get::<Record>().cloned();
    let mut response = next.run(request).await;
    let (Some(problem), Some(cx)) = (response.extensions_mut().remove::<Problem>(), cx) else {
        return response;
    };
    problem.log();
    if let Some(record) = record {
        record.set_code(problem.code.as_str());
    }
    let mut answer = problem.answer(&cx);
    answer
        .headers_mut()
        .extend(response.headers_mut().remove(header::ALLOW).map(|allow| (header::ALLOW, allow)));
    answer
}

/// The answer where there is no route.
pub(super) async fn no_such_route() -> Problem {
    nothing_here()
}

/// The problem of an address that names nothing.
pub(super) fn nothing_here() -> Problem {
    Problem::new(Code::NotFound, "There is nothing at this address.")
}

/// The answer where the route has no such method; axum adds `Allow`.
pub(super) async fn method_not_allowed() -> (StatusCode, Problem) {
    let problem = Problem::new(Code::MethodNotAllowed, "This address does not take this method.");
    (StatusCode::METHOD_NOT_ALLOWED, problem)
}
