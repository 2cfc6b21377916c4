//! Every call of one message in a table, beside the same request over HTTP.

use std::collections::BTreeSet;

use axum::{
    body::{Body, Bytes},
    http::{Method, Request, Version, header, request},
};
use http_body_util::BodyExt as _;
use orders_api::grpc::pb::{self, ConfirmOrderResponse};
use prost::Message;
use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::caller::order as new_order;
use crate::shop::{Answer, OWN, Shop, json_body, long, order};

/// What a request says; both protocols are asked the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// The id or number of an order.
    pub(crate) order: String,
    /// The first of its operations that waits for a person, if one does.
    pub(crate) operation: String,
    /// The payment that money is of; the order's only one, when it is not said.
    pub(crate) payment: Option<String>,
    pub(crate) key: String,
    pub(crate) etag: String,
    /// Whether what is asked breaks a rule.
    pub(crate) breaks_a_rule: bool,
}

/// One call of the contract.
pub(crate) struct Row {
    pub(crate) call: &'static str,
    pub(crate) method: Method,
    /// Its address over HTTP; `{id}` is the order.
    pub(crate) path: &'static str,
    /// The verbs after which it can be made.
    pub(super) given: &'static [&'static str],
    pub(super) key: Key,
    pub(super) needs_gateway: bool,
    message: fn(Asked) -> Vec<u8>,
    body: fn(&Asked) -> Value,
}

/// What a call does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// It is a read.
    None,
    /// It is remembered under one.
    May,
    /// It is refused without one.
    Must,
}

/// The shape of every answer to a change.
pub(super) type Changed = ConfirmOrderResponse;

/// The text, or one that no rule lets through.
fn reason(asked: &Asked) -> String {
    if asked.breaks_a_rule { String::new() } else { "it is so".to_owned() }
}

fn pieces(asked: &Asked) -> pb::SomePieces {
    let one = pb::Pieces { line_no: 1, quantity: 1 };
    pb::SomePieces { pieces: if asked.breaks_a_rule { Vec::new() } else { vec![one] } }
}

fn lines(asked: &Asked) -> Value {
    let one = json!([{ "line_no": 1, "quantity": 1 }]);
    json!({ "lines": if asked.breaks_a_rule { json!([]) } else { one } })
}

fn customer(asked: &Asked) -> String {
    if asked.breaks_a_rule { String::new() } else { "c-1".to_owned() }
}

fn instrument(asked: &Asked) -> String {
    if asked.breaks_a_rule { String::new() } else { "tok_ok".to_owned() }
}

fn payment(asked: &Asked) -> Option<String> {
    if asked.breaks_a_rule { Some("no-uuid".to_owned()) } else { asked.payment.clone() }
}

fn currency(asked: &Asked) -> String {
    if asked.breaks_a_rule { "XXX" } else { "EUR" }.to_owned()
}

fn operation(asked: &Asked) -> String {
    if asked.breaks_a_rule { "no-uuid".to_owned() } else { asked.operation.clone() }
}

fn resolution(asked: &Asked) -> Value {
    json!({ "operation_id": operation(asked), "outcome": "succeeded", "reason": "it is so" })
}

fn create(asked: Asked) -> Vec<u8> {
    let order = pb::NewOrder { customer_id: customer(&asked), ..new_order() };
    let idempotency_key = asked.key;
    pb::CreateOrderRequest {
        order: Some(order),
        idempotency_key,
        ..pb::CreateOrderRequest::default()
    }
    .encode_to_vec()
}

fn create_body(asked: &Asked) -> Value {
    let mut order = order();
    order["customer_id"] = customer(asked).into();
    order
}

/// A message of these fields, and of what every change says.
macro_rules! verb {
    ($asked:ident => $message:ident { $($field:ident: $value:expr),* }) => {
        |$asked: Asked| {
            $(let $field = $value;)*
            let message = pb::$message {
                $($field,)*
                order_id: $asked.order,
                idempotency_key: $asked.key,
                etag: $asked.etag,
            };
            message.encode_to_vec()
        }
    };
}

fn read(call: &'static str, path: &'static str, message: fn(Asked) -> Vec<u8>) -> Row {
    Row {
        call,
        method: Method::GET,
        path,
        given: &[],
        key: Key::None,
        needs_gateway: false,
        message,
        body: |_| Value::Null,
    }
}

fn change(
    (call, path): (&'static str, &'static str),
    given: &'static [&'static str],
    key: Key,
    message: fn(Asked) -> Vec<u8>,
    body: fn(&Asked) -> Value,
) -> Row {
    let needs_gateway = matches!(call, "PayOrder" | "CaptureOrder");
    Row { call, method: Method::POST, path, given, key, needs_gateway, message, body }
}

/// The name of every call of the contract that has one message and one answer.
pub(super) fn names() -> BTreeSet<&'static str> {
    let contract = include_str!("../../../../../api/orders/v1/orders.proto");
    let name = |line: &'static str| line.strip_prefix("  rpc ")?.split('(').next();
    contract.lines().filter(|line| !line.contains("(stream ")).filter_map(name).collect()
}

/// Every call of the contract that has one message and one answer.
pub(crate) fn rows() -> Vec<Row> {
    let mut all = vec![
        change(("CreateOrder", "/v1/orders"), &[], Key::Must, create, create_body),
        read("GetOrder", "/v1/orders/{id}", |asked| {
            pb::GetOrderRequest { order_id: asked.order }.encode_to_vec()
        }),
        read("ListOrders", "/v1/orders", |_| pb::ListOrdersRequest::default().encode_to_vec()),
        read("ListHistory", "/v1/orders/{id}/history", |asked| {
            pb::ListHistoryRequest { order_id: asked.order, ..pb::ListHistoryRequest::default() }
                .encode_to_vec()
        }),
    ];
    all.extend(verbs());
    all.extend(payments());
    all.extend(corrections());
    all
}

fn verbs() -> [Row; 5] {
    [
        change(
            ("ConfirmOrder", "/v1/orders/{id}/confirm"),
            &[],
            Key::May,
            verb!(asked => ConfirmOrderRequest { reason: Some(reason(&asked)) }),
            |asked| json!({ "reason": reason(asked) }),
        ),
        change(
            ("CancelOrder", "/v1/orders/{id}/cancel"),
            &[],
            Key::Must,
            verb!(asked => CancelOrderRequest {
                lines: Some(pieces(&asked)),
                reason: None,
                wait_seconds: 0
            }),
            lines,
        ),
        change(
            ("CreateFulfillment", "/v1/orders/{id}/fulfillments"),
            &["confirm"],
            Key::Must,
            verb!(asked => CreateFulfillmentRequest {
                lines: Some(pieces(&asked)),
                reason: None,
                wait_seconds: 0
            }),
            lines,
        ),
        change(
            ("ReturnOrder", "/v1/orders/{id}/return"),
            &["pay", "fulfillments"],
            Key::Must,
            verb!(asked => ReturnOrderRequest { lines: Some(pieces(&asked)), reason: None }),
            lines,
        ),
        change(
            ("AddNote", "/v1/orders/{id}/notes"),
            &[],
            Key::May,
            verb!(asked => AddNoteRequest { text: reason(&asked) }),
            |asked| json!({ "text": reason(asked) }),
        ),
    ]
}

fn payments() -> [Row; 3] {
    [
        change(
            ("PayOrder", "/v1/orders/{id}/pay"),
            &[],
            Key::Must,
            verb!(asked => PayOrderRequest {
                instrument: instrument(&asked),
                amount: None,
                wait_seconds: 0
            }),
            |asked| json!({ "instrument": instrument(asked) }),
        ),
        change(
            ("CaptureOrder", "/v1/orders/{id}/capture"),
            &["pay"],
            Key::Must,
            verb!(asked => CaptureOrderRequest {
                payment_id: payment(&asked),
                amount: None,
                wait_seconds: 0
            }),
            |asked| payment(asked).map_or_else(|| json!({}), |id| json!({ "payment_id": id })),
        ),
        change(
            ("RecordPayment", "/v1/orders/{id}/payments"),
            &[],
            Key::Must,
            verb!(asked => RecordPaymentRequest {
                amount: Some(pb::Money { minor: 100, currency: currency(&asked) }),
                reason: None
            }),
            |asked| json!({ "amount": { "amount_minor": "100", "currency": currency(asked) } }),
        ),
    ]
}

fn corrections() -> [Row; 2] {
    [
        change(
            ("RefundOrder", "/v1/orders/{id}/refund"),
            &["pay", "capture"],
            Key::Must,
            verb!(asked => RefundOrderRequest {
                payment_id: payment(&asked),
                amount: None,
                lines: None,
                wait_seconds: 0
            }),
            |asked| payment(asked).map_or_else(|| json!({}), |id| json!({ "payment_id": id })),
        ),
        change(
            ("ResolvePayment", "/v1/orders/{id}/resolve"),
            &["payments", "cancel"],
            Key::Must,
            verb!(asked => ResolvePaymentRequest {
                operation_id: operation(&asked),
                outcome: pb::Resolution::Succeeded.into(),
                reason: "it is so".to_owned()
            }),
            resolution,
        ),
    ]
}

impl Row {
    /// An order on which it can be made, and what it then asks.
    pub(crate) async fn ready(&self, shop: &Shop) -> Asked {
        self.ready_as(shop, OWN).await
    }

    /// The same, of whoever has this token.
    pub(crate) async fn ready_as(&self, shop: &Shop, token: &str) -> Asked {
        let (_, holder) = token.split_once(' ').expect("a scheme and a key");
        let key = |verb: &str| long(&format!("{verb}-for-{}-{holder}", self.call));
        let placed = tell(shop, token, ("/v1/orders", &key("order")), &order()).await;
        let id = placed["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/orders/{id}");
        for verb in self.given {
            let body = match *verb {
                "pay" => json!({ "instrument": "tok_ok" }),
                "payments" => json!({ "amount": { "amount_minor": "399", "currency": "EUR" } }),
                _ => json!({}),
            };
            tell(shop, token, (&format!("{path}/{verb}"), &key(verb)), &body).await;
            shop.work().await;
        }
        let request = Request::get(&path).header(header::AUTHORIZATION, token);
        let order = shop.send(request.body(Body::empty()).unwrap()).await.json();
        let mut operations = order["payments"][0]["operations"].as_array().into_iter().flatten();
        let parked = operations.find(|operation| operation["state"] == "PARKED");
        let operation = parked.map_or("", |operation| operation["id"].as_str().unwrap());
        Asked {
            order: id,
            operation: operation.to_owned(),
            key: format!("key-of-{:-<16}", self.call),
            ..Asked::default()
        }
    }

    /// The message that asks this.
    pub(crate) fn message(&self, asked: &Asked) -> Vec<u8> {
        (self.message)(asked.clone())
    }

    /// Makes the call as whoever has this token, or none, with these headers more.
    pub(crate) async fn call(
        &self,
        shop: &Shop,
        asked: &Asked,
        token: &str,
        headers: &[(&str, &str)],
    ) -> Result<Vec<u8>, Status> {
        let mut request = call(self.call);
        if !token.is_empty() {
            request = request.header("authorization", token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(shop, request, framed(&self.message(asked))).await
    }

    /// Makes the call with this message, whatever it is.
    pub(super) async fn send(&self, shop: &Shop, message: &[u8]) -> Result<Vec<u8>, Status> {
        send(shop, call(self.call).header("authorization", OWN), framed(message)).await
    }

    /// Asks the same over HTTP.
    pub(super) async fn ask(&self, shop: &Shop, asked: &Asked) -> Answer {
        self.ask_as(shop, asked, OWN).await
    }

    /// Asks the same over HTTP as whoever has this token.
    pub(super) async fn ask_as(&self, shop: &Shop, asked: &Asked, token: &str) -> Answer {
        let mut request = self.asking(asked);
        request.headers_mut().insert(header::AUTHORIZATION, token.parse().unwrap());
        shop.send(request).await
    }

    /// The request that asks this over HTTP, as nobody.
    pub(crate) fn asking(&self, asked: &Asked) -> Request<Body> {
        let path = self.path.replace("{id}", &asked.order);
        let mut request = Request::builder().method(self.method.clone()).uri(path);
        request = request.header("content-type", "application/json");
        for (name, value) in [("idempotency-key", &asked.key), ("if-match", &asked.etag)] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        let body = (self.body)(asked);
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        request.body(body).unwrap()
    }
}

/// Asks for a change over HTTP as whoever has this token: at which address, and under which key. Tells
/// the order as it is then.
async fn tell(shop: &Shop, token: &str, (path, key): (&str, &str), body: &Value) -> Value {
    let request = Request::post(path).header(header::AUTHORIZATION, token);
    let answer = shop.send(json_body(request.header("idempotency-key", key), body)).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text());
    answer.json()
}

/// A call of this name, still without its message.
pub(crate) fn call(name: &str) -> request::Builder {
    Request::post(format!("/orders.v1.OrderService/{name}"))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
}

/// A message as it stands in the body of a call.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat()
}

/// The message that a call is answered with, or the status it fails with.
pub(crate) async fn send(
    shop: &Shop,
    request: request::Builder,
    body: impl Into<Body>,
) -> Result<Vec<u8>, Status> {
    let answer = shop.send(request.body(body.into()).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/grpc");
    // What comes to a good end says so in its trailers.
    match Status::from_header_map(&answer.headers) {
        Some(status) => Err(status),
        None => Ok(answer.body[5..].to_vec()),
    }
}

/// What a call that streams is answered with, message by message as they stand in the body, and the
/// status that it ends with.
pub(super) async fn streamed(
    shop: &Shop,
    request: request::Builder,
    body: impl Into<Body>,
) -> (Bytes, Status) {
    let answer = shop.open(request.body(body.into()).unwrap()).await;
    let body = answer.into_body().collect().await.unwrap();
    let status = body.trailers().and_then(Status::from_header_map).expect("a status");
    (body.to_bytes(), status)
}

/// The reason of a refusal, and the fields it finds fault with.
pub(crate) fn reason_of(status: &Status) -> (String, Vec<String>) {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    let found = status.get_details_bad_request().map(|found| found.field_violations);
    let fields = found.into_iter().flatten().map(|violation| violation.field).collect();
    (info.reason, fields)
}

/// What a change was answered with.
pub(super) fn changed(message: &[u8]) -> (pb::Order, bool) {
    let answer = Changed::decode(message).expect("an answer to a change");
    (answer.order.expect("an order"), answer.replayed)
}
