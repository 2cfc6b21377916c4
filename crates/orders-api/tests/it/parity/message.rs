//! What is asked as the messages of the contract.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orders_api::grpc::pb;
use prost::Message;
use serde_json::Value;

use super::asked::{Asked, Operation};

/// A number that no value of any enumeration has.
const NO_VALUE: i32 = 99;

/// The message of a verb: these fields, and what every change says.
macro_rules! verb {
    ($asked:ident => $message:ident { $($field:ident),* }) => {
        one(&pb::$message {
            order_id: $asked.order.clone(),
            idempotency_key: $asked.key.clone(),
            etag: $asked.etag.clone(),
            $($field,)*
        })
    };
}

/// The messages of a call: one, but for a batch, which has one for each order.
pub(super) fn messages(asked: &Asked) -> Vec<Vec<u8>> {
    let (body, wait_seconds) = (&asked.body, asked.wait);
    let (lines, amount) = (pieces(body), money(&body["amount"]));
    let (reason, payment_id) = (may(body, "reason"), may(body, "payment_id"));
    match asked.operation {
        Operation::Create => one(&create(asked)),
        Operation::Batch => batch(asked),
        Operation::Get => one(&pb::GetOrderRequest { order_id: asked.order.clone() }),
        Operation::List => one(&list(body)),
        Operation::History => one(&pb::ListHistoryRequest {
            order_id: asked.order.clone(),
            page_size: number(body, "page_size"),
            page_token: text(body, "page_token"),
        }),
        Operation::Feed => one(&pb::WatchEventsRequest { after: body["after"].as_u64() }),
        Operation::Confirm => verb!(asked => ConfirmOrderRequest { reason }),
        Operation::Cancel => verb!(asked => CancelOrderRequest { lines, reason, wait_seconds }),
        Operation::Fulfill => {
            verb!(asked => CreateFulfillmentRequest { lines, reason, wait_seconds })
        }
        Operation::Return => verb!(asked => ReturnOrderRequest { lines, reason }),
        Operation::Note => {
            let text = text(body, "text");
            verb!(asked => AddNoteRequest { text })
        }
        Operation::Pay => {
            let instrument = text(body, "instrument");
            verb!(asked => PayOrderRequest { instrument, amount, wait_seconds })
        }
        Operation::Capture => {
            verb!(asked => CaptureOrderRequest { payment_id, amount, wait_seconds })
        }
        Operation::Refund => {
            verb!(asked => RefundOrderRequest { payment_id, amount, lines, wait_seconds })
        }
        Operation::Record => verb!(asked => RecordPaymentRequest { amount, reason }),
        Operation::Resolve => {
            let (operation_id, outcome) = (text(body, "operation_id"), outcome(body));
            let reason = reason.unwrap_or_default();
            verb!(asked => ResolvePaymentRequest { operation_id, outcome, reason })
        }
    }
}

fn one(message: &impl Message) -> Vec<Vec<u8>> {
    vec![message.encode_to_vec()]
}

fn create(asked: &Asked) -> pb::CreateOrderRequest {
    pb::CreateOrderRequest {
        order: Some(order(&asked.body)),
        idempotency_key: asked.key.clone(),
        validate_only: asked.validate_only,
        wait_seconds: asked.wait,
    }
}

fn batch(asked: &Asked) -> Vec<Vec<u8>> {
    let items = asked.body["orders"].as_array().into_iter().flatten();
    let message = |item: &Value| pb::BatchCreateOrdersRequest {
        order: Some(order(&item["order"])),
        idempotency_key: text(item, "idempotency_key"),
        batch_key: asked.key.clone(),
    };
    items.map(|item| message(item).encode_to_vec()).collect()
}

fn list(query: &Value) -> pb::ListOrdersRequest {
    // A name that is none over HTTP is a number that is none here; the same holds of times.
    let state = may(query, "state").map_or(0, |name| {
        pb::OrderState::from_str_name(&format!("ORDER_STATE_{name}")).map_or(NO_VALUE, i32::from)
    });
    let payment_state = may(query, "payment_state").map_or(0, |name| {
        pb::PaymentState::from_str_name(&format!("PAYMENT_STATE_{name}"))
            .map_or(NO_VALUE, i32::from)
    });
    let created_after = may(query, "created_after").map(|text| {
        text.parse::<Timestamp>().map_or(prost_types::Timestamp { seconds: 0, nanos: -1 }, |at| {
            prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
        })
    });
    pb::ListOrdersRequest {
        state,
        payment_state,
        customer_id: may(query, "customer_id"),
        created_after,
        external_reference: may(query, "external_reference"),
        page_size: number(query, "page_size"),
        page_token: text(query, "page_token"),
    }
}

fn outcome(body: &Value) -> i32 {
    let outcome = match body["outcome"].as_str() {
        Some("succeeded") => pb::Resolution::Succeeded,
        Some("declined") => pb::Resolution::Declined,
        Some("send-again") => pb::Resolution::SendAgain,
        _ => pb::Resolution::Unspecified,
    };
    outcome.into()
}

fn order(body: &Value) -> pb::NewOrder {
    let metadata = body["metadata"].as_object().into_iter().flatten();
    let entry = |(name, value): (&String, &Value)| {
        (name.clone(), value.as_str().unwrap_or_default().to_owned())
    };
    let payment = body["payment"]
        .is_object()
        .then(|| pb::PayWith { instrument: text(&body["payment"], "instrument") });
    pb::NewOrder {
        customer_id: text(body, "customer_id"),
        external_reference: may(body, "external_reference"),
        lines: body["lines"].as_array().into_iter().flatten().map(line).collect(),
        discount: money(&body["discount"]),
        shipping: money(&body["shipping"]),
        expected_total: money(&body["expected_total"]),
        metadata: metadata.map(entry).collect::<BTreeMap<_, _>>(),
        personal: personal(&body["personal"]),
        payment,
    }
}

fn line(body: &Value) -> pb::NewLine {
    let price = &body["unit_price"];
    let tax = &body["tax"];
    pb::NewLine {
        sku: text(body, "sku"),
        name: may(body, "name"),
        quantity: number(body, "quantity"),
        unit_price: price.is_object().then(|| pb::UnitPrice {
            minor: text(price, "amount_minor"),
            currency: text(price, "currency"),
        }),
        discount: money(&body["discount"]),
        tax: tax.is_object().then(|| pb::Tax {
            amount: money(&tax["amount"]),
            inclusive: tax["inclusive"].as_bool().unwrap_or_default(),
        }),
    }
}

fn personal(body: &Value) -> Option<pb::Personal> {
    body.is_object().then(|| pb::Personal {
        name: may(body, "name"),
        email: may(body, "email"),
        phone: may(body, "phone"),
        shipping_address: address(&body["shipping_address"]),
        billing_address: address(&body["billing_address"]),
    })
}

fn address(body: &Value) -> Option<pb::Address> {
    body.is_object().then(|| pb::Address {
        recipient: may(body, "recipient"),
        line1: text(body, "line1"),
        line2: may(body, "line2"),
        city: text(body, "city"),
        region: may(body, "region"),
        postal_code: may(body, "postal_code"),
        country: text(body, "country"),
    })
}

fn money(body: &Value) -> Option<pb::Money> {
    let minor = || text(body, "amount_minor").parse().expect("an amount that a message can hold");
    body.is_object().then(|| pb::Money { minor: minor(), currency: text(body, "currency") })
}

fn pieces(body: &Value) -> Option<pb::SomePieces> {
    let one = |piece: &Value| pb::Pieces {
        line_no: number(piece, "line_no"),
        quantity: number(piece, "quantity"),
    };
    let lines = body["lines"].as_array()?;
    Some(pb::SomePieces { pieces: lines.iter().map(one).collect() })
}

/// A text that is empty when it is not there.
fn text(of: &Value, name: &str) -> String {
    may(of, name).unwrap_or_default()
}

fn may(of: &Value, name: &str) -> Option<String> {
    of[name].as_str().map(str::to_owned)
}

/// A number that is 0 when it is not there.
fn number(of: &Value, name: &str) -> u32 {
    let number = of[name].as_u64().unwrap_or_default();
    u32::try_from(number).expect("a number that a message can hold")
}
