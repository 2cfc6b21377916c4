//! How calls are refused.

use std::time::Duration;

use mainstay::metrics::Format;
use orders_api::grpc::pb;
use orders_testkit::Fault;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::caller::{Caller, create, euro, fields, order, own, refused, with};
use crate::shop::{FOREIGN, Shop, long};

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    caller.created("a").await;
    let mut other = order();
    other.customer_id = "c-2".to_owned();
    let answer = caller.client.create_order(own(create("a", other))).await;
    refused(answer, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn another_tenants_order_does_not_exist() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let id = caller.created("a").await.id;
    let unknown = "019acc1e-0000-7000-8000-000000000000".to_owned();
    let mut told = Vec::new();
    for order_id in [id.clone(), unknown] {
        let asked = with(pb::GetOrderRequest { order_id: order_id.clone() }, FOREIGN);
        let (_, status) =
            refused(caller.client.get_order(asked).await, Code::NotFound, "NOT_FOUND");
        told.push(status.message().to_owned());
        let asked = pb::ConfirmOrderRequest { order_id, ..pb::ConfirmOrderRequest::default() };
        let answer = caller.client.confirm_order(with(asked, FOREIGN)).await;
        refused(answer, Code::NotFound, "NOT_FOUND");
    }
    assert_eq!(told[0], told[1]);
    let asked = with(pb::ListOrdersRequest::default(), FOREIGN);
    let page = caller.client.list_orders(asked).await.unwrap().into_inner();
    assert_eq!(page.orders, []);
    assert_eq!(caller.order(&id).await.version, 1, "no foreign verb was carried out");
    // Errors are counted under the status of the table, though the wire has 200.
    let metrics = shop.metrics.render(Format::Text);
    let counts = |line: &str| {
        line.contains("route=\"/orders.v1.OrderService/GetOrder\"") && line.contains("code=\"404\"")
    };
    assert!(metrics.lines().any(counts), "{metrics}");
}

#[tokio::test]
async fn a_call_without_a_key_is_told_so() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let asked = tonic::Request::new(pb::ListOrdersRequest::default());
    let answer = caller.client.list_orders(asked).await;
    let (_, status) = refused(answer, Code::Unauthenticated, "UNAUTHENTICATED");
    assert_eq!(status.message(), "The request has no Authorization header.");
}

#[tokio::test]
async fn a_deadline_that_is_spent_is_answered() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut asked = own(create("a", order()));
    asked.set_timeout(Duration::ZERO);
    let answer = caller.client.create_order(asked).await;
    refused(answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    let mut asked = own(create("a", order()));
    asked.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    let answer = caller.client.create_order(asked).await;
    refused(answer, Code::InvalidArgument, "INVALID_TIMEOUT");
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_costs_no_more_than_the_deadline() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    shop.world.fail_next(Fault::ReadSlow(Duration::from_mins(1)));
    let before = tokio::time::Instant::now();
    let mut asked = own(pb::ListOrdersRequest::default());
    asked.set_timeout(Duration::from_millis(500));
    let answer = caller.client.list_orders(asked).await;
    refused(answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}

#[tokio::test]
async fn an_order_that_moved_on_is_not_changed() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let id = caller.created("a").await.id;
    let confirm = |etag: &str| {
        own(pb::ConfirmOrderRequest {
            order_id: id.clone(),
            etag: etag.to_owned(),
            ..pb::ConfirmOrderRequest::default()
        })
    };
    let answer = caller.client.confirm_order(confirm("\"v7\"")).await;
    let (info, status) = refused(answer, Code::Aborted, "VERSION_MISMATCH");
    assert_eq!(info.metadata["current_version"], "1");
    let failure = status.get_details_precondition_failure().unwrap();
    assert_eq!(failure.violations[0].r#type, "VERSION_MISMATCH");
    let answer = caller.client.confirm_order(confirm("v1")).await;
    let (_, status) = refused(answer, Code::InvalidArgument, "MALFORMED");
    assert_eq!(fields(&status), ["etag"]);
    caller.client.confirm_order(confirm("\"v1\"")).await.unwrap();
    let answer = caller.client.confirm_order(confirm("")).await;
    let (info, status) = refused(answer, Code::FailedPrecondition, "ILLEGAL_TRANSITION");
    assert!(info.metadata["allowed_transitions"].contains("CancelOrder"), "{info:?}");
    assert!(status.get_details_precondition_failure().is_some(), "{status:?}");
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut wrong = order();
    wrong.customer_id.clear();
    wrong.lines[0].quantity = 0;
    wrong.lines[0].unit_price.as_mut().unwrap().currency = "XXX".to_owned();
    wrong.lines.push(pb::NewLine { sku: "cup".to_owned(), quantity: 1, ..pb::NewLine::default() });
    wrong.shipping = euro(-1);
    for validate_only in [false, true] {
        let mut asked = create("a", wrong.clone());
        asked.validate_only = validate_only;
        let answer = caller.client.create_order(own(asked)).await;
        let (_, status) = refused(answer, Code::InvalidArgument, "INVALID");
        let found = fields(&status);
        for field in [
            "order.customer_id",
            "order.lines[0].quantity",
            "order.lines[0].unit_price.currency",
            "order.lines[1].unit_price.minor",
            "order.shipping.minor",
        ] {
            assert!(found.contains(&field.to_owned()), "{field} is not among {found:?}");
        }
        let violations = status.get_details_bad_request().unwrap().field_violations;
        let currency = violations.iter().find(|found| found.field.ends_with(".currency")).unwrap();
        assert_eq!(currency.reason, "CURRENCY", "a program can tell the rules apart");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut asked = create("a", order());
    asked.idempotency_key = "short".to_owned();
    let answer = caller.client.create_order(own(asked)).await;
    let (_, status) = refused(answer, Code::InvalidArgument, "MALFORMED");
    assert_eq!(fields(&status), ["idempotency_key"]);
    let mut asked = create("a", order());
    asked.idempotency_key.clear();
    let answer = caller.client.create_order(own(asked)).await;
    let (_, status) = refused(answer, Code::InvalidArgument, "IDEMPOTENCY_KEY_MISSING");
    assert_eq!(fields(&status), ["idempotency_key"]);
    let mut asked = create("a", order());
    asked.order = None;
    let answer = caller.client.create_order(own(asked)).await;
    let (_, status) = refused(answer, Code::InvalidArgument, "MALFORMED");
    assert_eq!(fields(&status), ["order"]);
    let after = |seconds, nanos| pb::ListOrdersRequest {
        created_after: Some(prost_types::Timestamp { seconds, nanos }),
        ..pb::ListOrdersRequest::default()
    };
    for (field, asked) in [
        ("state", pb::ListOrdersRequest { state: 99, ..pb::ListOrdersRequest::default() }),
        ("page_size", pb::ListOrdersRequest { page_size: 101, ..pb::ListOrdersRequest::default() }),
        ("created_after", after(1, -1)),
        ("created_after", after(-1, -1)),
        ("created_after", after(1, 1_000_000_000)),
        ("created_after", after(i64::MAX, 0)),
    ] {
        let answer = caller.client.list_orders(own(asked)).await;
        let (_, status) = refused(answer, Code::InvalidArgument, "MALFORMED");
        assert_eq!(fields(&status), [field]);
    }
    let asked =
        pb::ListOrdersRequest { page_token: "x.y".to_owned(), ..pb::ListOrdersRequest::default() };
    let answer = caller.client.list_orders(own(asked)).await;
    refused(answer, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
}

#[tokio::test]
async fn a_message_has_a_largest_size() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut large = order();
    large.customer_id = "x".repeat(1 << 20);
    let answer = caller.client.create_order(own(create("a", large))).await;
    refused(answer, Code::ResourceExhausted, "PAYLOAD_TOO_LARGE");
    caller.created("a").await;
}

#[tokio::test]
async fn no_pieces_at_all_are_not_all_of_them() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let id = caller.created("a").await.id;
    let (order_id, key) = (|| id.clone(), || long("none"));
    let none = || Some(pb::SomePieces::default());
    let cancel = pb::CancelOrderRequest {
        order_id: order_id(),
        idempotency_key: key(),
        lines: none(),
        ..pb::CancelOrderRequest::default()
    };
    let fulfill = pb::CreateFulfillmentRequest {
        order_id: order_id(),
        idempotency_key: key(),
        lines: none(),
        ..pb::CreateFulfillmentRequest::default()
    };
    let back = pb::ReturnOrderRequest {
        order_id: order_id(),
        idempotency_key: key(),
        lines: none(),
        ..pb::ReturnOrderRequest::default()
    };
    let refund = pb::RefundOrderRequest {
        order_id: order_id(),
        idempotency_key: key(),
        lines: none(),
        ..pb::RefundOrderRequest::default()
    };
    let client = &mut caller.client;
    let answers = [
        client.cancel_order(own(cancel)).await.map(drop),
        client.create_fulfillment(own(fulfill)).await.map(drop),
        client.return_order(own(back)).await.map(drop),
        client.refund_order(own(refund)).await.map(drop),
    ];
    for answer in answers {
        let (_, status) = refused(answer, Code::InvalidArgument, "INVALID");
        assert_eq!(fields(&status), ["lines"]);
    }
    let order = caller.order(&id).await;
    assert_eq!((order.version, order.state()), (1, pb::OrderState::Pending));
}

#[tokio::test]
async fn a_change_without_a_key_whose_outcome_is_unknown_is_not_to_be_sent_again() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let id = caller.created("a").await.id;
    for (key, code, retryable) in
        [(String::new(), Code::Unknown, "false"), (long("n"), Code::Unavailable, "true")]
    {
        // As often as it is tried here.
        for _ in 0..4 {
            shop.world.fail_next(Fault::RequestLost);
        }
        let note = pb::AddNoteRequest {
            order_id: id.clone(),
            idempotency_key: key,
            text: "a note".to_owned(),
            ..pb::AddNoteRequest::default()
        };
        let answer = caller.client.add_note(own(note)).await;
        let (info, _) = refused(answer, code, "OUTCOME_UNKNOWN");
        assert_eq!(info.metadata["retryable"], retryable);
    }
}

#[tokio::test]
async fn a_wrong_total_is_told_with_both() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let mut wrong = order();
    wrong.expected_total = euro(400);
    let answer = caller.client.create_order(own(create("a", wrong))).await;
    let (info, _) = refused(answer, Code::InvalidArgument, "TOTAL_MISMATCH");
    assert_eq!(info.metadata["expected_total_minor"], "400");
    assert_eq!(info.metadata["computed_total_minor"], "399");
    assert_eq!(info.metadata["computed_currency"], "EUR");
}

#[tokio::test]
async fn a_busy_store_says_when_to_try_again() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    shop.world.fail_next(Fault::Busy);
    let answer = caller.client.create_order(own(create("a", order()))).await;
    let (info, status) = refused(answer, Code::Unavailable, "STORE_BUSY");
    assert_eq!(info.metadata["retryable"], "true");
    let delay = status.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(delay, Some(Duration::from_secs(1)));
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
    caller.created("a").await;
}

#[tokio::test]
async fn without_a_gateway_nothing_is_placed_that_is_to_be_paid() {
    let shop = Shop::without_gateway();
    let mut caller = Caller::of(&shop).await;
    let mut paid = order();
    paid.payment = Some(pb::PayWith { instrument: "tok_ok".to_owned() });
    let answer = caller.client.create_order(own(create("a", paid))).await;
    refused(answer, Code::Unimplemented, "NO_GATEWAY");
    let id = caller.created("b").await.id;
    let asked = pb::PayOrderRequest {
        order_id: id,
        idempotency_key: long("pay"),
        instrument: "tok_ok".to_owned(),
        ..pb::PayOrderRequest::default()
    };
    refused(caller.client.pay_order(own(asked)).await, Code::Unimplemented, "NO_GATEWAY");
}
