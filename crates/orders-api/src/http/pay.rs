//! Verbs that move money. Each is one commit that answers at once; a worker settles it.

use ::orders::{
    ports::{OrderRef, Ports},
    usecase::{Action, Part},
};
use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use mainstay::http::Cx;
use mainstay_context::Context;

use super::{
    Api, Config,
    body::{Json, OptionalJson},
    headers,
    openapi::{
        MoneyParams, MoneyProblems, MoneyReplies, PreferWait, RecordProblems, RefundProblems,
        ResolveProblems, VerbReplies,
    },
    params::Target,
    replies::Changed,
    verbs::act,
    wait,
    wire::payment::{BackMoney, Pay, Resolve, SomeMoney, TakenElsewhere},
};
use crate::problem::{Code, Problem};

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
    Target(order): Target,
    headers: HeaderMap,
    Json(pay): Json<Pay>,
) -> Result<Response, Problem> {
    let action = Action::try_from(pay).map_err(Problem::invalid)?;
    accept(&api, &cx, order, action, &headers).await
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
    Target(order): Target,
    headers: HeaderMap,
    OptionalJson(some): OptionalJson<SomeMoney>,
) -> Result<Response, Problem> {
    let part = Part::try_from(some).map_err(Problem::invalid)?;
    accept(&api, &cx, order, Action::Capture(part), &headers).await
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
    Target(order): Target,
    headers: HeaderMap,
    OptionalJson(back): OptionalJson<BackMoney>,
) -> Result<Response, Problem> {
    let part = Part::try_from(back).map_err(Problem::invalid)?;
    accept(&api, &cx, order, Action::Refund(part), &headers).await
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
    Target(order): Target,
    headers: HeaderMap,
    Json(taken): Json<TakenElsewhere>,
) -> Result<Changed, Problem> {
    headers::idempotency_key(&headers)?.ok_or_else(headers::key_missing)?;
    let action = Action::try_from(taken).map_err(Problem::invalid)?;
    act(&api, &cx, order, action, &headers).await
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
    Target(order): Target,
    headers: HeaderMap,
    Json(resolve): Json<Resolve>,
) -> Result<Changed, Problem> {
    headers::idempotency_key(&headers)?.ok_or_else(headers::key_missing)?;
    let action = Action::try_from(resolve).map_err(Problem::invalid)?;
    act(&api, &cx, order, action, &headers).await
}

/// Refuses what needs a gateway where there is none.
pub(crate) fn must_have_gateway(config: &Config, needed: bool) -> Result<(), Problem> {
    if needed && !config.payments {
        return Err(Problem::new(Code::NoGateway, "This service has no payment gateway."));
    }
    Ok(())
}

/// Accepts a verb whose outcome the provider decides: 202, also when it is a replay.
async fn accept<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    order: OrderRef,
    action: Action,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    headers::idempotency_key(headers)?.ok_or_else(headers::key_missing)?;
    // What was taken elsewhere is given back without one.
    must_have_gateway(&api.config, !matches!(action, Action::Refund(_)))?;
    let Changed(done) = act(api, cx, order, action, headers).await?;
    let accepted = |done| (StatusCode::ACCEPTED, Changed(done));
    Ok(wait::answer(api, cx, headers, done, accepted).await)
}
