//! What was done to an order.

use ::orders::ports::Ports;
use axum::{Json, extract::State};
use mainstay::http::Cx;

use super::{
    openapi::HistoryProblems,
    params::{HistoryParams, Params, Target},
};
use crate::{api::Api, history::Asked, problem::Problem, wire::history::History};

/// Read the history of an order
///
/// Everything that was done to it, oldest first: one entry per version.
#[utoipa::path(
    get,
    path = "/v1/orders/{id}/history",
    operation_id = "listHistory",
    tag = "orders",
    params(
        ("id" = String, Path, description = "The order's id or number.", min_length = 1),
        HistoryParams,
    ),
    responses(
        (status = 200, description = "A page of the history.", body = History),
        HistoryProblems,
    )
)]
pub(super) async fn history<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    Target(order): Target,
    Params(params): Params<HistoryParams>,
) -> Result<Json<History>, Problem> {
    let HistoryParams { page_size, page_token } = params;
    let asked = Asked { order, page_size, page_token };
    let (entries, next_page_token) = asked.page(&api, &cx).await?;
    Ok(Json(History { entries: entries.into_iter().map(Into::into).collect(), next_page_token }))
}
