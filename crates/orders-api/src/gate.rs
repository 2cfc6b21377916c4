//! What every request passes: authentication, and the writing of problems.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{Extensions, HeaderName, StatusCode, Uri, header};
use mainstay::http::{Record, set_principal};
use mainstay_context::{Context, Principal};
use orders::ports::Ports;
use tonic::Status;

use crate::{
    api::Api,
    limits::{RATE_LIMIT, RATE_LIMIT_POLICY},
    problem::{Code, Problem},
};

/// Lets a request in when its key is known, and names its principal in the context.
pub(crate) async fn authenticate<P: Ports>(
    State(api): State<Api<P>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let principal =
        principal(&api, &request).map_err(|detail| Problem::new(Code::Unauthenticated, detail))?;
    set_principal(request.extensions_mut(), principal);
    Ok(next.run(request).await)
}

/// Who asks, or what is wrong with the way it is said; whether an id is known is not told.
fn principal<P>(api: &Api<P>, request: &Request) -> Result<Principal, &'static str> {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or("The request has no Authorization header.")?;
    if values.next().is_some() {
        return Err("The request has more than one Authorization header.");
    }
    let pair = value.to_str().ok().and_then(|value| value.split_once(' '));
    let token = pair.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or("The Authorization header is not `Bearer KEY`.")?;
    api.config.keys.verify(token.trim()).ok_or(
        "The key is not known here. One that was made after the service started is known once it \
         is started again.",
    )
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
