//! The client of the API, over the chassis's server and connections that break.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener as Listener},
    sync::Arc,
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    future::{self, join_all},
    stream,
};
use mainstay::{
    client::grpc::{Breaker, Channel, Config},
    config::Secret,
    lifecycle::Phase,
    metrics::{Format, Metrics},
    server::{self, Server},
    tasks::Tasks,
};
use mainstay_context::{Context, TraceContext};
use orders_api::grpc::{
    client::{self, Error, OrdersClient, Watched},
    health::pb::health_check_response::ServingStatus,
    pb::{self, batch_create_orders_response::Outcome},
};
use orders_testkit::{
    Fault,
    proxy::{self, Proxy, Way},
};
use tokio::{net::TcpListener, sync::Notify, time::Instant};
use tonic::Code;

use super::caller::{create, order, placed};
use crate::shop::{Shop, long};

/// Longer than anything here takes; only a broken test waits that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// The shop at an address, whose servers may follow one another.
struct Street {
    listener: Listener,
    tasks: Tasks,
}

impl Street {
    fn new() -> Self {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener, tasks: Tasks::new() }
    }

    /// A server there, and what it drains by.
    fn open(&self, shop: &Shop) -> Arc<Notify> {
        let listener = TcpListener::from_std(self.listener.try_clone().unwrap()).unwrap();
        let server = Server::from_listener(listener, server::Config::default());
        let (app, drain) = (shop.app(), Arc::new(Notify::new()));
        let told = Arc::clone(&drain);
        self.tasks.spawn("server", async move {
            server.run(app, told.notified()).await;
        });
        drain
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn client(&self) -> OrdersClient {
        client_at(self.address())
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

fn config_at(address: SocketAddr) -> Config {
    client::config(format!("http://{address}").parse().unwrap())
}

fn channel(config: &Config) -> Channel {
    Channel::new("orders", config, &Metrics::new("test")).unwrap()
}

fn client_by(config: &Config) -> OrdersClient {
    client_with("own.secret", config)
}

fn client_with(credential: &str, config: &Config) -> OrdersClient {
    let client = OrdersClient::new(channel(config));
    client.show(&Secret::new(credential.to_owned())).unwrap();
    client
}

fn client_at(address: SocketAddr) -> OrdersClient {
    client_by(&config_at(address))
}

fn context() -> Context {
    Context::new("grpc-client".parse().unwrap())
}

/// `work`, or a failed test when it hangs.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

/// Waits until a line of the metrics holds all of this.
async fn counted(shop: &Shop, parts: &[&str]) {
    let looking = async {
        loop {
            let metrics = shop.metrics.render(Format::Text);
            if metrics.lines().any(|line| parts.iter().all(|part| line.contains(part))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never: {parts:?}"));
}

async fn listed(client: &OrdersClient) -> Vec<pb::Order> {
    let all = pb::ListOrdersRequest { page_size: 100, ..pb::ListOrdersRequest::default() };
    soon(client.list_orders(&context(), all)).await.unwrap().orders
}

#[tokio::test]
async fn an_order_is_placed_and_read_and_a_refusal_says_why() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    let client = street.client();
    let answer = soon(client.create_order(&context(), create("a", order()))).await.unwrap();
    let order = placed(answer);
    let asked = pb::GetOrderRequest { order_id: order.number.clone() };
    let read = soon(client.get_order(&context(), asked)).await.unwrap().order.unwrap();
    assert_eq!(read.id, order.id);

    let verb = pb::ConfirmOrderRequest {
        order_id: order.id,
        idempotency_key: long("confirm"),
        etag: "\"7\"".to_owned(),
        ..pb::ConfirmOrderRequest::default()
    };
    let error = soon(client.confirm_order(&context(), verb)).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Code::Aborted, Some("VERSION_MISMATCH")));
    assert_eq!(error.detail("current_version"), Some("1"));
    assert!(!error.is_retryable() && !error.is_not_sent());
}

#[tokio::test]
async fn the_trace_and_the_id_of_the_request_are_the_services_too() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    let trace = TraceContext::new([1; 16], [2; 8]);
    let unknown = pb::GetOrderRequest { order_id: "no-order".to_owned() };
    let cx = context().with_trace(trace);
    let error = soon(street.client().get_order(&cx, unknown)).await.unwrap_err();
    assert_eq!(error.reason(), Some("NOT_FOUND"));
    let told = |name: &str| error.status().metadata().get(name).unwrap().to_str().unwrap();
    assert_eq!(told("x-request-id"), "grpc-client");
    assert!(told("traceparent").contains(&trace.trace_id_hex()));
    assert_eq!(error.detail("trace_id"), Some(trace.trace_id_hex().as_str()));
}

#[tokio::test]
async fn a_deadline_is_carried_and_the_service_says_that_it_is_spent() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    // The limit of a try would be the sooner one.
    let limits = Config { try_timeout: Duration::from_secs(10), ..config_at(street.address()) };
    let client = client_by(&limits);
    listed(&client).await;
    shop.world.fail_next(Fault::ReadSlow(Duration::from_hours(1)));
    let time = Duration::from_secs(3);
    let began = Instant::now();
    let cx = context().with_deadline((began + time).into_std());
    let error = client.list_orders(&cx, pb::ListOrdersRequest::default()).await.unwrap_err();
    // The reason is the service's: it had the time less that of the way back.
    assert_eq!((error.code(), error.reason()), (Code::DeadlineExceeded, Some("DEADLINE_EXCEEDED")));
    assert!(began.elapsed() + Duration::from_millis(100) >= time, "{:?}", began.elapsed());
    counted(&shop, &["ListOrders\"", "code=\"504\""]).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_let_go_of_by_the_service() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    let client = street.client();
    listed(&client).await;
    shop.world.fail_next(Fault::ReadSlow(Duration::from_hours(1)));
    let cx = context();
    tokio::select! {
        answer = client.list_orders(&cx, pb::ListOrdersRequest::default()) => panic!("{answer:?}"),
        () = counted(&shop, &["test_http_requests_in_flight", " 1"]) => {}
    }
    counted(&shop, &["ListOrders\"", "code=\"499\""]).await;
    // The connection carries the next.
    assert!(listed(&client).await.is_empty());
}

#[tokio::test]
async fn a_busy_store_is_asked_again_when_it_said() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    let client = street.client();
    shop.world.fail_next(Fault::Busy);
    let began = Instant::now();
    let answer = soon(client.create_order(&context(), create("a", order()))).await.unwrap();
    assert!(!answer.replayed);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_made_once() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    let proxy = Proxy::start(street.address(), 1);
    let client = client_at(proxy.address());
    listed(&client).await;
    proxy.set(proxy::Fault::ResetOn { way: Way::ToServer, seen: long("lost").into_bytes() });
    let answer = soon(client.create_order(&context(), create("lost", order()))).await.unwrap();
    assert_eq!(proxy.counts().connections, 2);
    let all: Vec<String> = listed(&client).await.into_iter().map(|order| order.id).collect();
    assert_eq!(all, [placed(answer).id]);
}

#[tokio::test]
async fn a_change_without_a_key_is_not_sent_again() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    let proxy = Proxy::start(street.address(), 1);
    let client = client_at(proxy.address());
    let answer = soon(client.create_order(&context(), create("a", order()))).await.unwrap();
    let verb =
        pb::CancelOrderRequest { order_id: placed(answer).id, ..pb::CancelOrderRequest::default() };
    let seen = verb.order_id.clone().into_bytes();
    proxy.set(proxy::Fault::ResetOn { way: Way::ToServer, seen });
    let error = soon(client.cancel_order(&context(), verb)).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Code::Unavailable, None), "{error}");
    assert!(!error.is_not_sent() && !error.is_retryable());
    assert_eq!(proxy.counts().connections, 1);
}

#[tokio::test]
async fn calls_go_on_with_the_next_server_while_one_drains() {
    let (shop, street) = (Shop::new(), Street::new());
    let drain = street.open(&shop);
    let never = Breaker {
        consecutive_failures: 0,
        failure_ratio: 2.0,
        slow_ratio: 2.0,
        ..Breaker::default()
    };
    let limits = Config { retry_floor: 20, breaker: never, ..config_at(street.address()) };
    let client = client_by(&limits);
    listed(&client).await;
    let place = |at: u64| {
        let client = client.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(at)).await;
            soon(client.create_order(&context(), create(&format!("n-{at}"), order()))).await
        }
    };
    let replace = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        drain.notify_one();
        street.open(&shop);
    };
    let (answers, ()) = future::join(join_all((0..40).map(place)), replace).await;
    let told: BTreeSet<String> =
        answers.into_iter().map(|answer| placed(answer.unwrap()).id).collect();
    let all: BTreeSet<String> = listed(&client).await.into_iter().map(|order| order.id).collect();
    assert_eq!((told.len(), told), (40, all));
}

#[tokio::test]
async fn a_batch_streams_both_ways() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    let client = street.client();
    let item = |at: u32| pb::BatchCreateOrdersRequest {
        order: Some(order()),
        idempotency_key: long(&format!("b-{at}")),
        ..pb::BatchCreateOrdersRequest::default()
    };
    let orders = stream::iter(0..3).map(item);
    let answers = soon(client.batch_create_orders(&context(), orders)).await.unwrap();
    let answers: Vec<_> = soon(answers.collect::<Vec<_>>()).await;
    assert_eq!(answers.len(), 3);
    for (at, answer) in (0..).zip(answers) {
        let answer = answer.unwrap();
        assert!(matches!(answer.outcome, Some(Outcome::Order(_))), "{answer:?}");
        assert_eq!((answer.index, answer.replayed), (at, false));
    }
}

/// The next event of a watch: its position and its order.
async fn next(
    watch: &mut (impl stream::Stream<Item = Result<Watched, Error>> + Unpin),
) -> (u64, String) {
    let Watched { position, event } = soon(watch.next()).await.unwrap().unwrap();
    (position, event.order_id)
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_over_breaks_and_drains() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    let proxy = Proxy::start(street.address(), 1);
    let client = client_at(proxy.address());
    let first = shop.created("a").await;
    let mut watch = client.watch(&context(), None);
    assert_eq!(next(&mut watch).await, (1, first));

    proxy.set(proxy::Fault::ResetNow);
    let (second, third) = (shop.created("b").await, shop.created("c").await);
    assert_eq!(next(&mut watch).await, (2, second));
    assert_eq!(next(&mut watch).await, (3, third));
    assert_eq!(proxy.counts().connections, 2);

    shop.phase.send_replace(Phase::Draining);
    let fourth = shop.created("d").await;
    let ready = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        shop.phase.send_replace(Phase::Ready);
    };
    let (told, ()) = future::join(next(&mut watch), ready).await;
    assert_eq!(told, (4, fourth));

    let mut resumed = client.watch(&context(), Some(2));
    assert_eq!(next(&mut resumed).await.0, 3);
}

#[tokio::test]
async fn a_watch_ends_with_what_cannot_be_mended_and_with_its_request() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    let stranger = client_with("nobody.secret", &config_at(street.address()));
    let mut watch = stranger.watch(&context(), None);
    let error = soon(watch.next()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some("UNAUTHENTICATED"));
    assert!(soon(watch.next()).await.is_none());

    let cx = context();
    let mut watch = street.client().watch(&cx, None);
    let end = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cx.cancel(mainstay_context::Cause::CallerGone);
    };
    let (told, ()) = future::join(soon(watch.next()), end).await;
    assert_eq!(told.unwrap().unwrap_err().code(), Code::Cancelled);
    assert!(soon(watch.next()).await.is_none());
}

#[tokio::test]
async fn a_client_shows_nothing_until_it_is_told_to_and_then_what_it_was_told_last() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    let client = OrdersClient::new(channel(&config_at(street.address())));
    let clone = client.clone();
    let refusal = async || {
        let answer = soon(clone.list_orders(&context(), pb::ListOrdersRequest::default())).await;
        answer.err().map(|error| error.code())
    };
    assert_eq!(refusal().await, Some(Code::Unauthenticated));
    for (credential, expected) in [
        ("own.secret", None),
        ("nobody.secret", Some(Code::Unauthenticated)),
        ("other.secret", None),
    ] {
        client.show(&Secret::new(credential.to_owned())).unwrap();
        assert_eq!(refusal().await, expected, "{credential}");
    }
}

#[tokio::test]
async fn health_is_asked_without_a_key() {
    let (shop, street) = (Shop::new(), Street::new());
    street.open(&shop);
    let channel = channel(&config_at(street.address()));
    for (phase, status) in
        [(Phase::Ready, ServingStatus::Serving), (Phase::LameDuck, ServingStatus::NotServing)]
    {
        shop.phase.send_replace(phase);
        assert_eq!(soon(client::health(&channel, &context(), "")).await.unwrap(), status);
    }
    let error = soon(client::health(&channel, &context(), "orders.v2")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}
