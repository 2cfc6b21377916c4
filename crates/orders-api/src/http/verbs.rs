//! Commands on an order that exists.

use ::orders::{domain::NoteText, ports::Ports, usecase::Action};
use axum::{extract::State, response::Response};
use http::HeaderMap;
use mainstay::http::Cx;

use super::{
    body::{Json, OptionalJson},
    openapi::{
        CancelReplies, ConfirmProblems, FulfillProblems, MoneyParams, NoteProblems, PiecesProblems,
        PreferWait, ReturnProblems, UnkeyedProblems, VerbParams, VerbReplies,
    },
    replies::Changed,
    wait,
};
use crate::{
    api::Api,
    change::Change,
    problem::Problem,
    wire::verb::{AddNote, Because, SomePieces},
};

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
    responses(VerbReplies, ConfirmProblems, UnkeyedProblems)
)]
pub(super) async fn confirm<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    change: Change,
    OptionalJson(because): OptionalJson<Because>,
) -> Result<Changed, Problem> {
    let action = because.reason().map(|reason| Action::Confirm { reason });
    change.carry_out(&api, &cx, action).await.map(Changed)
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
    responses(CancelReplies, PiecesProblems, UnkeyedProblems)
)]
pub(super) async fn cancel<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    change: Change,
    headers: HeaderMap,
    OptionalJson(some): OptionalJson<SomePieces>,
) -> Result<Response, Problem> {
    let action = some.read().map(|(lines, reason)| Action::Cancel { lines, reason });
    let done = change.carry_out(&api, &cx, action).await?;
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
    change: Change,
    headers: HeaderMap,
    OptionalJson(some): OptionalJson<SomePieces>,
) -> Result<Response, Problem> {
    let action = some.read().map(|(lines, reason)| Action::Fulfill { lines, reason });
    let done = change.carry_out(&api, &cx, action).await?;
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
    change: Change,
    OptionalJson(some): OptionalJson<SomePieces>,
) -> Result<Changed, Problem> {
    let action = some.read().map(|(lines, reason)| Action::Return { lines, reason });
    change.carry_out(&api, &cx, action).await.map(Changed)
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
    responses(VerbReplies, NoteProblems, UnkeyedProblems)
)]
pub(super) async fn add_note<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    change: Change,
    Json(note): Json<AddNote>,
) -> Result<Changed, Problem> {
    let action = NoteText::try_from(note).map(|text| Action::AddNote { text });
    change.carry_out(&api, &cx, action).await.map(Changed)
}
