//! The calls: each reads what is asked, calls one use case, and tells what came of it. Of one fault
//! both protocols say the same; of two in one request each may name another first.

use std::time::Duration;

use mainstay_context::Context;
use orders::{
    domain::NoteText,
    ports::Ports,
    usecase::{Action, Done, Part, Verb},
};
use prost::Message as _;

use super::{
    LARGEST_OUT,
    asked::{self, Target},
    pb,
};
use crate::{
    http::{
        Api, headers, orders as listing, pay, use_case, verbs, wait,
        wire::{
            create::CreateOrder,
            payment::{BackMoney, Pay, Resolve, SomeMoney, TakenElsewhere},
            verb::{AddNote, Because},
        },
    },
    problem::Problem,
};

/// What of an answer is left for its orders when the rest has its place.
const ROOM: usize = LARGEST_OUT - 4096;
/// What an order takes in a list beside itself: a tag and a length.
const FRAME: usize = 6;

/// Where the order of a create stands in its message.
const ORDER: &str = "/order";

pub(super) async fn create_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::CreateOrderRequest,
) -> Result<pb::CreateOrderResponse, Problem> {
    let key = asked::key(&asked.idempotency_key)?;
    let order = asked.order.ok_or_else(|| asked::wrong("order", "must be there"))?;
    let order = CreateOrder::from(order);
    pay::must_have_gateway(&api.config, order.is_paid())?;
    let draft = |order| listing::draft(order).map_err(|problem| problem.under(ORDER));
    if asked.validate_only {
        let placement = api.orders.validate(cx, draft(order)?);
        let placement = placement.map_err(|error| Problem::from(error).under(ORDER))?;
        let priced_order = Some((&placement).into());
        return Ok(pb::CreateOrderResponse { order: None, replayed: false, priced_order });
    }
    let key = key.ok_or_else(headers::key_missing)?;
    let placed = use_case("create", api.orders.create(cx, draft(order)?, key)).await;
    let done = placed.map_err(|error| Problem::from(error).under(ORDER))?;
    let Done { record, replayed } = held(api, cx, done, asked.wait_seconds).await;
    let order = Some(record.into());
    Ok(pb::CreateOrderResponse { order, replayed, priced_order: None })
}

pub(super) async fn get_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::GetOrderRequest,
) -> Result<pb::GetOrderResponse, Problem> {
    let order = asked::reference(&asked.order_id)?;
    let record = use_case("get", api.orders.get(cx, order)).await?;
    Ok(pb::GetOrderResponse { order: Some(record.into()) })
}

pub(super) async fn list_orders<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::ListOrdersRequest,
) -> Result<pb::ListOrdersResponse, Problem> {
    let mut orders = Vec::new();
    let fit = |found: &[orders::domain::Order]| {
        let mut room = ROOM;
        for order in found.iter().map(pb::Order::from) {
            let rest = room.checked_sub(order.encoded_len() + FRAME);
            if rest.is_none() && !orders.is_empty() {
                break;
            }
            room = rest.unwrap_or(0);
            orders.push(order);
        }
        orders.len()
    };
    let (_, next) = listing::page(api, cx, asked::list(asked)?, fit).await?;
    Ok(pb::ListOrdersResponse { orders, next_page_token: next.unwrap_or_default() })
}

pub(super) async fn list_history<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::ListHistoryRequest,
) -> Result<pb::ListHistoryResponse, Problem> {
    let order = asked::reference(&asked.order_id)?;
    let entries = use_case("history", api.orders.history(cx, order)).await?;
    Ok(pb::ListHistoryResponse { entries: entries.into_iter().map(Into::into).collect() })
}

pub(super) async fn confirm_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::ConfirmOrderRequest,
) -> Result<pb::ConfirmOrderResponse, Problem> {
    let target = Target::read(&asked.order_id, &asked.idempotency_key, &asked.etag)?;
    let because = Because { reason: asked.reason };
    let reason = because.reason().map_err(Problem::invalid)?;
    Ok(act(api, cx, target, Action::Confirm { reason }).await?.into())
}

pub(super) async fn cancel_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::CancelOrderRequest,
) -> Result<pb::CancelOrderResponse, Problem> {
    let mut target = Target::read(&asked.order_id, &asked.idempotency_key, &asked.etag)?;
    // Sent again without a key, it would call off more of them.
    if asked.lines.is_some() {
        target = target.keyed()?;
    }
    let (lines, reason) = asked::pieces(asked.lines, asked.reason)?;
    let done = act(api, cx, target, Action::Cancel { lines, reason }).await?;
    Ok(held(api, cx, done, asked.wait_seconds).await.into())
}

pub(super) async fn create_fulfillment<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::CreateFulfillmentRequest,
) -> Result<pb::CreateFulfillmentResponse, Problem> {
    let target = Target::read(&asked.order_id, &asked.idempotency_key, &asked.etag)?.keyed()?;
    let (lines, reason) = asked::pieces(asked.lines, asked.reason)?;
    let done = act(api, cx, target, Action::Fulfill { lines, reason }).await?;
    Ok(held(api, cx, done, asked.wait_seconds).await.into())
}

pub(super) async fn return_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::ReturnOrderRequest,
) -> Result<pb::ReturnOrderResponse, Problem> {
    let target = Target::read(&asked.order_id, &asked.idempotency_key, &asked.etag)?.keyed()?;
    let (lines, reason) = asked::pieces(asked.lines, asked.reason)?;
    Ok(act(api, cx, target, Action::Return { lines, reason }).await?.into())
}

pub(super) async fn add_note<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::AddNoteRequest,
) -> Result<pb::AddNoteResponse, Problem> {
    let target = Target::read(&asked.order_id, &asked.idempotency_key, &asked.etag)?;
    let text = NoteText::try_from(AddNote { text: asked.text }).map_err(Problem::invalid)?;
    Ok(act(api, cx, target, Action::AddNote { text }).await?.into())
}

pub(super) async fn pay_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::PayOrderRequest,
) -> Result<pb::PayOrderResponse, Problem> {
    let target = Target::read(&asked.order_id, &asked.idempotency_key, &asked.etag)?;
    let seconds = asked.wait_seconds;
    let action = Action::try_from(Pay::from(asked)).map_err(Problem::invalid)?;
    let target = target.keyed()?;
    pay::must_have_gateway(&api.config, true)?;
    let done = act(api, cx, target, action).await?;
    Ok(held(api, cx, done, seconds).await.into())
}

pub(super) async fn capture_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::CaptureOrderRequest,
) -> Result<pb::CaptureOrderResponse, Problem> {
    let target = Target::read(&asked.order_id, &asked.idempotency_key, &asked.etag)?;
    let seconds = asked.wait_seconds;
    let part = Part::try_from(SomeMoney::from(asked)).map_err(Problem::invalid)?;
    let target = target.keyed()?;
    pay::must_have_gateway(&api.config, true)?;
    let done = act(api, cx, target, Action::Capture(part)).await?;
    Ok(held(api, cx, done, seconds).await.into())
}

/// What was taken elsewhere is given back without a gateway.
pub(super) async fn refund_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::RefundOrderRequest,
) -> Result<pb::RefundOrderResponse, Problem> {
    let target = Target::read(&asked.order_id, &asked.idempotency_key, &asked.etag)?;
    let seconds = asked.wait_seconds;
    let part = Part::try_from(BackMoney::from(asked)).map_err(Problem::invalid)?;
    let done = act(api, cx, target.keyed()?, Action::Refund(part)).await?;
    Ok(held(api, cx, done, seconds).await.into())
}

pub(super) async fn record_payment<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::RecordPaymentRequest,
) -> Result<pb::RecordPaymentResponse, Problem> {
    let target = Target::read(&asked.order_id, &asked.idempotency_key, &asked.etag)?.keyed()?;
    let action = Action::try_from(TakenElsewhere::from(asked)).map_err(Problem::invalid)?;
    Ok(act(api, cx, target, action).await?.into())
}

pub(super) async fn resolve_payment<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::ResolvePaymentRequest,
) -> Result<pb::ResolvePaymentResponse, Problem> {
    let target = Target::read(&asked.order_id, &asked.idempotency_key, &asked.etag)?.keyed()?;
    let action = Action::try_from(Resolve::from(asked)).map_err(Problem::invalid)?;
    Ok(act(api, cx, target, action).await?.into())
}

async fn act<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    target: Target,
    action: Action,
) -> Result<Done, Problem> {
    let Target { order, key, if_match } = target;
    verbs::change(api, cx, Verb { order, action, key, if_match: None }, if_match).await
}

/// The answer to a change: at once, or after the wait that the caller asks for.
async fn held<P: Ports>(api: &Api<P>, cx: &Context, done: Done, seconds: u32) -> Done {
    let Done { record, replayed } = done;
    let (record, _) = wait::wait(api, cx, record, Duration::from_secs(seconds.into())).await;
    Done { record, replayed }
}
