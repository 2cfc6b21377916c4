//! Placing, reading and listing orders.

use ::orders::{
    domain::{self, Draft},
    ports::{Cursor, Page, Ports},
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use mainstay::http::Cx;
use mainstay_context::Context;

use super::{
    Api,
    body::Json,
    headers,
    openapi::{CreateKey, CreateProblems, GetProblems, IfNoneMatch, ListProblems, PreferWait},
    page_token::Tokens,
    params::{CreateParams, ListParams, Params, Target},
    pay,
    replies::{self, Created, Current},
    use_case, wait,
    wire::{
        create::CreateOrder,
        order::{Order, OrderPage},
        priced::PricedOrder,
    },
};
use crate::problem::Problem;

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
    let key = headers::idempotency_key(&headers)?;
    pay::must_have_gateway(&api.config, order.is_paid())?;
    if params.validate_only {
        let placement = api.orders.validate(&cx, draft(order)?)?;
        return Ok(axum::Json(PricedOrder::from(placement)).into_response());
    }
    let key = key.ok_or_else(headers::key_missing)?;
    let done = use_case("create", api.orders.create(&cx, draft(order)?, key)).await?;
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
    let (orders, next_page_token) = page(&api, &cx, params, <[_]>::len).await?;
    let orders = orders.iter().map(Into::into).collect();
    Ok(axum::Json(OrderPage { orders, next_page_token }))
}

/// A page of orders, as many of those that are asked for as fit into the answer, and where the next
/// page starts. At least one fits.
pub(crate) async fn page<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    params: ListParams,
    fit: impl FnOnce(&[domain::Order]) -> usize + Send,
) -> Result<(Vec<domain::Order>, Option<String>), Problem> {
    let (size, filter) = (params.page_size()?, params.filter()?);
    let tenant = cx.principal().map_or("", |principal| &principal.tenant);
    let tokens = Tokens { secret: &api.config.page_secret, tenant, filter: &filter };
    let after = params.page_token.map(|token| tokens.read(&token)).transpose()?;
    // One more than asked for tells whether there is a next page.
    let page = Page { after, limit: size + 1 };
    let mut orders = use_case("list", api.orders.list(cx, &filter, page)).await?;
    let fitting = fit(&orders[..size.min(orders.len())]);
    let last = fitting.checked_sub(1).and_then(|at| orders.get(at));
    let last = last.filter(|_| orders.len() > fitting);
    let next_page_token =
        last.map(|order| tokens.write(Cursor { created_at: order.created_at, id: order.id }));
    orders.truncate(fitting);
    Ok((orders, next_page_token))
}

/// The draft of an order, or everything that is wrong with it.
pub(crate) fn draft(order: CreateOrder) -> Result<Draft, Problem> {
    Draft::try_from(order).map_err(Problem::invalid)
}
