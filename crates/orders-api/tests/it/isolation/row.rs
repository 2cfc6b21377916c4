//! The rows: every operation, and what asks for it over each protocol that has it.

use std::collections::BTreeSet;

use axum::{body::Body, http::Request};
use orders_api::{
    auth::Scope,
    grpc::{DESCRIPTORS, pb},
};
use orders_testkit::World;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};

use crate::{
    grpc::{
        caller::order as message_of_order,
        rows::{self as calls, Asked, call, framed},
    },
    shop::{get, json_body, order_with, post},
};

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    Http,
    Grpc,
}

impl Face {
    pub(super) const ALL: [Self; 2] = [Self::Http, Self::Grpc];
}

/// One operation.
pub(super) struct Row {
    /// Its call; of what there is over HTTP only, its name in the OpenAPI document.
    pub(super) call: &'static str,
    /// Its method and path over HTTP.
    address: String,
    pub(super) what: What,
}

pub(super) enum What {
    /// Something about one order that is there.
    OfOrder(calls::Row),
    Create,
    Batch,
    List,
    Feed,
    /// What the payment provider tells; a signature opens it, and no key.
    Webhook,
}

/// Every operation.
pub(super) fn rows() -> Vec<Row> {
    let mut all = vec![
        row("CreateOrder", "POST /v1/orders", What::Create),
        row("BatchCreateOrders", "POST /v1/orders/batch", What::Batch),
        row("ListOrders", "GET /v1/orders", What::List),
        row("WatchEvents", "GET /v1/events", What::Feed),
        row("hearGateway", "POST /webhooks/gateway", What::Webhook),
    ];
    let of_orders = calls::rows().into_iter().filter(|row| row.path.contains("{id}"));
    all.extend(of_orders.map(|of| {
        let address = format!("{} {}", of.method, of.path);
        row(of.call, &address, What::OfOrder(of))
    }));
    all
}

fn row(call: &'static str, address: &str, what: What) -> Row {
    Row { call, address: address.to_owned(), what }
}

/// Every operation that a protocol offers, as [`Row::at`] names it.
pub(super) fn offered(face: Face) -> BTreeSet<String> {
    match face {
        Face::Http => {
            let document = serde_json::to_value(orders_api::http::openapi::<World>()).unwrap();
            let mut all = BTreeSet::new();
            for (path, methods) in document["paths"].as_object().unwrap() {
                let methods = methods.as_object().unwrap().keys();
                all.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
            }
            all
        }
        Face::Grpc => {
            let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
            let contract = files.into_iter().filter(|file| file.package() == "orders.v1");
            let services = contract.flat_map(|file| file.service);
            let calls = services.flat_map(|service| service.method);
            calls.map(|call| call.name().to_owned()).collect()
        }
    }
}

impl Row {
    /// How a protocol names it.
    pub(super) fn at(&self, face: Face) -> &str {
        match face {
            Face::Http => &self.address,
            Face::Grpc => self.call,
        }
    }

    pub(super) fn is_over(&self, face: Face) -> bool {
        face == Face::Http || !matches!(self.what, What::Webhook)
    }

    pub(super) fn is_of_an_order(&self) -> bool {
        matches!(self.what, What::OfOrder(_))
    }

    /// Whether it changes something.
    pub(super) fn is_change(&self) -> bool {
        self.address.starts_with("POST ")
    }

    /// The scope that opens it. It is written out once more, so that none changes unseen.
    pub(super) fn scope(&self) -> Scope {
        match self.call {
            "GetOrder" | "ListOrders" | "ListHistory" => Scope::OrdersRead,
            "CreateOrder" | "BatchCreateOrders" | "ConfirmOrder" | "CancelOrder"
            | "CreateFulfillment" | "ReturnOrder" | "AddNote" => Scope::OrdersWrite,
            "PayOrder" | "CaptureOrder" | "RefundOrder" | "RecordPayment" => Scope::PaymentsWrite,
            "ResolvePayment" => Scope::PaymentsResolve,
            "WatchEvents" => Scope::EventsRead,
            other => panic!("{other} has no scope here"),
        }
    }

    /// The request that asks this; who asks is not said yet.
    pub(super) fn request(&self, face: Face, asked: &Asked) -> Request<Body> {
        match (&self.what, face) {
            (What::OfOrder(row), Face::Http) => row.asking(asked),
            (What::OfOrder(row), Face::Grpc) => called(row.call, &row.message(asked)),
            (What::Create, _) => create(face, &asked.key),
            (What::Batch, _) => batch(face, &asked.key),
            (What::List, _) => list(face, ""),
            (What::Feed, _) => feed(face),
            (What::Webhook, _) => unreachable!("its sender signs it"),
        }
    }
}

fn called(name: &str, message: &[u8]) -> Request<Body> {
    call(name).body(Body::from(framed(message))).unwrap()
}

fn asked(path: &str) -> Request<Body> {
    get(path).body(Body::empty()).unwrap()
}

/// An order whose tenant calls it by its key.
fn referenced(key: &str) -> Value {
    order_with(&json!({ "external_reference": key }))
}

/// The same as a message.
fn referenced_message(key: &str) -> pb::NewOrder {
    pb::NewOrder { external_reference: Some(key.to_owned()), ..message_of_order() }
}

/// Places an order under a key, by which it is called too.
pub(super) fn create(face: Face, key: &str) -> Request<Body> {
    match face {
        Face::Http => {
            json_body(post("/v1/orders").header("idempotency-key", key), &referenced(key))
        }
        Face::Grpc => {
            let message = pb::CreateOrderRequest {
                order: Some(referenced_message(key)),
                idempotency_key: key.to_owned(),
                ..pb::CreateOrderRequest::default()
            };
            called("CreateOrder", &message.encode_to_vec())
        }
    }
}

/// The same as the one order of a batch.
pub(super) fn batch(face: Face, key: &str) -> Request<Body> {
    match face {
        Face::Http => {
            let request = post("/v1/orders/batch").header("idempotency-key", key);
            json_body(request, &json!({ "orders": [{ "order": referenced(key) }] }))
        }
        Face::Grpc => {
            let message = pb::BatchCreateOrdersRequest {
                order: Some(referenced_message(key)),
                batch_key: key.to_owned(),
                ..pb::BatchCreateOrdersRequest::default()
            };
            called("BatchCreateOrders", &message.encode_to_vec())
        }
    }
}

/// One order of the list, from this token on; all of it without one.
pub(super) fn list(face: Face, page_token: &str) -> Request<Body> {
    match (face, page_token) {
        (Face::Http, "") => asked("/v1/orders"),
        (Face::Http, token) => asked(&format!("/v1/orders?page_size=1&page_token={token}")),
        (Face::Grpc, token) => {
            let message = pb::ListOrdersRequest {
                page_size: u32::from(!token.is_empty()),
                page_token: token.to_owned(),
                ..pb::ListOrdersRequest::default()
            };
            called("ListOrders", &message.encode_to_vec())
        }
    }
}

/// Every event; a watch is ended by its own deadline.
pub(super) fn feed(face: Face) -> Request<Body> {
    match face {
        Face::Http => asked("/v1/events"),
        Face::Grpc => {
            let message = pb::WatchEventsRequest::default().encode_to_vec();
            let request = call("WatchEvents").header("grpc-timeout", "100m");
            request.body(Body::from(framed(&message))).unwrap()
        }
    }
}

/// The history of an order.
pub(super) fn history(face: Face, order: &str) -> Request<Body> {
    match face {
        Face::Http => asked(&format!("/v1/orders/{order}/history")),
        Face::Grpc => {
            let order_id = order.to_owned();
            let message = pb::ListHistoryRequest { order_id, ..pb::ListHistoryRequest::default() };
            called("ListHistory", &message.encode_to_vec())
        }
    }
}
