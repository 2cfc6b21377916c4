//! What warehouses tell, carried out on orders.

use std::sync::Arc;

use mainstay::metrics::Metrics;
use orders::{
    Orders,
    domain::{Command, FulfillmentState, OrderId},
    ports::{OrderRef, Page},
};
use orders_adapters::kafka::{Config, Consumer, Shipments, dlq};
use orders_testkit::{
    Fault, World,
    builders::{confirm, context, draft, key},
};
use tokio::{sync::oneshot, task::JoinSet};

use super::{STORE, made, tell, until};

/// A shop whose consumer runs.
struct Shop {
    config: Config,
    world: World,
    orders: Arc<Orders<World>>,
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl Shop {
    async fn open() -> Self {
        let (config, world) = (made().await, World::new(1));
        let orders = Arc::new(world.orders());
        let handler = Shipments::new(Arc::clone(&orders), &config.inbound);
        let topic = &config.inbound.fulfillment_topic;
        let metrics = Metrics::new("test");
        let consumer = Consumer::new(&config, STORE, topic, handler, &metrics).unwrap();
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            consumer.run(async { stopped.await.unwrap_or_default() }).await;
        });
        Self { config, world, orders, stop, task }
    }

    async fn order(&self, name: &str) -> OrderId {
        self.orders.create(&context("acme"), draft(), key(name)).await.unwrap().record.order.id
    }

    async fn confirmed(&self, name: &str) -> OrderId {
        let id = self.order(name).await;
        self.orders.act(&context("acme"), confirm(id)).await.unwrap();
        id
    }

    /// A warehouse tells, in binary mode.
    async fn ship(&self, order: OrderId, event: &str, data: &str) {
        let order = order.to_string();
        let headers = [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_id", event),
            ("ce_source", "/warehouse"),
            ("ce_type", "fulfillment.shipped.v1"),
            ("ce_subject", &order),
            ("ce_tenantid", "acme"),
            ("ce_traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ];
        tell(&self.config, &self.config.inbound.fulfillment_topic, &order, data, &headers).await;
    }

    async fn shipments(&self, order: OrderId) -> usize {
        let page = Page { after: None, limit: 100 };
        let history = self.orders.history(&context("acme"), OrderRef::Id(order), page).await;
        let history = history.unwrap();
        let by_event = history.iter().filter(|entry| &*entry.actor == "fulfillment.events");
        let made = |command| matches!(command, Command::Fulfill | Command::Complete);
        by_event.filter(|entry| made(entry.command)).count()
    }

    async fn state(&self, order: OrderId) -> FulfillmentState {
        let record = self.orders.get(&context("acme"), OrderRef::Id(order)).await.unwrap();
        record.order.fulfillment_state()
    }

    async fn parked(&self) -> usize {
        let list = dlq::list(&self.config, &self.config.inbound.fulfillment_topic).await.unwrap();
        list.values().map(Vec::len).sum()
    }

    async fn close(self) {
        self.stop.send(()).unwrap();
        self.task.join_all().await;
    }
}

const ONE_OF_TWO: &str = r#"{"lines":[{"line_no":1,"quantity":1}],"reason":"parcel 1"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shipment_that_is_told_twice_is_one() {
    let shop = Shop::open().await;
    let order = shop.confirmed("once").await;
    for _ in 0..3 {
        shop.ship(order, "e-1", ONE_OF_TWO).await;
    }
    // The rest, so that an end is seen: it would be refused had the first counted twice.
    shop.ship(order, "e-2", ONE_OF_TWO).await;
    until("shipped", async || shop.state(order).await == FulfillmentState::Fulfilled).await;
    assert_eq!((shop.shipments(order).await, shop.parked().await), (2, 0));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_structured_event_that_says_all_ships_all_that_is_left() {
    let shop = Shop::open().await;
    let order = shop.confirmed("all").await;
    let event = format!(
        r#"{{"specversion":"1.0","id":"e-1","source":"/warehouse","type":"fulfillment.shipped.v1",
        "subject":"{order}","tenantid":"acme","data":{{"lines":"all"}}}}"#
    );
    let other = event.replace("shipped", "picked").replace("e-1", "e-0");
    let topic = &shop.config.inbound.fulfillment_topic;
    let headers = [("content-type", "application/cloudevents+json; charset=utf-8")];
    tell(&shop.config, topic, &order.to_string(), &other, &headers).await;
    tell(&shop.config, topic, &order.to_string(), &event, &headers).await;
    until("shipped", async || shop.state(order).await == FulfillmentState::Fulfilled).await;
    assert_eq!((shop.shipments(order).await, shop.parked().await), (1, 0));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_for_a_moment_parks_nothing() {
    let shop = Shop::open().await;
    let order = shop.confirmed("patience").await;
    for fault in [Fault::Unavailable, Fault::ReplyLost, Fault::Unavailable] {
        shop.world.fail_next(fault);
    }
    shop.ship(order, "e-1", r#"{"lines":"all"}"#).await;
    until("shipped", async || shop.state(order).await == FulfillmentState::Fulfilled).await;
    assert_eq!((shop.shipments(order).await, shop.parked().await), (1, 0));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_parked_and_passes_when_its_cause_is_mended() {
    let shop = Shop::open().await;
    let (early, other) = (shop.order("early").await, shop.confirmed("other").await);
    shop.ship(early, "e-1", ONE_OF_TWO).await;
    shop.ship(early, "e-2", ONE_OF_TWO).await;
    shop.ship(other, "e-3", "no json").await;
    until("parked", async || shop.parked().await == 3).await;

    shop.orders.act(&context("acme"), confirm(early)).await.unwrap();
    let handler = Shipments::new(Arc::clone(&shop.orders), &shop.config.inbound);
    let topic = shop.config.inbound.fulfillment_topic.clone();
    let replayed = dlq::replay(&shop.config, &topic, None, &handler).await.unwrap();
    assert_eq!((replayed.passed, replayed.released), (2, 1));
    assert_eq!(replayed.stuck[0].0.delivery.header("ce_id"), Some("e-3"));
    assert_eq!(shop.state(early).await, FulfillmentState::Fulfilled);
    assert_eq!(shop.shipments(early).await, 2);

    // They come again, as after an offset that was not committed; the one behind them is refused.
    shop.ship(early, "e-1", ONE_OF_TWO).await;
    shop.ship(early, "e-2", ONE_OF_TWO).await;
    shop.ship(early, "e-4", ONE_OF_TWO).await;
    let parked = async || {
        let keys = dlq::list(&shop.config, &topic).await.unwrap();
        let entries = keys.get(early.to_string().as_bytes()).into_iter().flatten();
        let id = |entry: &dlq::Entry| entry.delivery.header("ce_id").unwrap().to_owned();
        entries.map(id).collect::<Vec<_>>()
    };
    until("parked", async || parked().await.contains(&"e-4".to_owned())).await;
    assert_eq!(parked().await, ["e-4"]);
    shop.close().await;
}
