//! What every request passes: authentication, authorisation, and the writing of problems.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{Extensions, HeaderName, StatusCode, Uri, header};
use mainstay::http::{Record, set_principal};
use mainstay_context::Context;
use orders::ports::{Clock as _, Ports};
use tonic::Status;

use crate::{
    api::Api,
    auth,
    limits::{RATE_LIMIT, RATE_LIMIT_POLICY},
    problem::{Code, Problem},
};

/// Lets a request in when it is known who makes it, and names them in the context. Whether they may is
/// judged as well, and answered by [`authorize`], behind the limit: whoever may not must not be free to
/// ask without end.
///
/// Both stand before the handlers, so that a replay is authorised as its first try was; and before what
/// answers a method that an address does not have, which is one of the things nobody may do.
pub(crate) async fn authenticate<P: Ports>(
    State(api): State<Api<P>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut head, body) = request.into_parts();
    let known = &api.config.auth;
    let (kind, found) = known.identify(&head, api.orders.ports().clock().now()).await;
    let judged = found.map(|principal| {
        // Before it is judged, so that the log tells who was refused.
        set_principal(&mut head.extensions, principal.clone());
        auth::authorize(&principal, &head)
    });
    known.count(kind, judged.as_ref().map_or_else(Some, |may| may.as_ref().err()));
    if let Err(problem) = judged? {
        head.extensions.insert(Forbidden(problem));
    }
    Ok(next.run(Request::from_parts(head, body)).await)
}

/// What stands in the way of a request whose principal is known: in its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Forbidden(Problem);

/// Refuses what whoever asks may not do.
pub(crate) async fn authorize(mut request: Request, next: Next) -> Result<Response, Problem> {
    match request.extensions_mut().remove::<Forbidden>() {
        Some(Forbidden(problem)) => Err(problem),
        None => Ok(next.run(request).await),
    }
}

/// Writes the body of a problem, where the request's ids are known, and tells of it once.
pub(crate) async fn write_problems(request: Request, next: Next) -> Response {
    let cx = request.extensions().get::<Context>().cloned();
    let record = request.extensions().get::<Record>().cloned();
    let mut response = next.run(request).await;
    let (Some(problem), Some(cx)) = (told(response.extensions_mut()), cx) else {
        return response;
    };
    problem.log();
    if let Some(record) = record {
        record.set_code(problem.code.as_str());
    }
    let mut answer = problem.answer(&cx);
    for name in KEPT {
        let value = response.headers_mut().remove(&name);
        answer.headers_mut().extend(value.map(|value| (name, value)));
    }
    answer
}

/// What is said beside a problem and stays said.
const KEPT: [HeaderName; 3] = [header::ALLOW, RATE_LIMIT, RATE_LIMIT_POLICY];

/// What a handler's answer says went wrong: a problem, or the status of a gRPC call.
fn told(answer: &mut Extensions) -> Option<Problem> {
    let problem = answer.remove::<Problem>();
    problem.or_else(|| answer.remove::<Status>().as_ref().map(Problem::of))
}

/// The answer where there is no route.
pub(crate) async fn no_such_route(uri: Uri) -> Problem {
    match uri.path() {
        "/livez" | "/readyz" | "/startupz" | "/metrics" | "/status" => Problem::no_address(
            "Health, metrics and status are on the admin listener (admin.listen), not here.",
        ),
        _ => nothing_here(),
    }
}

/// The problem of an address that names nothing.
pub(crate) fn nothing_here() -> Problem {
    Problem::no_address("There is nothing at this address.")
}

/// The answer where the route has no such method; axum adds `Allow`.
pub(crate) async fn method_not_allowed() -> (StatusCode, Problem) {
    let problem = Problem::new(Code::MethodNotAllowed, "This address does not take this method.");
    (StatusCode::METHOD_NOT_ALLOWED, problem)
}
