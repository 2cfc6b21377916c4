//! Commands on an order that exists.

use ::orders::{
    Error,
    domain::{NoteText, Version},
    ports::{OrderRef, Ports},
    usecase::{Action, Done, Verb},
};
use axum::{extract::State, response::Response};
use http::HeaderMap;
use mainstay::http::Cx;
use mainstay_context::Context;
use tokio::time::timeout_at;

use super::{
    Api,
    body::{Json, OptionalJson},
    headers::{self, IfMatch},
    openapi::{
        CancelReplies, ConfirmProblems, FulfillProblems, MoneyParams, NoteProblems, PiecesProblems,
        PreferWait, ReturnProblems, VerbParams, VerbReplies,
    },
    out_of_time,
    params::Target,
    replies::Changed,
    use_case, wait,
    wire::verb::{AddNote, Because, SomePieces},
};
use crate::problem::Problem;

/// Confirm an order
///
/// It will be fulfilled. An order whose payment was asked for is confirmed by that, and this is
/// refused while it is under way.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/confirm",
    operation_id = "confirmOrder",
    tag = "verbs",
    params(VerbParams),
    request_body = Option<Because>,
    responses(VerbReplies, ConfirmProblems)
)]
pub(super) async fn confirm<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    Target(order): Target,
    headers: HeaderMap,
    OptionalJson(because): OptionalJson<Because>,
) -> Result<Changed, Problem> {
    let reason = because.reason().map_err(Problem::invalid)?;
    act(&api, &cx, order, Action::Confirm { reason }, &headers).await
}

/// Cancel an order, or pieces of it
///
/// While money is out the order is only `CANCELLING`: what is held is let go of and what was taken
/// goes back. Of pieces that are called off what was taken for them goes back; to name them asks for
/// an `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/cancel",
    operation_id = "cancelOrder",
    tag = "verbs",
    params(VerbParams, PreferWait),
    request_body = Option<SomePieces>,
    responses(CancelReplies, PiecesProblems)
)]
pub(super) async fn cancel<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    Target(order): Target,
    headers: HeaderMap,
    OptionalJson(some): OptionalJson<SomePieces>,
) -> Result<Response, Problem> {
    // Sent again without a key, it would call off more of them.
    if some.names_some() {
        headers::idempotency_key(&headers)?.ok_or_else(headers::key_missing)?;
    }
    let (lines, reason) = some.read().map_err(Problem::invalid)?;
    let action = Action::Cancel { lines, reason };
    let Changed(done) = act(&api, &cx, order, action, &headers).await?;
    Ok(wait::answer(&api, &cx, &headers, done, Changed).await)
}

/// Note that pieces were handed over
///
/// Takes what they come to of the money that is held; shipping comes with the first of them. The
/// order is `COMPLETED` once every piece is handed over or cancelled and the money is taken.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/fulfillments",
    operation_id = "createFulfillment",
    tag = "verbs",
    params(MoneyParams, PreferWait),
    request_body = Option<SomePieces>,
    responses(CancelReplies, FulfillProblems)
)]
pub(super) async fn fulfill<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    Target(order): Target,
    headers: HeaderMap,
    OptionalJson(some): OptionalJson<SomePieces>,
) -> Result<Response, Problem> {
    headers::idempotency_key(&headers)?.ok_or_else(headers::key_missing)?;
    let (lines, reason) = some.read().map_err(Problem::invalid)?;
    let action = Action::Fulfill { lines, reason };
    let Changed(done) = act(&api, &cx, order, action, &headers).await?;
    Ok(wait::answer(&api, &cx, &headers, done, Changed).await)
}

/// Note that pieces came back
///
/// Moves no money: `refund` does, also by line.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/return",
    operation_id = "returnOrder",
    tag = "verbs",
    params(MoneyParams),
    request_body = Option<SomePieces>,
    responses(VerbReplies, ReturnProblems)
)]
pub(super) async fn take_back<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    Target(order): Target,
    headers: HeaderMap,
    OptionalJson(some): OptionalJson<SomePieces>,
) -> Result<Changed, Problem> {
    headers::idempotency_key(&headers)?.ok_or_else(headers::key_missing)?;
    let (lines, reason) = some.read().map_err(Problem::invalid)?;
    act(&api, &cx, order, Action::Return { lines, reason }, &headers).await
}

/// Add a note to an order
///
/// A remark for people, shown with the order; no event carries its text.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/notes",
    operation_id = "addNote",
    tag = "verbs",
    params(VerbParams),
    request_body = AddNote,
    responses(VerbReplies, NoteProblems)
)]
pub(super) async fn add_note<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    Target(order): Target,
    headers: HeaderMap,
    Json(note): Json<AddNote>,
) -> Result<Changed, Problem> {
    let text = NoteText::try_from(note).map_err(Problem::invalid)?;
    act(&api, &cx, order, Action::AddNote { text }, &headers).await
}

pub(super) async fn act<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    order: OrderRef,
    action: Action,
    headers: &HeaderMap,
) -> Result<Changed, Problem> {
    let key = headers::idempotency_key(headers)?;
    let if_match = headers::if_match(headers)?;
    change(api, cx, Verb { order, action, key, if_match: None }, if_match).await.map(Changed)
}

/// Carries a verb out in the time there is for it, on whichever version the condition allows.
pub(crate) async fn change<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    verb: Verb,
    if_match: IfMatch,
) -> Result<Done, Problem> {
    let keyed = verb.key.is_some();
    let work = carry_out(api, cx, verb, if_match);
    // The chassis watches the deadline too, and does not know whether there is a key.
    let done = match cx.deadline() {
        Some(at) => timeout_at(at.into(), work).await.unwrap_or_else(|_| Err(out_of_time())),
        None => work.await,
    };
    done.map_err(|problem| if keyed { problem } else { problem.unkeyed() })
}

async fn carry_out<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    mut verb: Verb,
    if_match: IfMatch,
) -> Result<Done, Problem> {
    let versions = match if_match {
        IfMatch::Any => return Ok(use_case("act", api.orders.act(cx, verb)).await?),
        IfMatch::OneOf(versions) => versions,
    };
    // No order comes to the last version there is, so that stands for none.
    verb.if_match = versions.first().copied().or_else(|| Version::new(u64::MAX));
    loop {
        match use_case("act", api.orders.act(cx, verb.clone())).await {
            // The list may hold the version that it is at. Versions only grow, so this ends.
            Err(Error::VersionMismatch { current })
                if verb.if_match != Some(current) && versions.contains(&current) =>
            {
                verb.if_match = Some(current);
            }
            done => return Ok(done?),
        }
    }
}
