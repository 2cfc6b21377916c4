//! Verbs that move money. Each is one commit that answers at once; a worker settles it.

use ::orders::{
    ports::Ports,
    usecase::{Action, Done, Part},
};
use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use mainstay::http::Cx;

use super::{
    body::{Json, OptionalJson},
    openapi::{
        MoneyParams, MoneyProblems, MoneyReplies, PreferWait, RecordProblems, RefundProblems,
        ResolveProblems, VerbReplies,
    },
    replies::Changed,
    wait,
};
use crate::{
    api::Api,
    change::Change,
    problem::Problem,
    wire::payment::{BackMoney, Pay, Resolve, SomeMoney, TakenElsewhere},
};

/// Pay for an order
///
/// Asks the provider to hold the money. The answer says that this was accepted; what becomes of it
/// is in `payments` and `payment_state`, and in the feed. A declined payment leaves the order
/// `PENDING`: pay again with another instrument.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/pay",
    operation_id = "payOrder",
    tag = "money",
    params(MoneyParams, PreferWait),
    request_body = Pay,
    responses(MoneyReplies, MoneyProblems)
)]
pub(super) async fn pay<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    change: Change,
    headers: HeaderMap,
    Json(pay): Json<Pay>,
) -> Result<Response, Problem> {
    let done = change.carry_out(&api, &cx, Action::try_from(pay)).await?;
    Ok(wait::answer(&api, &cx, &headers, done, accepted).await)
}

/// Take money that is held
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/capture",
    operation_id = "captureOrder",
    tag = "money",
    params(MoneyParams, PreferWait),
    request_body = Option<SomeMoney>,
    responses(MoneyReplies, MoneyProblems)
)]
pub(super) async fn capture<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    change: Change,
    headers: HeaderMap,
    OptionalJson(some): OptionalJson<SomeMoney>,
) -> Result<Response, Problem> {
    let done = change.carry_out(&api, &cx, Part::try_from(some).map(Action::Capture)).await?;
    Ok(wait::answer(&api, &cx, &headers, done, accepted).await)
}

/// Give back money that was taken
///
/// By amount, or by line for pieces that were handed over; pieces that were not are cancelled, and
/// their money goes back by that. Of a payment that was made elsewhere the refund is `PARKED` until
/// somebody has handed the money back and says so with `resolve`.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/refund",
    operation_id = "refundOrder",
    tag = "money",
    params(MoneyParams, PreferWait),
    request_body = Option<BackMoney>,
    responses(MoneyReplies, RefundProblems)
)]
pub(super) async fn refund<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    change: Change,
    headers: HeaderMap,
    OptionalJson(back): OptionalJson<BackMoney>,
) -> Result<Response, Problem> {
    let done = change.carry_out(&api, &cx, Part::try_from(back).map(Action::Refund)).await?;
    Ok(wait::answer(&api, &cx, &headers, done, accepted).await)
}

/// Record a payment that was made elsewhere
///
/// Such as a bank transfer or cash. The order is confirmed when nothing is due any more.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/payments",
    operation_id = "recordPayment",
    tag = "money",
    params(MoneyParams),
    request_body = TakenElsewhere,
    responses(VerbReplies, RecordProblems)
)]
pub(super) async fn record<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    change: Change,
    Json(taken): Json<TakenElsewhere>,
) -> Result<Changed, Problem> {
    change.carry_out(&api, &cx, Action::try_from(taken)).await.map(Changed)
}

/// Settle an operation that waits for a person
///
/// For operators: an operation is `PARKED` when it could not be found out what became of it. Look at
/// the provider, then say it here; who said it and why stands in the order's history. What follows
/// is as if the provider had told it.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/resolve",
    operation_id = "resolvePayment",
    tag = "money",
    params(MoneyParams),
    request_body = Resolve,
    responses(VerbReplies, ResolveProblems)
)]
pub(super) async fn resolve<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    change: Change,
    Json(resolve): Json<Resolve>,
) -> Result<Changed, Problem> {
    change.carry_out(&api, &cx, Action::try_from(resolve)).await.map(Changed)
}

/// The answer to a verb whose outcome the provider decides: 202, also when it is a replay.
fn accepted(done: Done) -> (StatusCode, Changed) {
    (StatusCode::ACCEPTED, Changed(done))
}
