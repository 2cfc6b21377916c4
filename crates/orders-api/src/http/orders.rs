//! Placing, reading and listing orders.

use ::orders::{Error, ports::Ports};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use mainstay::http::Cx;

use super::{
    body::Json,
    headers,
    openapi::{CreateKey, CreateProblems, GetProblems, IfNoneMatch, ListProblems, PreferWait},
    params::{CreateParams, ListParams, Params, Target},
    replies::{self, Created, Current},
    wait,
};
use crate::{
    api::{Api, use_case},
    listing::Listing,
    placing::Placing,
    problem::Problem,
    wire::{
        create::CreateOrder,
        order::{Order, OrderPage},
        priced::PricedOrder,
    },
};

/// Place an order
///
/// The same `Idempotency-Key` again answers with the same order. With `payment` it is paid for in the
/// same step, as by `pay`. With `validate_only=true` the
/// order is checked and priced, nothing is stored, and no key is needed.
#[utoipa::path(
    post,
    path = "/v1/orders",
    operation_id = "createOrder",
    tag = "orders",
    params(
        CreateParams,
        CreateKey,
        PreferWait,
    ),
    request_body = CreateOrder,
    responses(
        (status = 201, description = "The order was placed.", body = Order, headers(
            ("Location" = String, description = "Where the order is."),
            ("ETag" = String, description = "The version of the order."),
            ("Idempotent-Replayed" = String, description = "`true` when it was placed in an earlier try."),
            ("Preference-Applied" = String, description = "The `wait` of `Prefer`, when it was followed."),
        )),
        (status = 200, description = "With `validate_only=true`: the order, priced.", body = PricedOrder),
        CreateProblems,
    )
)]
pub(super) async fn create<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    Params(params): Params<CreateParams>,
    headers: HeaderMap,
    Json(order): Json<CreateOrder>,
) -> Result<Response, Problem> {
    let placing = Placing { order, key: headers::idempotency_key(&headers) };
    if params.validate_only {
        let placement = placing.check(&api, &cx)?;
        return Ok(axum::Json(PricedOrder::from(placement)).into_response());
    }
    let done = placing.place(&api, &cx).await?;
    Ok(wait::answer(&api, &cx, &headers, done, Created).await)
}

/// Read an order
///
/// By its id or its number.
#[utoipa::path(
    get,
    path = "/v1/orders/{id}",
    operation_id = "getOrder",
    tag = "orders",
    params(
        ("id" = String, Path, description = "The order's id or number.", min_length = 1),
        IfNoneMatch,
    ),
    responses(
        (status = 200, description = "The order.", body = Order, headers(
            ("ETag" = String, description = "The version of the order."),
        )),
        (status = 304, description = "The order is still at this version.", headers(
            ("ETag" = String, description = "The version of the order."),
        )),
        GetProblems,
    )
)]
pub(super) async fn get<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    Target(order): Target,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order = order.ok_or(Error::NotFound)?;
    let record = use_case("get", api.orders.get(&cx, order)).await?;
    if headers::none_match(&headers, record.order.version) {
        return Ok((StatusCode::NOT_MODIFIED, replies::tag(&record)).into_response());
    }
    Ok(Current(record).into_response())
}

/// List orders
///
/// Newest first. A page token is good only with the filters it was given out for.
#[utoipa::path(
    get,
    path = "/v1/orders",
    operation_id = "listOrders",
    tag = "orders",
    params(ListParams),
    responses(
        (status = 200, description = "A page of orders.", body = OrderPage),
        ListProblems,
    )
)]
pub(super) async fn list<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<OrderPage>, Problem> {
    let (orders, next_page_token) = Listing::from(params).page(&api, &cx, <[_]>::len).await?;
    let orders = orders.iter().map(Into::into).collect();
    Ok(axum::Json(OrderPage { orders, next_page_token }))
}
