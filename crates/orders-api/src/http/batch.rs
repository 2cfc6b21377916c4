//! Many orders in one request, each placed by itself.

use std::sync::Arc;

use ::orders::{Violation, codec, domain::IdempotencyKey, ports::Ports, usecase::Done};
use axum::{
    extract::{FromRequest as _, Request, State},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt as _, stream};
use mainstay::http::Cx;
use mainstay_context::Context;
use tokio::time::timeout;

use super::{
    body::{self, Json},
    headers,
    item::Item,
    ndjson,
    openapi::{BatchKey, BatchProblems},
};
use crate::{
    api::Api,
    problem::Problem,
    wire::batch::{Batch, BatchAnswer, BatchItem, BatchResult},
};

pub(super) const PATH: &str = "/v1/orders/batch";
/// Orders of one batch that are placed at a time.
pub(super) const IN_FLIGHT: usize = 64;
const MAX_ITEMS: usize = 100;

/// Place many orders
///
/// Each order is placed by itself and answered by itself, in the order of the batch. A JSON body
/// holds up to 100 orders. As `application/x-ndjson` there is one order per line and no limit to
/// their number, and answers stream back while orders stream in; when none comes for 5 seconds the
/// batch ends, with a last line that says so. An order without a key of its own
/// takes one derived from the batch's `Idempotency-Key` and its place, so that the same batch sent
/// again replays.
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
    let run = Run { api, cx, key };
    if body::is_type(request.headers(), ndjson::TYPE) {
        return Ok(ndjson::answer(run, request.into_body()));
    }
    if !body::is_json(request.headers()) {
        return Err(body::unsupported("application/json or application/x-ndjson"));
    }
    // This route streams, so nothing else bounds how long the body may take.
    let read = Json::<Batch>::from_request(request, &run.api);
    let Json(batch) = timeout(run.api.config.step, read).await.map_err(|_| body::too_slow())??;
    let answer = run.whole(batch.orders).await?;
    Ok(axum::Json(answer).into_response())
}

/// One batch under way.
pub(super) struct Run<P> {
    pub(super) api: Api<P>,
    cx: Context,
    key: Option<IdempotencyKey>,
}

impl<P: Ports> Run<P> {
    async fn whole(self, items: Vec<BatchItem>) -> Result<BatchAnswer, Problem> {
        if items.is_empty() || items.len() > MAX_ITEMS {
            return Err(Problem::invalid(vec![Violation {
                pointer: "/orders".to_owned(),
                code: "count",
                detail: format!("must have 1 to {MAX_ITEMS} orders"),
            }]));
        }
        let run = Arc::new(self);
        let place = |(index, item)| Arc::clone(&run).item(index, Ok(item));
        let results = stream::iter((0..).zip(items)).map(place).buffered(IN_FLIGHT).collect().await;
        Ok(BatchAnswer { results })
    }

    /// Places one order, and answers for it alone.
    pub(super) async fn item(
        self: Arc<Self>,
        index: u64,
        item: Result<BatchItem, Problem>,
    ) -> BatchResult {
        let cx = self.api.step(&self.cx);
        let outcome = match item {
            Ok(item) => self.api.in_time(self.place(&cx, index, item)).await,
            Err(problem) => Err(problem),
        };
        BatchResult::new(&cx, index, outcome)
    }

    async fn place(&self, cx: &Context, index: u64, item: BatchItem) -> Result<Done, Problem> {
        let derived = self.key.as_ref().map(|batch| codec::batch_item_key(batch, index));
        let derived = derived
            .transpose()
            .map_err(|error| Problem::unreadable("Idempotency-Key", error.to_string()))?;
        self.api.config.must_have_gateway(item.order.is_paid())?;
        Item(item).place(&self.api.orders, cx, derived).await
    }
}
