//! What calls do, alone and beside the HTTP API.

use std::{collections::BTreeMap, time::Duration};

use orders_api::grpc::pb::{self, create_order_response::Outcome};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::caller::{Caller, create, euro, order, own, placed};
use crate::shop::{Shop, long, order_with};

#[tokio::test]
async fn an_order_is_placed_once_under_its_key() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let first = caller.created("a").await;
    assert_eq!(first.state(), pb::OrderState::Pending);
    assert_eq!((first.version, first.etag.as_str()), (1, "\"v1\""));
    assert_eq!(first.totals.as_ref().unwrap().total, euro(399));
    assert_eq!(first.lines[0].unit_price.as_ref().unwrap().minor, "199.5");
    assert!(first.allowed_transitions.contains(&"ConfirmOrder".to_owned()), "{first:?}");
    let again = caller.client.create_order(own(create("a", order()))).await.unwrap().into_inner();
    assert!(again.replayed);
    assert_eq!(placed(again), first);
    assert_eq!(caller.order(&first.number).await, first, "a number names it too");
}

#[tokio::test]
async fn a_draft_is_priced_and_not_stored() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let asked = pb::CreateOrderRequest {
        order: Some(order()),
        validate_only: true,
        ..pb::CreateOrderRequest::default()
    };
    let answer = caller.client.create_order(own(asked)).await.unwrap().into_inner();
    let Some(Outcome::PricedOrder(priced)) = answer.outcome else { panic!("{answer:?}") };
    assert_eq!(priced.totals.unwrap().total, euro(399));
    assert_eq!(shop.get("/v1/orders").await.json()["orders"], json!([]));
}

/// An order that says everything an order can say, in both protocols.
fn full() -> (Value, pb::NewOrder) {
    let money = |minor: &str| json!({ "amount_minor": minor, "currency": "EUR" });
    let json = order_with(&json!({
        "external_reference": "web-1",
        "lines": [{
            "sku": "tea",
            "name": "Green tea",
            "quantity": 2,
            "unit_price": money("199.5"),
            "discount": money("10"),
            "tax": { "amount": money("20"), "inclusive": true },
        }],
        "discount": money("5"),
        "shipping": money("100"),
        "expected_total": money("484"),
        "metadata": { "channel": "web", "till": "7" },
        "personal": {
            "name": "Ada",
            "email": "ada@shop.test",
            "shipping_address": { "line1": "Main street 1", "city": "Bern", "country": "CH" },
        },
        "payment": { "instrument": "tok_ok" },
    }));
    let text = |text: &str| Some(text.to_owned());
    let mut message = order();
    message.external_reference = text("web-1");
    message.lines[0].name = text("Green tea");
    message.lines[0].discount = euro(10);
    message.lines[0].tax = Some(pb::Tax { amount: euro(20), inclusive: true });
    message.discount = euro(5);
    message.shipping = euro(100);
    message.expected_total = euro(484);
    let fields = [("till", "7"), ("channel", "web")];
    message.metadata =
        BTreeMap::from(fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
    message.personal = Some(pb::Personal {
        name: text("Ada"),
        email: text("ada@shop.test"),
        shipping_address: Some(pb::Address {
            line1: "Main street 1".to_owned(),
            city: "Bern".to_owned(),
            country: "CH".to_owned(),
            ..pb::Address::default()
        }),
        ..pb::Personal::default()
    });
    message.payment = Some(pb::PayWith { instrument: "tok_ok".to_owned() });
    (json, message)
}

#[tokio::test]
async fn one_key_makes_one_order_whichever_protocol_tries() {
    for http_first in [true, false] {
        let shop = Shop::new();
        let mut caller = Caller::of(&shop).await;
        let (json, message) = full();
        let mut ids = Vec::new();
        let mut replays = Vec::new();
        for http in [http_first, !http_first] {
            if http {
                let answer = shop.create("a", &json).await;
                assert_eq!(answer.status, 201, "{}", answer.text());
                ids.push(answer.json()["id"].as_str().unwrap().to_owned());
                replays.push(answer.header("idempotent-replayed") == "true");
            } else {
                let asked = own(create("a", message.clone()));
                let answer = caller.client.create_order(asked).await.unwrap().into_inner();
                replays.push(answer.replayed);
                ids.push(placed(answer).id);
            }
        }
        assert_eq!(ids[0], ids[1], "HTTP first: {http_first}");
        assert_eq!(replays, [false, true], "HTTP first: {http_first}");
    }
}

fn one_piece() -> pb::SomePieces {
    pb::SomePieces { pieces: vec![pb::Pieces { line_no: 1, quantity: 1 }] }
}

#[tokio::test]
async fn a_verb_over_http_is_replayed_over_grpc() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let id = shop.created("a").await;
    let one = json!({ "lines": [{ "line_no": 1, "quantity": 1 }], "reason": "one less" });
    let cancelled = shop.tell(&id, "cancel", "c-1", &one).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    let asked = pb::CancelOrderRequest {
        order_id: id,
        idempotency_key: long("c-1"),
        // The key is looked at before the version.
        etag: "\"v1\"".to_owned(),
        lines: Some(one_piece()),
        reason: Some("one less".to_owned()),
        wait_seconds: 0,
    };
    let answer = caller.client.cancel_order(own(asked)).await.unwrap().into_inner();
    assert!(answer.replayed);
    let order = answer.order.unwrap();
    assert_eq!((order.version, order.lines[0].cancelled), (2, 1));
}

#[tokio::test]
async fn an_order_is_paid_handed_over_and_given_back() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let id = caller.created("a").await.id;
    let asked = pb::PayOrderRequest {
        order_id: id.clone(),
        idempotency_key: long("pay"),
        instrument: "tok_ok".to_owned(),
        ..pb::PayOrderRequest::default()
    };
    let paying = caller.client.pay_order(own(asked)).await.unwrap().into_inner().order.unwrap();
    assert_eq!(paying.payment_state(), pb::PaymentState::Pending);
    shop.work().await;
    assert_eq!(caller.order(&id).await.payment_state(), pb::PaymentState::Authorized);

    let asked = pb::CreateFulfillmentRequest {
        order_id: id.clone(),
        idempotency_key: long("ship"),
        ..pb::CreateFulfillmentRequest::default()
    };
    let answer = caller.client.create_fulfillment(own(asked)).await.unwrap().into_inner();
    assert_eq!(answer.order.unwrap().fulfillment_state(), pb::FulfillmentState::Fulfilled);
    shop.work().await;
    let whole = caller.order(&id).await;
    assert_eq!(whole.state(), pb::OrderState::Completed);
    assert_eq!((whole.payments[0].captured.clone(), whole.due.clone()), (euro(399), euro(0)));

    let lines = Some(one_piece());
    let asked = pb::ReturnOrderRequest {
        order_id: id.clone(),
        idempotency_key: long("back"),
        lines: lines.clone(),
        ..pb::ReturnOrderRequest::default()
    };
    let answer = caller.client.return_order(own(asked)).await.unwrap().into_inner();
    assert_eq!(answer.order.unwrap().lines[0].returned, 1);
    let asked = pb::RefundOrderRequest {
        order_id: id.clone(),
        idempotency_key: long("refund"),
        lines,
        ..pb::RefundOrderRequest::default()
    };
    caller.client.refund_order(own(asked)).await.unwrap();
    shop.work().await;
    let operations = caller.order(&id).await.payments.remove(0).operations;
    let last = operations.last().unwrap();
    assert_eq!(last.kind(), pb::PaymentOperationKind::Refund);
    assert_eq!(last.state(), pb::PaymentOperationState::Succeeded);

    let asked =
        pb::ListHistoryRequest { order_id: id.clone(), ..pb::ListHistoryRequest::default() };
    let entries = caller.client.list_history(own(asked)).await.unwrap().into_inner().entries;
    assert_eq!(entries[0].command, "place");
    assert_eq!(
        (entries[0].from_state(), entries[0].to_state()),
        (pb::OrderState::Unspecified, pb::OrderState::Pending)
    );
    let versions: Vec<u64> = entries.iter().map(|entry| entry.version).collect();
    assert_eq!(versions, (1..=caller.order(&id).await.version).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_parked_is_settled_by_a_person() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let id = caller.created("a").await.id;
    let asked = pb::RecordPaymentRequest {
        order_id: id.clone(),
        idempotency_key: long("cash"),
        amount: euro(399),
        reason: Some("cash".to_owned()),
        ..pb::RecordPaymentRequest::default()
    };
    let paid = caller.client.record_payment(own(asked)).await.unwrap().into_inner().order.unwrap();
    assert_eq!(paid.state(), pb::OrderState::Confirmed);
    assert_eq!(paid.payments[0].means(), pb::PaymentMeans::Elsewhere);
    let asked =
        pb::CancelOrderRequest { order_id: id.clone(), ..pb::CancelOrderRequest::default() };
    let parked = caller.client.cancel_order(own(asked)).await.unwrap().into_inner().order.unwrap();
    assert_eq!(parked.payment_state(), pb::PaymentState::Parked);
    assert!(parked.allowed_transitions.contains(&"ResolvePayment".to_owned()), "{parked:?}");
    let asked = pb::ResolvePaymentRequest {
        order_id: id,
        idempotency_key: long("resolve"),
        operation_id: parked.payments[0].operations[2].id.clone(),
        outcome: pb::Resolution::Succeeded.into(),
        reason: "handed over at the till".to_owned(),
        ..pb::ResolvePaymentRequest::default()
    };
    let done = caller.client.resolve_payment(own(asked)).await.unwrap().into_inner().order.unwrap();
    assert_eq!(done.state(), pb::OrderState::Cancelled);
}

#[tokio::test]
async fn a_confirmed_order_takes_notes_that_do_not_show_when_debugged() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let order = caller.created("a").await;
    let asked = pb::ConfirmOrderRequest {
        order_id: order.id.clone(),
        etag: order.etag,
        ..pb::ConfirmOrderRequest::default()
    };
    let confirmed = caller.client.confirm_order(own(asked)).await.unwrap().into_inner();
    assert_eq!(confirmed.order.unwrap().state(), pb::OrderState::Confirmed);
    let asked = pb::AddNoteRequest {
        order_id: order.id,
        text: "Leave it with the neighbour.".to_owned(),
        ..pb::AddNoteRequest::default()
    };
    let noted = caller.client.add_note(own(asked)).await.unwrap().into_inner().order.unwrap();
    assert_eq!(noted.notes[0].text, "Leave it with the neighbour.");
    assert!(!format!("{noted:?}").contains("neighbour"), "{noted:?}");
}

#[tokio::test(start_paused = true)]
async fn held_money_is_taken_by_amount_while_the_caller_waits() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut paid = order();
    paid.payment = Some(pb::PayWith { instrument: "tok_ok".to_owned() });
    let answer = caller.client.create_order(own(create("a", paid))).await.unwrap().into_inner();
    let id = placed(answer).id;
    shop.work().await;
    let mut asked = own(pb::CaptureOrderRequest {
        order_id: id,
        idempotency_key: long("capture"),
        amount: euro(100),
        wait_seconds: 5,
        ..pb::CaptureOrderRequest::default()
    });
    asked.set_timeout(Duration::from_secs(8));
    let work = async {
        sleep(Duration::from_millis(700)).await;
        shop.work().await;
    };
    let (answer, ()) = tokio::join!(caller.client.capture_order(asked), work);
    let order = answer.unwrap().into_inner().order.unwrap();
    assert_eq!(order.payment_state(), pb::PaymentState::PartiallyCaptured);
    assert_eq!(order.payments[0].captured, euro(100));
}

#[tokio::test]
async fn a_list_goes_on_where_its_page_ended() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut made = Vec::new();
    for key in ["a", "b", "c"] {
        made.insert(0, caller.created(key).await.id);
    }
    let mut listed = Vec::new();
    let mut page_token = String::new();
    for size in [2, 1] {
        let asked = pb::ListOrdersRequest {
            state: pb::OrderState::Pending.into(),
            payment_state: pb::PaymentState::None.into(),
            customer_id: Some("c-1".to_owned()),
            created_after: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            page_size: 2,
            page_token,
            ..pb::ListOrdersRequest::default()
        };
        let page = caller.client.list_orders(own(asked)).await.unwrap().into_inner();
        assert_eq!(page.orders.len(), size);
        listed.extend(page.orders.into_iter().map(|order| order.id));
        page_token = page.next_page_token;
    }
    assert_eq!(page_token, "", "there is no third page");
    assert_eq!(listed, made);
}

#[tokio::test]
async fn a_list_tells_nothing_of_payments() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut paid = order();
    paid.payment = Some(pb::PayWith { instrument: "tok_ok".to_owned() });
    let answer = caller.client.create_order(own(create("a", paid))).await.unwrap().into_inner();
    let whole = placed(answer);
    assert_eq!(whole.payments.len(), 1);
    let page = caller.client.list_orders(own(pb::ListOrdersRequest::default())).await.unwrap();
    let listed = page.into_inner().orders.remove(0);
    assert_eq!(listed.payment_state(), pb::PaymentState::Pending);
    let summary = pb::Order { payments: Vec::new(), payable: None, due: None, ..whole };
    assert_eq!(listed, summary);
}

#[tokio::test]
async fn a_history_goes_on_where_its_page_ended() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let id = caller.created("a").await.id;
    for at in 0..4 {
        shop.tell(&id, "notes", &format!("n-{at}"), &json!({ "text": "again" })).await;
    }
    let (mut versions, mut page_token) = (Vec::new(), String::new());
    for size in [2, 2, 1] {
        let asked = pb::ListHistoryRequest { order_id: id.clone(), page_size: 2, page_token };
        let page = caller.client.list_history(own(asked)).await.unwrap().into_inner();
        assert_eq!(page.entries.len(), size);
        versions.extend(page.entries.into_iter().map(|entry| entry.version));
        page_token = page.next_page_token;
    }
    assert_eq!((versions, page_token.as_str()), (vec![1, 2, 3, 4, 5], ""));
}

#[tokio::test]
async fn a_page_of_large_orders_has_fewer_of_them() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut large = order();
    // About 200 kB each.
    let mut line = large.lines.remove(0);
    line.name = Some("x".repeat(200));
    large.lines = vec![line; 500];
    let text = |at: usize| (format!("field-{at}"), "é".repeat(500));
    large.metadata = (0..50).map(text).collect();
    let mut made = Vec::new();
    for at in 0..30 {
        let mut asked = own(create(&format!("large-{at}"), large.clone()));
        asked.set_timeout(Duration::from_secs(10));
        let answer = caller.client.create_order(asked).await.unwrap().into_inner();
        made.insert(0, placed(answer).id);
    }
    let (mut listed, mut pages, mut page_token) = (Vec::new(), 0, String::new());
    loop {
        let asked = pb::ListOrdersRequest {
            page_size: 100,
            page_token,
            ..pb::ListOrdersRequest::default()
        };
        let page = caller.client.list_orders(own(asked)).await.unwrap().into_inner();
        pages += 1;
        listed.extend(page.orders.into_iter().map(|order| order.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, made);
    assert!(pages > 1, "30 such orders are more than an answer holds");
}
