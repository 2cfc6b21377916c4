//! What every request passes: being down, authentication, and a code for the log line.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use constant_time_eq::constant_time_eq;
use http::header;
use mainstay::http::{Record, set_principal};
use mainstay_context::Principal;

use super::{
    problem::{Code, Problem},
    ruin::Ruin,
};
use crate::{faults::DownMode, gateway::Gateway};

/// Lets nothing through while the API is down.
pub(super) async fn down(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(mode) = gateway.faults().down_now() else { return next.run(request).await };
    let refused = Problem::new(Code::Unavailable, "The gateway is down.").into_response();
    match mode {
        DownMode::Refuse => refused,
        DownMode::Hang => Ruin::silence(gateway.faults().config().hang).on(refused),
    }
}

/// Lets a request in that carries the secret.
pub(super) async fn authenticate(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !carries(&request, gateway.secret()) {
        let detail = "The request must carry `Authorization: Bearer SECRET` with the secret.";
        return Err(Problem::new(Code::Unauthenticated, detail));
    }
    set_principal(request.extensions_mut(), Principal::new("gateway", "caller"));
    Ok(next.run(request).await)
}

fn carries(request: &Request, secret: &str) -> bool {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let token = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(|value| value.split_once(' ')),
        (None, _) | (Some(_), Some(_)) => None,
    };
    token.is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case("bearer")
            && constant_time_eq(token.trim().as_bytes(), secret.as_bytes())
    })
}

/// Tells the log line the code of a problem.
pub(super) async fn tell_code(request: Request, next: Next) -> Response {
    let record = request.extensions().get::<Record>().cloned();
    let response = next.run(request).await;
    if let (Some(record), Some(code)) = (record, response.extensions().get::<Code>()) {
        record.set_code(code.as_str());
    }
    response
}

/// The answer where there is no route.
pub(super) async fn no_such_route() -> Problem {
    Problem::new(Code::NotFound, "There is nothing at this address.")
}

/// The answer where the route has no such method; axum adds `Allow`.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, "This address does not take this method.")
}
