//! gRPC against the real binary: the orders, keys and deadlines of HTTP, on the same port.

use std::{fs, net::TcpListener, time::Duration};

use orders_api::grpc::{
    health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    },
    pb::{self, create_order_response::Outcome, order_service_client::OrderServiceClient},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet};
use tonic::Code;

use crate::support::{Calls, Client, Home, Process, Service, calls, soon, until};

/// Somebody with a key and a connection of HTTP/2.
struct Caller {
    calls: OrderServiceClient<Calls>,
    health: HealthClient<Calls>,
    key: String,
    /// Ends with the caller.
    _driver: JoinSet<()>,
}

impl Caller {
    async fn of(client: &Client) -> Self {
        let stream = TcpStream::connect(client.api).await.unwrap();
        let (connection, driver) = calls(stream).await.unwrap();
        let origin: hyper::Uri = format!("http://{}", client.api).parse().unwrap();
        let calls = OrderServiceClient::with_origin(connection.clone(), origin.clone());
        let health = HealthClient::with_origin(connection, origin);
        Self { calls, health, key: format!("Bearer {}", client.key), _driver: driver }
    }

    /// A call of this message, under a request id.
    fn asks<T>(&self, id: &str, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", self.key.parse().unwrap());
        request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        request
    }
}

/// The order of [`crate::support::order`].
pub(crate) fn order() -> pb::NewOrder {
    let unit_price = pb::UnitPrice { minor: "499".to_owned(), currency: "EUR".to_owned() };
    pb::NewOrder {
        customer_id: "c-1".to_owned(),
        lines: vec![pb::NewLine {
            sku: "tea".to_owned(),
            quantity: 2,
            unit_price: Some(unit_price),
            ..pb::NewLine::default()
        }],
        ..pb::NewOrder::default()
    }
}

/// The line of the log of the request of this id.
async fn logged(service: &Service, id: &str) -> Value {
    until("the call is logged", async || {
        let log = service.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["target"] == "http.access" && line["request_id"] == id)
    })
    .await
}

#[tokio::test]
async fn an_order_is_one_over_both_protocols() {
    let home = Home::new();
    let service = home.serve().await;
    let client = service.client();
    let mut caller = Caller::of(&client).await;
    let id = client.create("one-key-for-both-00").await.placed();

    let again = pb::CreateOrderRequest {
        order: Some(order()),
        idempotency_key: "one-key-for-both-00".to_owned(),
        ..pb::CreateOrderRequest::default()
    };
    let request = caller.asks("again", again);
    let answer = soon(caller.calls.create_order(request)).await.unwrap().into_inner();
    assert!(answer.replayed);
    let Some(Outcome::Order(placed)) = answer.outcome else { panic!("no order: {answer:?}") };
    assert_eq!((&placed.id, placed.version), (&id, 1));

    let request = caller.asks("get", pb::GetOrderRequest { order_id: placed.number.clone() });
    let got = soon(caller.calls.get_order(request)).await.unwrap().into_inner().order;
    assert_eq!(got.as_ref(), Some(&*placed));

    let cancel = pb::CancelOrderRequest {
        order_id: id.clone(),
        idempotency_key: "one-cancel-for-both".to_owned(),
        etag: placed.etag.clone(),
        ..pb::CancelOrderRequest::default()
    };
    let request = caller.asks("cancel", cancel);
    let answer = soon(caller.calls.cancel_order(request)).await.unwrap().into_inner();
    assert_eq!(answer.order.unwrap().state(), pb::OrderState::Cancelled);
    let again = client.verb(&id, "cancel", "one-cancel-for-both", &json!({})).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, "true"));

    let line = logged(&service, "get").await;
    assert_eq!((&line["status"], &line["method"]), (&200.into(), &"POST".into()), "{line}");
    assert_eq!(line["route"], "/orders.v1.OrderService/GetOrder", "{line}");
    service.stop().await;
    assert_eq!(home.sound().await["orders"], 1);
}

#[tokio::test]
async fn a_call_that_fails_is_logged_and_counted_as_what_it_is() {
    let home = Home::new();
    let service = home.serve().await;
    let mut caller = Caller::of(&service.client()).await;
    let unknown = pb::GetOrderRequest { order_id: "no-order".to_owned() };
    let mut request = caller.asks("late", unknown.clone());
    request.set_timeout(Duration::ZERO);
    let late = soon(caller.calls.get_order(request)).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late:?}");
    let request = caller.asks("unknown", unknown);
    let none = soon(caller.calls.get_order(request)).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound, "{none:?}");
    for (id, status, code) in [("late", 504, "deadline-exceeded"), ("unknown", 404, "not-found")] {
        let line = logged(&service, id).await;
        assert_eq!((&line["status"], &line["code"]), (&status.into(), &code.into()), "{line}");
    }
    let metrics = service.metrics().await;
    let counts = |line: &str| line.contains("OrderService/GetOrder\"") && line.contains("\"404\"");
    assert!(metrics.lines().any(counts), "{metrics}");
    service.stop().await;
}

#[tokio::test]
async fn health_is_told_without_a_key() {
    let home = Home::new();
    let service = home.serve().await;
    let mut caller = Caller::of(&service.client()).await;
    for name in ["", "orders.v1.OrderService"] {
        let asked = HealthCheckRequest { service: name.to_owned() };
        let answer = soon(caller.health.check(asked)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{name:?}");
    }
    service.stop().await;
}

#[tokio::test]
async fn the_binary_asks_a_service_whether_it_is_healthy() {
    let home = Home::new();
    let service = home.serve().await;
    let url = format!("http://{}", service.api);
    let ran = home.run_alone(&["health", "--url", &url]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "serving\n"), "{ran:?}");
    service.stop().await;
    let ran = home.run_alone(&["health", "--url", &url]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.err.contains("the request was not sent"), "{ran:?}");
}

#[tokio::test]
async fn the_binary_prints_events_as_they_happen() {
    let home = Home::new();
    let service = home.serve().await;
    let client = service.client();
    fs::write(home.path("key"), format!("{}\n", client.key)).unwrap();
    let mut ids = vec![client.create("before-the-watch-0").await.placed()];
    let url = format!("http://{}", service.api);
    let watch = ["events", "watch", "--url", url.as_str(), "--key-file", "key"];
    let watching = Process::start(home.alone(&watch));
    let lines = async |count: usize| {
        until("so many events are printed", async || {
            let printed = watching.printed();
            let lines = printed.lines().filter_map(|line| serde_json::from_str(line).ok());
            Some(lines.collect::<Vec<Value>>()).filter(|lines| lines.len() == count)
        })
        .await
    };
    lines(1).await;
    ids.push(client.create("during-the-watch-0").await.placed());
    for ((at, line), id) in (1..).zip(lines(2).await).zip(&ids) {
        assert_eq!(line["position"], at.to_string(), "{line}");
        assert_eq!((&line["subject"], &line["type"]), (&json!(id), &json!(PLACED)), "{line}");
    }
    let after = Process::start(home.alone(&[&watch[..], &["--after", "1"]].concat()));
    let line = until("the second event is printed", async || {
        serde_json::from_str::<Value>(after.printed().lines().next()?).ok()
    });
    assert_eq!(line.await["subject"], json!(ids[1]));
    drop((watching, after));
    service.stop().await;
}

#[tokio::test]
async fn a_watch_that_reaches_nobody_says_so_and_waits() {
    let home = Home::new();
    fs::write(home.path("key"), "own.secret\n").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let watch = ["events", "watch", "--url", url.as_str(), "--key-file", "key"];
    let mut watching = Process::start(home.alone(&watch));
    let told = until("it says so", async || Some(watching.log()).filter(|log| !log.is_empty()));
    let told = told.await;
    assert!(told.contains("does not answer yet"), "{told}");
    assert!(!watching.has_ended());
}

/// What a new order's event is of.
const PLACED: &str = "orders.order.placed.v1";
