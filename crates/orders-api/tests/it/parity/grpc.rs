//! The gRPC side: a call, and its answer in the one form.

use axum::{body::Body, http::Request};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use orders_api::grpc::pb::{
    self, batch_create_orders_response::Outcome as Placed, create_order_response::Outcome,
};
use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::{
    asked::{Asked, Head, Operation},
    message::messages,
    problem, told,
};
use crate::{
    grpc::rows::{call, framed},
    shop::Shop,
};

/// What stands before a message: whether it is compressed, and its length.
const FRAME: usize = 5;

pub(super) async fn send(shop: &Shop, asked: &Asked) -> Value {
    if asked.operation == Operation::Feed {
        return watch(shop, asked).await;
    }
    let answer = shop.send(request(asked)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    if let Some(status) = Status::from_header_map(&answer.headers) {
        return refused(&status);
    }
    let (mut came, mut told) = (BytesMut::from(&answer.body[..]), Vec::new());
    while let Some(message) = take(&mut came) {
        told.push(message);
    }
    done(asked, told)
}

fn request(asked: &Asked) -> Request<Body> {
    let body: Vec<u8> = messages(asked).iter().flat_map(|message| framed(message)).collect();
    let request = call(asked.operation.call());
    let headers = asked.headers().into_iter();
    let request = headers.fold(request, |request, (name, value)| request.header(name, value));
    request.body(Body::from(body)).unwrap()
}

/// The first message of what came, if it is there whole.
fn take(came: &mut BytesMut) -> Option<Bytes> {
    let [_, length @ ..] = *came.first_chunk::<FRAME>()?;
    let end = FRAME + usize::try_from(u32::from_be_bytes(length)).unwrap();
    if came.len() < end {
        return None;
    }
    Some(came.split_to(end).split_off(FRAME).freeze())
}

/// The one message of an answer.
fn read<M: Message + Default>(told: &[Bytes]) -> M {
    let [message] = told else { panic!("{} messages", told.len()) };
    M::decode(message.clone()).expect("an answer of the contract")
}

fn refused(status: &Status) -> Value {
    let head = Head {
        replayed: problem::is_replayed(status),
        retry_after: problem::retry_after(status),
        ..Head::default()
    };
    let problem = problem::over_grpc(status);
    let status = problem["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    Head { status: status.unwrap_or_default(), ..head }.with(&problem)
}

fn done(asked: &Asked, told: Vec<Bytes>) -> Value {
    let head = Head { status: asked.operation.done(), ..Head::default() };
    match asked.operation {
        Operation::Create => created(head, read(&told)),
        Operation::Batch => head.with(&json!({ "results": results(told) })),
        Operation::Get => {
            let answer: pb::GetOrderResponse = read(&told);
            changed(head, answer.order, false)
        }
        Operation::List => head.with(&listed(read(&told))),
        Operation::History => head.with(&history(read(&told))),
        Operation::Feed => unreachable!("it is watched"),
        Operation::Confirm
        | Operation::Cancel
        | Operation::Fulfill
        | Operation::Return
        | Operation::Note
        | Operation::Pay
        | Operation::Capture
        | Operation::Refund
        | Operation::Record
        | Operation::Resolve => {
            // All of them are answered in one shape.
            let answer: pb::ConfirmOrderResponse = read(&told);
            changed(head, answer.order, answer.replayed)
        }
    }
}

/// An order, as it is after a change or without one.
fn changed(head: Head, order: Option<pb::Order>, replayed: bool) -> Value {
    let order = order.expect("an order");
    let etag = order.etag.clone();
    Head { replayed, etag, ..head }.with(&told::whole(order))
}

fn created(head: Head, answer: pb::CreateOrderResponse) -> Value {
    match answer.outcome.expect("an outcome") {
        Outcome::Order(order) => {
            let location = format!("/v1/orders/{}", order.id);
            changed(Head { location, ..head }, Some(*order), answer.replayed)
        }
        Outcome::PricedOrder(priced) => {
            let head = Head { status: 200, replayed: answer.replayed, ..head };
            head.with(&told::priced(*priced))
        }
    }
}

fn listed(page: pb::ListOrdersResponse) -> Value {
    let orders: Vec<Value> = page.orders.into_iter().map(told::summary).collect();
    let mut body = json!({ "orders": orders });
    if !page.next_page_token.is_empty() {
        body["next_page_token"] = page.next_page_token.into();
    }
    body
}

fn history(page: pb::ListHistoryResponse) -> Value {
    let entries: Vec<Value> = page.entries.into_iter().map(told::entry).collect();
    let mut body = json!({ "entries": entries });
    if !page.next_page_token.is_empty() {
        body["next_page_token"] = page.next_page_token.into();
    }
    body
}

/// The answers to a batch, message by message.
fn results(told: Vec<Bytes>) -> Vec<Value> {
    let result = |message: Bytes| {
        let answer = pb::BatchCreateOrdersResponse::decode(message).expect("an answer");
        let mut result = json!({ "index": answer.index });
        if answer.replayed {
            result["replayed"] = true.into();
        }
        match answer.outcome.expect("an outcome") {
            Placed::Order(order) => {
                result["status"] = Operation::Create.done().into();
                result["order"] = told::whole(*order);
            }
            Placed::Problem(rpc) => {
                let details = rpc.encode_to_vec().into();
                let status = Status::with_details(Code::from_i32(rpc.code), rpc.message, details);
                let problem = problem::over_grpc(&status);
                result["status"] = problem["status"].clone();
                result["problem"] = problem;
            }
        }
        result
    };
    told.into_iter().map(result).collect()
}

/// Every event from there on, until a watch has nothing to tell.
async fn watch(shop: &Shop, asked: &Asked) -> Value {
    let (head, body) = shop.open(request(asked)).await.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return refused(&status);
    }
    let (mut chunks, mut came) = (body.into_data_stream(), BytesMut::new());
    let mut events = Vec::new();
    loop {
        while let Some(message) = take(&mut came) {
            let told = pb::WatchEventsResponse::decode(message).expect("a message of a watch");
            let Some(event) = told.event else {
                let body = json!({ "events": events, "next": told.position.to_string() });
                return Head { status: Operation::Feed.done(), ..Head::default() }.with(&body);
            };
            events.push(told::event(event, told.position));
        }
        let chunk = chunks.next().await.expect("a watch goes on");
        came.extend_from_slice(&chunk.expect("a whole answer"));
    }
}
