//! Many orders in one request, each placed by itself.

use std::time::Duration;

use ::orders::{Violation, domain::IdempotencyKey, ports::Ports};
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mainstay::http::Cx;
use mainstay_context::Context;
use tokio::time::{Instant, timeout_at};

use super::{
    body, headers, ndjson,
    openapi::{BatchKey, BatchProblems},
};
use crate::{
    api::Api,
    batch::{self, Asked},
    body::too_slow,
    problem::Problem,
    wire::batch::{Batch, BatchAnswer, BatchItem, BatchResult},
};

pub(super) const PATH: &str = "/v1/orders/batch";
const MAX_ITEMS: usize = 100;

/// From this size on, in bytes, it takes so long to read a batch that it is done on another thread.
const LARGE: usize = 64 * 1024;

/// Place many orders
///
/// Each order is placed by itself and answered by itself, in the order of the batch. A JSON body
/// holds up to 100 orders. As `application/x-ndjson` there is one order per line and no limit to
/// their number, and answers stream back while orders stream in. An order without a key of its own
/// takes one derived from the batch's `Idempotency-Key` and its place, so that the same batch sent
/// again replays. When no order comes for 5 seconds, when the body breaks off, when the time of
/// `x-request-timeout-ms` is over, and when the service stops, the batch ends with a line that says
/// so and has no `index`: what was answered stands.
#[utoipa::path(
    post,
    path = PATH,
    operation_id = "createOrders",
    tag = "orders",
    params(BatchKey),
    request_body(content(
        (Batch = "application/json"),
        (BatchItem = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "One answer per order.", content(
            (BatchAnswer = "application/json"),
            (BatchResult = "application/x-ndjson"),
        )),
        BatchProblems,
    )
)]
pub(super) async fn create_batch<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    request: Request,
) -> Result<Response, Problem> {
    let key = headers::idempotency_key(request.headers())?;
    if body::is_type(request.headers(), ndjson::TYPE) {
        return Ok(ndjson::answer((api, cx), key, request));
    }
    if !body::is_json(request.headers()) {
        return Err(body::unsupported("application/json or application/x-ndjson"));
    }
    // This route streams, so nothing else bounds how long the body may take.
    let by = Instant::now() + api.config.step;
    let body = body::collect(request.into_body(), api.config.body_limit);
    let body = timeout_at(by, body).await.map_err(|_| too_slow())??;
    let items = match read(&api, &cx, body, by).await.and_then(items) {
        Ok(items) => items,
        Err(problem) => return Err(counted(&api, &cx, problem).await),
    };
    let answer = whole((api, cx), key, items).await?;
    Ok(axum::Json(answer).into_response())
}

async fn read<P>(api: &Api<P>, cx: &Context, json: Bytes, by: Instant) -> Result<Batch, Problem> {
    match &api.config.pool {
        Some(pool) if json.len() >= LARGE => {
            let owner = cx.principal().map(|principal| &principal.tenant);
            let read = pool.submit_by(owner, by.into_std(), move || body::read(&json)).await;
            let after = || api.config.admission.retry_after(Duration::ZERO);
            read.map_err(|error| Problem::unpooled(error, after()))?
        }
        Some(_) | None => body::read(&json),
    }
}

/// The orders of a batch, if they are as many as it may have.
fn items(Batch { orders }: Batch) -> Result<Vec<BatchItem>, Problem> {
    if orders.is_empty() || orders.len() > MAX_ITEMS {
        return Err(Problem::invalid(vec![Violation {
            pointer: "/orders".to_owned(),
            code: "count",
            detail: format!("must have 1 to {MAX_ITEMS} orders"),
        }]));
    }
    Ok(orders)
}

/// The problem of a batch of which no order is placed. It counts as one order itself, or else it could be
/// sent without any limit.
async fn counted<P: Ports>(api: &Api<P>, cx: &Context, problem: Problem) -> Problem {
    if !problem.code.status().is_client_error() {
        return problem;
    }
    api.config.limits.wait(&api.step(cx)).await.err().unwrap_or(problem)
}

async fn whole<P: Ports>(
    (api, cx): (Api<P>, Context),
    key: Option<IdempotencyKey>,
    items: Vec<BatchItem>,
) -> Result<BatchAnswer, Problem> {
    let asked = move |item: BatchItem| Ok(Ok(Asked { item, batch: key.clone() }));
    let orders = stream::iter(items).map(asked);
    let results = batch::place(api, cx, orders).map_ok(BatchResult::from).try_collect().await?;
    Ok(BatchAnswer { results })
}
