//! The gRPC API: the same use cases, rules and problems as over HTTP, on the same address.
//!
//! Its routes stand in [`crate::http::router`], behind the same layers and one of their own that takes
//! a call's message in. A call that fails is a problem there, with the HTTP status of the table, so
//! that logs and metrics count both protocols alike; [`spoken()`] stands outermost and says it as a
//! `google.rpc.Status`. Whoever calls the service from Rust has a [`client`] here.
//!
//! Deliberately absent until they work: compressed messages.

/// The messages of a contract, a client and a server, as they are generated from it.
macro_rules! generated {
    ($(#[$doc:meta])+ $package:literal $(, $lint:ident)?) => {
        $(#[$doc])+
        #[expect(
            clippy::pedantic,
            clippy::allow_attributes,
            clippy::allow_attributes_without_reason,
            clippy::clone_on_ref_ptr,
            unused_qualifications,
            $($lint,)?
            reason = "it is generated"
        )]
        pub mod pb {
            include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
        }
    };
}

mod calls;
pub mod client;
pub mod health;
mod heard;
mod incoming;
mod read;
pub mod reflection;
mod seats;
mod shape;
mod spoken;
mod streams;
mod telling;
mod told;

use std::fmt;

use axum::{Router, middleware, routing::post_service};
use mainstay_context::Context;
use orders::ports::Ports;
use tonic::{Request, Response, Status, Streaming};

pub(crate) use heard::is_call;
pub use spoken::spoken;

use self::{
    heard::Takes,
    pb::order_service_server::{OrderService, OrderServiceServer},
    shape::Shape,
    telling::Telling,
};
use crate::{
    admission,
    api::Api,
    gate, limits,
    problem::{Code, Problem},
};

generated! {
    /// The messages of `api/orders/v1/orders.proto`, a client and a server.
    "orders.v1"
}

/// All that is spoken here as descriptors, a `google.protobuf.FileDescriptorSet`: the contract, the
/// standards of health and reflection, and what they import.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The largest message that is read, in bytes, whatever the limit on the bodies of HTTP is.
pub const LARGEST_IN: usize = 1 << 20;
/// The largest message that is sent, in bytes: the most that callers take when they set no limit.
pub const LARGEST_OUT: usize = 4 << 20;

/// The call to which orders come as a stream; its path, as the contract has it.
pub(crate) const BATCH: &str = "/orders.v1.OrderService/BatchCreateOrders";
/// The call that tells of events as they happen.
pub(crate) const WATCH: &str = "/orders.v1.OrderService/WatchEvents";

/// Whether the call of this path only looks at what is there.
pub(crate) fn is_read(path: &str) -> bool {
    let call = path.strip_prefix("/orders.v1.OrderService/").unwrap_or_default();
    call.starts_with("Get") || call.starts_with("List")
}

/// Every call: its path, as the contract has it, and the message it takes.
pub(crate) const CALLS: &[(&str, usize)] = include!(concat!(env!("OUT_DIR"), "/calls.rs"));

/// The routes of every call; one for each, so that metrics tell them apart.
pub(crate) fn routes<P: Ports>(api: &Api<P>) -> Router {
    let service = OrderServiceServer::new(Service(api.clone()))
        .max_decoding_message_size(LARGEST_IN)
        .max_encoding_message_size(LARGEST_OUT);
    let route = |router: Router, (path, asked): &(&str, usize)| {
        let (call, shape) = (post_service(service.clone()), Shape(*asked));
        let call = if *path == BATCH {
            call.route_layer(middleware::from_fn_with_state(shape, heard::hear_each))
        } else {
            // A call that streams has no deadline of ours.
            let within = (*path == WATCH).then_some(api.config.step);
            let takes = Takes { most: LARGEST_IN, shape: Some(shape), within };
            call.route_layer(middleware::from_fn_with_state(takes, heard::hear))
        };
        router.route(path, call)
    };
    let gate = middleware::from_fn_with_state(api.clone(), gate::authenticate::<P>);
    let limit = middleware::from_fn_with_state(api.config.limits.clone(), limits::limit);
    let calls = CALLS.iter().fold(Router::new(), route);
    calls
        .route_layer(admission::layer(api))
        .route_layer(middleware::from_fn(gate::authorize))
        .route_layer(limit)
        .route_layer(gate)
}

struct Service<P>(Api<P>);

macro_rules! calls {
    ($($call:ident($asked:ident) -> $answer:ident;)+) => {
        #[tonic::async_trait]
        impl<P: Ports> OrderService for Service<P> {
            $(async fn $call(
                &self,
                request: Request<pb::$asked>,
            ) -> Result<Response<pb::$answer>, Status> {
                let (cx, asked) = open(request)?;
                Ok(Response::new(calls::$call(&self.0, &cx, asked).await?))
            })+

            type BatchCreateOrdersStream = Telling<pb::BatchCreateOrdersResponse>;

            async fn batch_create_orders(
                &self,
                request: Request<Streaming<pb::BatchCreateOrdersRequest>>,
            ) -> Result<Response<Self::BatchCreateOrdersStream>, Status> {
                Ok(streams::batch_create_orders(&self.0, &request)?)
            }

            type WatchEventsStream = Telling<pb::WatchEventsResponse>;

            async fn watch_events(
                &self,
                request: Request<pb::WatchEventsRequest>,
            ) -> Result<Response<Self::WatchEventsStream>, Status> {
                Ok(streams::watch_events(&self.0, request).await?)
            }
        }
    };
}

calls! {
    create_order(CreateOrderRequest) -> CreateOrderResponse;
    get_order(GetOrderRequest) -> GetOrderResponse;
    list_orders(ListOrdersRequest) -> ListOrdersResponse;
    confirm_order(ConfirmOrderRequest) -> ConfirmOrderResponse;
    cancel_order(CancelOrderRequest) -> CancelOrderResponse;
    create_fulfillment(CreateFulfillmentRequest) -> CreateFulfillmentResponse;
    return_order(ReturnOrderRequest) -> ReturnOrderResponse;
    add_note(AddNoteRequest) -> AddNoteResponse;
    pay_order(PayOrderRequest) -> PayOrderResponse;
    capture_order(CaptureOrderRequest) -> CaptureOrderResponse;
    refund_order(RefundOrderRequest) -> RefundOrderResponse;
    record_payment(RecordPaymentRequest) -> RecordPaymentResponse;
    resolve_payment(ResolvePaymentRequest) -> ResolvePaymentResponse;
    list_history(ListHistoryRequest) -> ListHistoryResponse;
}

/// The context that the layers made for a call, and what it asks.
fn open<T>(request: Request<T>) -> Result<(Context, T), Problem> {
    let cx = request.extensions().get::<Context>().cloned();
    Ok((cx.ok_or_else(passed_by)?, request.into_inner()))
}

/// The problem of a call that no layer made ready.
fn passed_by() -> Problem {
    Problem::new(Code::Internal, "The call did not pass the layers that it must.")
}

/// Shows nothing of what may hold personal data or open a purse.
macro_rules! silent {
    ($($message:ident)+) => {$(
        impl fmt::Debug for pb::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($message), "(..)"))
            }
        }
    )+};
}

silent! { AddNoteRequest Address Note PayOrderRequest PayWith Personal }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_calls_is_said_of_calls_that_there_are() {
        for named in &[BATCH, WATCH] {
            assert!(CALLS.iter().any(|(path, _)| path == named), "{named}");
        }
    }
}
