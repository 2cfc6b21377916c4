//! The calls: each reads what is asked, has it carried out as both protocols do, and tells what came
//! of it.

use std::time::Duration;

use mainstay_context::Context;
use orders::{
    domain::NoteText,
    ports::Ports,
    usecase::{Action, Done, Part},
};
use prost::Message as _;

use super::{
    LARGEST_OUT,
    pb::{self, create_order_response::Outcome},
    read,
};
use crate::{
    api::{Api, use_case},
    history,
    listing::Listing,
    placing::Placing,
    problem::Problem,
    wait,
    wire::{
        create::CreateOrder,
        order::reference,
        payment::{BackMoney, Pay, Resolve, SomeMoney, TakenElsewhere},
        verb::{AddNote, Because},
    },
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
    let order = asked.order.ok_or_else(|| Problem::unreadable("order", "must be there"))?;
    let order = CreateOrder::from(order);
    let placing = Placing { order, key: read::key(&asked.idempotency_key) };
    if asked.validate_only {
        let placement = placing.check(api, cx).map_err(|problem| problem.under(ORDER))?;
        let outcome = Some(Outcome::PricedOrder(Box::new((&placement).into())));
        return Ok(pb::CreateOrderResponse { outcome, replayed: false });
    }
    let done = placing.place(api, cx).await.map_err(|problem| problem.under(ORDER))?;
    let Done { record, replayed } = held(api, cx, done, asked.wait_seconds).await;
    let outcome = Some(Outcome::Order(Box::new(record.into())));
    Ok(pb::CreateOrderResponse { outcome, replayed })
}

pub(super) async fn get_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::GetOrderRequest,
) -> Result<pb::GetOrderResponse, Problem> {
    let order = reference(&asked.order_id).ok_or(orders::Error::NotFound)?;
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
    let (_, next) = Listing::from(asked).page(api, cx, fit).await?;
    Ok(pb::ListOrdersResponse { orders, next_page_token: next.unwrap_or_default() })
}

pub(super) async fn list_history<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::ListHistoryRequest,
) -> Result<pb::ListHistoryResponse, Problem> {
    let (entries, next) = history::Asked::from(asked).page(api, cx).await?;
    let entries = entries.into_iter().map(Into::into).collect();
    Ok(pb::ListHistoryResponse { entries, next_page_token: next.unwrap_or_default() })
}

pub(super) async fn confirm_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::ConfirmOrderRequest,
) -> Result<pb::ConfirmOrderResponse, Problem> {
    let change = read::change(&asked.order_id, &asked.idempotency_key, &asked.etag);
    let because = Because { reason: asked.reason };
    let action = because.reason().map(|reason| Action::Confirm { reason });
    Ok(change.carry_out(api, cx, action).await?.into())
}

pub(super) async fn cancel_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::CancelOrderRequest,
) -> Result<pb::CancelOrderResponse, Problem> {
    let change = read::change(&asked.order_id, &asked.idempotency_key, &asked.etag);
    let some = read::pieces(asked.lines, asked.reason);
    let action = some.map(|(lines, reason)| Action::Cancel { lines, reason });
    let done = change.carry_out(api, cx, action).await?;
    Ok(held(api, cx, done, asked.wait_seconds).await.into())
}

pub(super) async fn create_fulfillment<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::CreateFulfillmentRequest,
) -> Result<pb::CreateFulfillmentResponse, Problem> {
    let change = read::change(&asked.order_id, &asked.idempotency_key, &asked.etag);
    let some = read::pieces(asked.lines, asked.reason);
    let action = some.map(|(lines, reason)| Action::Fulfill { lines, reason });
    let done = change.carry_out(api, cx, action).await?;
    Ok(held(api, cx, done, asked.wait_seconds).await.into())
}

pub(super) async fn return_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::ReturnOrderRequest,
) -> Result<pb::ReturnOrderResponse, Problem> {
    let change = read::change(&asked.order_id, &asked.idempotency_key, &asked.etag);
    let some = read::pieces(asked.lines, asked.reason);
    let action = some.map(|(lines, reason)| Action::Return { lines, reason });
    Ok(change.carry_out(api, cx, action).await?.into())
}

pub(super) async fn add_note<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::AddNoteRequest,
) -> Result<pb::AddNoteResponse, Problem> {
    let change = read::change(&asked.order_id, &asked.idempotency_key, &asked.etag);
    let text = NoteText::try_from(AddNote { text: asked.text });
    let action = text.map(|text| Action::AddNote { text });
    Ok(change.carry_out(api, cx, action).await?.into())
}

pub(super) async fn pay_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::PayOrderRequest,
) -> Result<pb::PayOrderResponse, Problem> {
    let change = read::change(&asked.order_id, &asked.idempotency_key, &asked.etag);
    let seconds = asked.wait_seconds;
    let done = change.carry_out(api, cx, Action::try_from(Pay::from(asked))).await?;
    Ok(held(api, cx, done, seconds).await.into())
}

pub(super) async fn capture_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::CaptureOrderRequest,
) -> Result<pb::CaptureOrderResponse, Problem> {
    let change = read::change(&asked.order_id, &asked.idempotency_key, &asked.etag);
    let seconds = asked.wait_seconds;
    let action = Part::try_from(SomeMoney::from(asked)).map(Action::Capture);
    let done = change.carry_out(api, cx, action).await?;
    Ok(held(api, cx, done, seconds).await.into())
}

pub(super) async fn refund_order<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::RefundOrderRequest,
) -> Result<pb::RefundOrderResponse, Problem> {
    let change = read::change(&asked.order_id, &asked.idempotency_key, &asked.etag);
    let seconds = asked.wait_seconds;
    let action = Part::try_from(BackMoney::from(asked)).map(Action::Refund);
    let done = change.carry_out(api, cx, action).await?;
    Ok(held(api, cx, done, seconds).await.into())
}

pub(super) async fn record_payment<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::RecordPaymentRequest,
) -> Result<pb::RecordPaymentResponse, Problem> {
    let change = read::change(&asked.order_id, &asked.idempotency_key, &asked.etag);
    let action = Action::try_from(TakenElsewhere::from(asked));
    Ok(change.carry_out(api, cx, action).await?.into())
}

pub(super) async fn resolve_payment<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    asked: pb::ResolvePaymentRequest,
) -> Result<pb::ResolvePaymentResponse, Problem> {
    let change = read::change(&asked.order_id, &asked.idempotency_key, &asked.etag);
    let action = Action::try_from(Resolve::from(asked));
    Ok(change.carry_out(api, cx, action).await?.into())
}

/// The answer to a change: at once, or after the wait that the caller asks for.
async fn held<P: Ports>(api: &Api<P>, cx: &Context, done: Done, seconds: u32) -> Done {
    let Done { record, replayed } = done;
    let (record, _) = wait::wait(api, cx, record, Duration::from_secs(seconds.into())).await;
    Done { record, replayed }
}
