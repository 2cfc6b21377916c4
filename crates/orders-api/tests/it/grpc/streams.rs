//! The calls that stream: batches, and events as they happen.

use std::{io, time::Duration};

use axum::body::{Body, Bytes};
use futures_util::{StreamExt as _, stream};
use jiff::SignedDuration;
use mainstay::lifecycle::Phase;
use orders_api::grpc::{
    LARGEST_IN,
    pb::{self, batch_create_orders_response::Outcome},
};
use orders_testkit::Fault;
use prost::Message as _;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Streaming};
use tonic_types::{RpcStatusExt as _, StatusExt as _};

use super::{
    caller::{Caller, create, fields, order, own, placed, refused, with},
    rows::{call, framed, reason_of, send, streamed},
};
use crate::shop::{FOREIGN, OWN, Shop, json_body, long, order as json_order, post};

type Watch = Streaming<pb::WatchEventsResponse>;

async fn watch(caller: &mut Caller, after: Option<u64>, token: &str) -> Watch {
    let asked = with(pb::WatchEventsRequest { after }, token);
    caller.client.watch_events(asked).await.unwrap().into_inner()
}

/// What a watch is told next; `None` at its end.
async fn next(watch: &mut Watch) -> Option<pb::WatchEventsResponse> {
    let told = timeout(Duration::from_mins(1), watch.message()).await;
    told.expect("a silent watch").unwrap()
}

/// The position and the order of the next event.
async fn event(watch: &mut Watch) -> (u64, String) {
    let told = next(watch).await.expect("a message");
    let event = told.event.expect("an event");
    assert_eq!(event.r#type, "orders.order.placed.v1");
    (told.position, event.order_id)
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_every_event_and_goes_on_where_it_was() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut ids = Vec::new();
    for key in ["a", "b", "c"] {
        ids.push(shop.created(key).await);
    }
    let mut first = watch(&mut caller, None, OWN).await;
    for at in 0..3_u64 {
        assert_eq!(event(&mut first).await, (at + 1, ids[usize::try_from(at).unwrap()].clone()));
    }
    ids.push(shop.created("d").await);
    assert_eq!(event(&mut first).await, (4, ids[3].clone()));
    drop(first);
    ids.push(shop.created("e").await);
    let mut resumed = watch(&mut caller, Some(3), OWN).await;
    assert_eq!(event(&mut resumed).await, (4, ids[3].clone()));
    assert_eq!(event(&mut resumed).await, (5, ids[4].clone()));
}

#[tokio::test(start_paused = true)]
async fn an_event_is_the_one_that_http_tells() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    shop.created("a").await;
    let mut watch = watch(&mut caller, None, OWN).await;
    let told = next(&mut watch).await.unwrap();
    let event = told.event.unwrap();
    let same = shop.get("/v1/events").await.json()["events"][0].clone();
    assert_eq!(told.position.to_string(), same["position"]);
    assert_eq!(event.id, same["id"]);
    assert_eq!(event.order_id, same["subject"]);
    assert_eq!(event.version.to_string(), same["sequence"]);
    assert_eq!(event.tenant_id, same["tenantid"]);
    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(data, same["data"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_told_nothing_of_another_tenant() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    shop.created("a").await;
    let mut watch = watch(&mut caller, None, FOREIGN).await;
    shop.created("b").await;
    let answer = caller.client.create_order(with(create("c", order()), FOREIGN)).await.unwrap();
    let id = placed(answer.into_inner()).id;
    assert_eq!(event(&mut watch).await.1, id);
}

#[tokio::test]
async fn a_watch_from_a_forgotten_position_is_told_the_oldest() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    shop.created("a").await;
    shop.created("b").await;
    shop.world.clock().jump(SignedDuration::from_hours(91 * 24));
    shop.created("c").await;
    let cx = orders_testkit::builders::context("shop");
    while shop.world.orders().forget(&cx).await.unwrap().events > 0 {}
    let asked = own(pb::WatchEventsRequest { after: Some(1) });
    let answer = caller.client.watch_events(asked).await;
    let (info, _) = refused(answer, Code::OutOfRange, "CURSOR_TOO_OLD");
    assert_eq!(info.metadata["oldest_position"], "3");
}

#[tokio::test]
async fn a_watch_from_what_is_no_position_is_refused() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let asked = own(pb::WatchEventsRequest { after: Some(u64::MAX) });
    let answer = caller.client.watch_events(asked).await;
    let (_, status) = refused(answer, Code::InvalidArgument, "MALFORMED");
    assert_eq!(fields(&status), ["after"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_told_how_far_it_is_and_outlasts_every_deadline_of_ours() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut watch = watch(&mut caller, None, OWN).await;
    let before = Instant::now();
    assert_eq!(next(&mut watch).await, Some(pb::WatchEventsResponse::default()));
    assert_eq!(before.elapsed().as_secs(), 15);
    shop.created("a").await;
    assert_eq!(event(&mut watch).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_draining_service_ends_a_watch_with_a_position() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    shop.created("a").await;
    let mut watch = watch(&mut caller, None, OWN).await;
    assert_eq!(event(&mut watch).await.0, 1);
    shop.phase.send_replace(Phase::Draining);
    let last = next(&mut watch).await.expect("a last message");
    assert_eq!((last.position, last.event, last.draining), (1, None, true));
    assert!((1_000..2_000).contains(&last.retry_after_ms), "{}", last.retry_after_ms);
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_by_the_deadline_of_its_caller() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut asked = own(pb::WatchEventsRequest::default());
    asked.set_timeout(Duration::from_secs(12));
    let before = Instant::now();
    let mut watch = caller.client.watch_events(asked).await.unwrap().into_inner();
    let status = watch.message().await.unwrap_err();
    assert_eq!(before.elapsed().as_secs(), 12);
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(reason_of(&status).0, "DEADLINE_EXCEEDED");
    assert!(shop.counts("/orders.v1.OrderService/WatchEvents", 504), "though its head said 200");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_ends_with_a_status() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut watch = watch(&mut caller, None, OWN).await;
    shop.world.fail_next(Fault::ReadUnavailable);
    let status = loop {
        match watch.message().await {
            // It may have read before, and reads again once it was silent for long.
            Ok(told) => assert_eq!(told, Some(pb::WatchEventsResponse::default())),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason_of(&status).0, "STORE_UNAVAILABLE");
    assert!(shop.counts("/orders.v1.OrderService/WatchEvents", 503), "though its head said 200");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_never_asked_for_in_full_is_not_waited_for() {
    let shop = Shop::new();
    let never = Body::from_stream(stream::pending::<Result<Bytes, io::Error>>());
    let request = call("WatchEvents").header("authorization", OWN);
    let before = Instant::now();
    let status = send(&shop, request, never).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "DEADLINE_EXCEEDED");
    assert_eq!(before.elapsed().as_secs(), 2);
}

/// An order of the batch of this name.
fn item(batch: &str, order: pb::NewOrder) -> pb::BatchCreateOrdersRequest {
    pb::BatchCreateOrdersRequest {
        order: Some(order),
        batch_key: long(batch),
        ..pb::BatchCreateOrdersRequest::default()
    }
}

/// An order whose customer has a name of this many bytes.
fn sized(bytes: usize) -> pb::NewOrder {
    pb::NewOrder { customer_id: "x".repeat(bytes), ..order() }
}

/// The place of an answer, and what it was refused for, if it was.
fn outcome(answer: &pb::BatchCreateOrdersResponse) -> (u64, Code, String) {
    match answer.outcome.as_ref().expect("an outcome") {
        Outcome::Order(_) => (answer.index, Code::Ok, String::new()),
        Outcome::Problem(status) => {
            let info = status.get_details_error_info().expect("an ErrorInfo");
            (answer.index, Code::from_i32(status.code), info.reason)
        }
    }
}

/// The fields that an answer finds fault with.
fn faults(answer: &pb::BatchCreateOrdersResponse) -> Vec<String> {
    let Some(Outcome::Problem(status)) = &answer.outcome else { panic!("{answer:?}") };
    let found = status.get_details_bad_request().expect("a BadRequest").field_violations;
    found.into_iter().map(|violation| violation.field).collect()
}

/// The answers to these orders, to the end.
async fn answers(
    caller: &mut Caller,
    items: Vec<pb::BatchCreateOrdersRequest>,
) -> Vec<pb::BatchCreateOrdersResponse> {
    let answer = caller.client.batch_create_orders(own(stream::iter(items))).await;
    let mut told = answer.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(answer) = told.message().await.unwrap() {
        all.push(answer);
    }
    all
}

#[tokio::test]
async fn each_order_of_a_stream_is_answered_by_itself() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut own_key = item("batch", order());
    own_key.idempotency_key = long("own");
    let mut bad_key = item("batch", order());
    "short".clone_into(&mut bad_key.idempotency_key);
    let another = item("another", order());
    let no_order = pb::BatchCreateOrdersRequest { order: None, ..item("batch", order()) };
    let (bad, huge) = (item("batch", sized(0)), item("batch", sized(LARGEST_IN)));
    let last = item("batch", order());
    let items = vec![item("batch", order()), bad, own_key, bad_key, another, no_order, huge, last];
    let told = answers(&mut caller, items.clone()).await;
    let (wrong, none) = (Code::InvalidArgument, Code::Ok);
    let expected = [
        (0, none, ""),
        (1, wrong, "INVALID"),
        (2, none, ""),
        (3, wrong, "MALFORMED"),
        (4, wrong, "MALFORMED"),
        (5, wrong, "MALFORMED"),
        (6, Code::ResourceExhausted, "PAYLOAD_TOO_LARGE"),
        (7, none, ""),
    ]
    .map(|(index, code, reason)| (index, code, reason.to_owned()));
    assert_eq!(told.iter().map(outcome).collect::<Vec<_>>(), expected);
    assert_eq!(faults(&told[1]), ["order.customer_id"]);
    assert_eq!(faults(&told[3]), ["idempotency_key"]);
    assert_eq!(faults(&told[4]), ["batch_key"], "a batch has one key");

    let again = answers(&mut caller, items).await;
    let replayed: Vec<_> = again.iter().filter(|told| told.replayed).map(|of| of.index).collect();
    assert_eq!(replayed, [0, 2, 7]);
    assert_eq!(again[7].outcome, told[7].outcome);
}

#[tokio::test]
async fn an_order_without_any_key_is_not_placed() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let no_key = pb::BatchCreateOrdersRequest { batch_key: String::new(), ..item("", order()) };
    let told = answers(&mut caller, vec![no_key]).await;
    let refusal = (0, Code::InvalidArgument, "IDEMPOTENCY_KEY_MISSING".to_owned());
    assert_eq!(outcome(&told[0]), refusal);
    assert_eq!(faults(&told[0]), ["idempotency_key"]);
}

#[tokio::test(start_paused = true)]
async fn a_draining_service_answers_what_it_has_taken_and_ends_a_batch() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    shop.world.fail_next(Fault::Slow(Duration::from_secs(1)));
    let items = stream::iter([item("batch", order())]).chain(stream::pending());
    let answer = caller.client.batch_create_orders(own(items)).await;
    let mut told = answer.unwrap().into_inner();
    // The order is with the store by then.
    sleep(Duration::from_millis(500)).await;
    shop.phase.send_replace(Phase::Draining);
    let answer = told.message().await.unwrap().expect("an answer");
    assert_eq!(outcome(&answer), (0, Code::Ok, String::new()));
    let status = told.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason_of(&status).0, "DRAINING");
    let delay = status.get_details_retry_info().expect("a RetryInfo").retry_delay;
    assert_eq!(delay, Some(Duration::from_secs(1)));
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
}

#[tokio::test]
async fn a_batch_that_breaks_off_ends_with_a_status_and_without_an_answer_more() {
    let one = || framed(&item("batch", order()).encode_to_vec());
    let half = || Ok(one()[..9].to_vec());
    let gone = || Err(io::Error::other("gone"));
    for pieces in
        [vec![Ok(one()), gone()], vec![Ok(one()), half()], vec![Ok(one()), half(), gone()]]
    {
        let shop = Shop::new();
        let pieces = pieces.into_iter().map(|piece: io::Result<Vec<u8>>| piece.map(Bytes::from));
        let body = Body::from_stream(stream::iter(pieces));
        let request = call("BatchCreateOrders").header("authorization", OWN);
        let (told, status) = streamed(&shop, request, body).await;
        let answer = pb::BatchCreateOrdersResponse::decode(&told[5..]).expect("one answer");
        assert_eq!(outcome(&answer), (0, Code::Ok, String::new()));
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(reason_of(&status).0, "MALFORMED");
        assert!(shop.counts("/orders.v1.OrderService/BatchCreateOrders", 400));
    }
}

#[tokio::test]
async fn a_batch_is_one_over_both_protocols() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let batch = json!({ "orders": [{ "order": json_order() }, { "order": json_order() }] });
    let request = post("/v1/orders/batch").header("idempotency-key", long("batch"));
    let over_http = shop.send(json_body(request, &batch)).await.json();
    let told = answers(&mut caller, vec![item("batch", order()), item("batch", order())]).await;
    assert_eq!(told.len(), 2);
    for (at, answer) in told.into_iter().enumerate() {
        assert!(answer.replayed, "{answer:?}");
        let Some(Outcome::Order(order)) = answer.outcome else { panic!("no order at {at}") };
        assert_eq!(order.id, over_http["results"][at]["order"]["id"], "{over_http}");
    }
}

#[tokio::test]
async fn a_batch_is_bounded_by_its_messages_and_not_in_all() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let large = || item("batch", sized(LARGEST_IN / 2));
    let told = answers(&mut caller, vec![large(), large(), large(), item("batch", order())]).await;
    let reasons: Vec<_> = told.iter().map(|answer| outcome(answer).2).collect();
    assert_eq!(reasons, ["INVALID", "INVALID", "INVALID", ""]);
}

#[tokio::test]
async fn an_answer_is_there_before_the_next_order_is_sent() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let (orders, items) = mpsc::channel::<pb::BatchCreateOrdersRequest>(1);
    let items = stream::unfold(items, async |mut items| Some((items.recv().await?, items)));
    let answer = caller.client.batch_create_orders(own(items)).await;
    let mut told = answer.unwrap().into_inner();
    for index in 0..3 {
        orders.send(item("batch", order())).await.unwrap();
        let answer = told.message().await.unwrap().expect("an answer");
        assert_eq!(outcome(&answer), (index, Code::Ok, String::new()));
    }
    drop(orders);
    assert_eq!(told.message().await.unwrap(), None);
}

#[tokio::test]
async fn no_message_of_a_stream_passes_over_a_field_that_it_does_not_know() {
    let shop = Shop::new();
    // Field 999 is a number, and is 0.
    let unknown = [0xb8, 0x3e, 0];
    let request = call("WatchEvents").header("authorization", OWN);
    let status = send(&shop, request, framed(&unknown)).await.unwrap_err();
    assert_eq!(reason_of(&status), ("MALFORMED".to_owned(), vec!["999".to_owned()]));

    let message = [item("batch", order()).encode_to_vec(), unknown.to_vec()].concat();
    let request = call("BatchCreateOrders").header("authorization", OWN);
    let answer = send(&shop, request, framed(&message)).await.unwrap();
    let answer = pb::BatchCreateOrdersResponse::decode(&answer[..]).unwrap();
    let refusal = (0, Code::InvalidArgument, "MALFORMED".to_owned());
    assert_eq!(outcome(&answer), refusal);
    assert_eq!(faults(&answer), ["999"]);
}

#[tokio::test]
async fn every_stream_asks_who_it_is() {
    let shop = Shop::new();
    for name in ["BatchCreateOrders", "WatchEvents"] {
        for token in ["", "Bearer", "Bearer own.wrong", "Bearer nobody.secret", "own.secret"] {
            let mut request = call(name);
            if !token.is_empty() {
                request = request.header("authorization", token);
            }
            let status = send(&shop, request, framed(&[])).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{name} {token}: {status:?}");
            assert_eq!(reason_of(&status).0, "UNAUTHENTICATED", "{name} {token}");
        }
    }
}
