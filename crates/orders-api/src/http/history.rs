//! What was done to an order.

use ::orders::ports::Ports;
use axum::{Json, extract::State};
use mainstay::http::Cx;

use super::{Api, openapi::GetProblems, params::Target, use_case, wire::history::History};
use crate::problem::Problem;

/// Read the history of an order
///
/// Everything that was done to it, oldest first: one entry per version.
#[utoipa::path(
    get,
    path = "/v1/orders/{id}/history",
    operation_id = "listHistory",
    tag = "orders",
    params(("id" = String, Path, description = "The order's id or number.", min_length = 1)),
    responses(
        (status = 200, description = "The history.", body = History),
        GetProblems,
    )
)]
pub(super) async fn history<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    Target(order): Target,
) -> Result<Json<History>, Problem> {
    let entries = use_case("history", api.orders.history(&cx, order)).await?;
    Ok(Json(History { entries: entries.into_iter().map(Into::into).collect() }))
}
