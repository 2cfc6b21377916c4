//! A caller of the API with a connection of its own.

use hyper::{body::Incoming, client, server};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use orders_api::grpc::{
    health::pb::health_client::HealthClient,
    pb::{self, create_order_response::Outcome, order_service_client::OrderServiceClient},
};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status, body::Body};
use tonic_types::{ErrorInfo, StatusExt as _};
use tower::{service_fn, util::BoxCloneService};

use crate::shop::{OWN, Shop, long};

type Connection = BoxCloneService<http::Request<Body>, http::Response<Incoming>, hyper::Error>;

pub(super) struct Caller {
    pub(super) client: OrderServiceClient<Connection>,
    pub(super) health: HealthClient<Connection>,
    /// Both ends of the connection; they end with the caller.
    _ends: JoinSet<()>,
}

impl Caller {
    pub(super) async fn of(shop: &Shop) -> Self {
        let (near, far) = tokio::io::duplex(1 << 16);
        let mut ends = JoinSet::new();
        let serving = server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(far), TowerToHyperService::new(shop.app()));
        ends.spawn(async move { drop(serving.await) });
        let (executor, near) = (TokioExecutor::new(), TokioIo::new(near));
        let handshake = client::conn::http2::handshake::<_, _, Body>(executor, near).await;
        let (sender, connection) = handshake.unwrap();
        ends.spawn(async move { drop(connection.await) });
        let send = service_fn(move |request: http::Request<Body>| {
            let mut sender = sender.clone();
            async move { sender.send_request(request).await }
        });
        let origin: http::Uri = "http://shop.test".parse().unwrap();
        let connection = Connection::new(send);
        let client = OrderServiceClient::with_origin(connection.clone(), origin.clone());
        let health = HealthClient::with_origin(connection, origin);
        Self { client, health, _ends: ends }
    }

    /// Places [`order`] under this key.
    pub(super) async fn created(&mut self, key: &str) -> pb::Order {
        let answer = self.client.create_order(own(create(key, order()))).await.unwrap();
        placed(answer.into_inner())
    }

    pub(super) async fn order(&mut self, id: &str) -> pb::Order {
        let asked = pb::GetOrderRequest { order_id: id.to_owned() };
        let answer = self.client.get_order(own(asked)).await.unwrap();
        answer.into_inner().order.expect("an order")
    }
}

/// The order that a create placed.
pub(super) fn placed(answer: pb::CreateOrderResponse) -> pb::Order {
    let Some(Outcome::Order(order)) = answer.outcome else { panic!("no order: {answer:?}") };
    *order
}

/// A call of the shop's own.
pub(super) fn own<T>(message: T) -> Request<T> {
    with(message, OWN)
}

/// A call by whoever has this key.
pub(super) fn with<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", key.parse().unwrap());
    request
}

/// The order of [`crate::shop::order`].
pub(crate) fn order() -> pb::NewOrder {
    pb::NewOrder {
        customer_id: "c-1".to_owned(),
        lines: vec![pb::NewLine {
            sku: "tea".to_owned(),
            quantity: 2,
            unit_price: Some(pb::UnitPrice {
                minor: "199.5".to_owned(),
                currency: "EUR".to_owned(),
            }),
            ..pb::NewLine::default()
        }],
        ..pb::NewOrder::default()
    }
}

pub(super) fn create(key: &str, order: pb::NewOrder) -> pb::CreateOrderRequest {
    pb::CreateOrderRequest {
        order: Some(order),
        idempotency_key: long(key),
        ..pb::CreateOrderRequest::default()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a message may be missing in every field")]
pub(super) fn euro(minor: i64) -> Option<pb::Money> {
    Some(pb::Money { minor, currency: "EUR".to_owned() })
}

/// Asserts that a call was refused so, and tells what programs are told of it.
#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    code: Code,
    reason: &str,
) -> (ErrorInfo, Status) {
    let status = answer.expect_err("a refusal");
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "orderly.dev"));
    let request = status.get_details_request_info().expect("a RequestInfo").request_id;
    let echoed = status.metadata().get("x-request-id").map(|id| id.to_str().unwrap());
    assert_eq!(echoed, Some(request.as_str()), "{status:?}");
    (info, status)
}

/// The fields that a refusal finds fault with.
#[track_caller]
pub(super) fn fields(status: &Status) -> Vec<String> {
    let found = status.get_details_bad_request().expect("a BadRequest");
    found.field_violations.into_iter().map(|violation| violation.field).collect()
}
