//! What is published, as others see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mainstay::{
    metrics::{Format, Metrics},
    telemetry::error_chain,
};
use orders::{
    domain::{ChangeId, OrderId, Position, Version},
    ports::{Event, OrderRef, Publisher as _},
    usecase::relay,
};
use orders_adapters::kafka::{
    Config, KafkaPublisher, Republisher, create_topics, dlq, weak_topics,
};
use orders_testkit::{
    World,
    builders::{cancel, confirm, context, draft, key, note, version},
};
use serde_json::Value;
use uuid::Uuid;

use super::{STORE, by_key, delete, kafka, made, missing, names, request, seen, until};

pub(super) fn publisher(config: &Config) -> KafkaPublisher {
    publisher_of(STORE, config)
}

pub(super) fn publisher_of(store: Uuid, config: &Config) -> KafkaPublisher {
    KafkaPublisher::new(config, store, &Metrics::new("test")).unwrap()
}

/// Orders with three events each.
pub(super) async fn orders(world: &World, count: usize) -> Vec<OrderId> {
    let (orders, cx) = (world.orders(), context("acme"));
    let mut ids = Vec::new();
    for n in 0..count {
        let done = orders.create(&cx, draft(), key(&format!("order-{n}"))).await.unwrap();
        ids.push(done.record.order.id);
    }
    for &id in &ids {
        orders.act(&cx, confirm(id)).await.unwrap();
        orders.act(&cx, note(id, "secret-canary")).await.unwrap();
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_is_seen_in_order_per_order_with_all_its_attributes() {
    let (config, world) = (made().await, World::new(1));
    let ids = orders(&world, 20).await;
    let publisher = publisher(&config);
    let mut told = 0;
    while told < 60 {
        // Pages that are no multiple of anything.
        told += relay(&request(), &world, &publisher, 13).await.unwrap().events;
    }
    let events = seen(&config, &config.events_topic).await;
    let sequences = by_key(&events, |event| event.header("ce_sequence").to_owned());
    let expected =
        ids.iter().map(|id| (id.to_string(), ["1", "2", "3"].map(str::to_owned).to_vec()));
    assert_eq!(sequences, expected.collect::<BTreeMap<_, _>>());
    for event in &events {
        let data: Value = serde_json::from_str(event.value.as_deref().unwrap()).unwrap();
        assert_eq!(data["order_id"], event.key);
        assert_eq!(data["version"].to_string(), event.header("ce_sequence"));
        assert_eq!(event.header("content-type"), "application/json");
        assert_eq!(event.header("ce_specversion"), "1.0");
        assert_eq!(event.header("ce_source"), "/orders");
        assert_eq!(event.header("ce_subject"), event.key);
        assert_eq!(event.header("ce_tenantid"), "acme");
        assert_eq!(event.header("ce_time"), data["occurred_at"]);
        assert!(event.header("ce_type").starts_with("orders.order."));
    }
    let ids_told: BTreeSet<_> = events.iter().map(|event| event.header("ce_id")).collect();
    assert_eq!(ids_told.len(), 60);

    let states = seen(&config, &config.state_topic).await;
    let last: BTreeMap<_, _> = states.iter().map(|state| (state.key.clone(), state)).collect();
    assert_eq!(last.len(), 20);
    for (id, state) in last {
        let value: Value = serde_json::from_str(state.value.as_deref().unwrap()).unwrap();
        assert_eq!((value["order_id"].as_str(), &value["version"]), (Some(&*id), &3.into()));
    }
    let all = format!("{events:?} {states:?}");
    assert!(!all.contains("secret-canary"));
    assert!(publisher.flush(super::PATIENCE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_waits_and_drops_nothing() {
    let (config, world) = (Config { queue: 2, ..made().await }, World::new(1));
    orders(&world, 30).await;
    let publisher = publisher(&config);
    while relay(&request(), &world, &publisher, 100).await.unwrap().events > 0 {}
    assert_eq!(seen(&config, &config.events_topic).await.len(), 90);
}

fn event(position: u64, order: u128, sequence: u64, data: &str) -> Event {
    Event {
        position: Position(position),
        id: ChangeId(Uuid::from_u128(position.into())),
        tenant: "acme".parse().unwrap(),
        order: OrderId(Uuid::from_u128(order)),
        version: Version::new(sequence).unwrap(),
        kind: "orders.order.placed.v1".to_owned(),
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        trace: mainstay_context::TraceContext::NONE,
        data: data.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_broker_refuses_parks_its_own_order_only_and_for_later_processes_too() {
    let config = names().await;
    let topic = config.events_topic.clone();
    let make = move || kafka().create_topic(&topic, 1, 1, &[("max.message.bytes", "10000")]);
    tokio::task::spawn_blocking(make).await.unwrap();
    create_topics(&config).await.unwrap();
    let huge = format!("\"{}\"", "x".repeat(20_000));
    let first = [
        event(1, 1, 1, "{}"),
        event(2, 2, 1, "{}"),
        event(3, 1, 2, &huge),
        event(4, 3, 1, "{}"),
        event(5, 1, 3, "{}"),
        event(6, 2, 2, "{}"),
    ];
    let metrics = Metrics::new("test");
    let before = KafkaPublisher::new(&config, STORE, &metrics).unwrap();
    before.publish(&request(), &first, &[]).await.unwrap();
    assert_eq!(before.status()["parked_orders"], 1);
    let text = metrics.render(Format::Text);
    let parked = format!("kafka_records_parked_total{{topic=\"{}\"}} 2\n", config.events_topic);
    assert!(text.contains(&parked), "{text}");
    drop(before);

    let after = publisher(&config);
    let second = [event(7, 1, 4, "{}"), event(8, 3, 2, "{}")];
    after.publish(&request(), &second, &[]).await.unwrap();

    let name = |order: u128| Uuid::from_u128(order).to_string();
    let sequence = |seen: &super::Seen| seen.header("ce_sequence").to_owned();
    let list = |sequences: &[&str]| sequences.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
    let sent = by_key(&seen(&config, &config.events_topic).await, sequence);
    let expected =
        [(name(1), list(&["1"])), (name(2), list(&["1", "2"])), (name(3), list(&["1", "2"]))];
    assert_eq!(sent, expected.into());
    let dlq = seen(&config, &format!("{}.dlq", config.events_topic)).await;
    assert_eq!(by_key(&dlq, sequence), [(name(1), list(&["2", "3", "4"]))].into());
    assert_eq!(dlq[0].value.as_deref(), Some(&*huge));
    assert_eq!((dlq[0].header("dlq_tries"), dlq[1].header("dlq_tries")), ("2", "0"));
    assert!(dlq[0].header("dlq_cause").contains("refuses"), "{:?}", dlq[0].headers);

    // Nobody has mended it.
    let again = Republisher::new(&config).unwrap();
    let replayed = dlq::replay(&config, &config.events_topic, None, &again).await.unwrap();
    assert_eq!((replayed.passed, replayed.released, replayed.stuck.len()), (0, 0, 1));
    assert_eq!(replayed.stuck[0].0.delivery.header("ce_sequence"), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_made_once_and_left_as_they_are() {
    let config = names().await;
    let made: BTreeSet<_> = create_topics(&config).await.unwrap().into_iter().collect();
    assert_eq!(made.len(), 5);
    assert!(made.contains(&format!("{}.dlq", config.events_topic)));
    assert_eq!(create_topics(&config).await.unwrap(), Vec::<String>::new());
    // All are on the only broker, and that is told.
    let weak = weak_topics(&config).await.unwrap();
    assert_eq!(weak.iter().map(|weak| weak.topic.clone()).collect::<BTreeSet<_>>(), made);
    assert!(weak.iter().all(|weak| (weak.replicas, weak.in_sync) == (1, 1)), "{weak:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_is_told_and_published_to_once_it_is_made() {
    let config = Config { delivery_timeout: Duration::from_secs(1), ..names().await };
    let (world, cx) = (World::new(1), context("acme"));
    orders(&world, 1).await;
    let publisher = publisher(&config);
    let error = relay(&request(), &world, &publisher, 100).await.unwrap_err();
    assert!(error_chain(&error).ends_with(&missing(&config.state_topic)), "{error:?}");
    let told = publisher.status()["last_error"].to_string();
    assert!(told.contains(&missing(&config.state_topic)), "{told}");
    create_topics(&config).await.unwrap();
    relay(&request(), &world, &publisher, 100).await.unwrap();
    assert!(publisher.status()["last_error"].is_null(), "{}", publisher.status());

    // It may go while it is published to.
    delete(&config, &config.events_topic).await;
    let mut later = 0;
    until("it is told", async || {
        later += 1;
        let order = key(&format!("later-{later}"));
        world.orders().create(&cx, draft(), order).await.unwrap();
        let relayed = relay(&request(), &world, &publisher, 100).await;
        relayed.is_err_and(|error| error_chain(&error).ends_with(&missing(&config.events_topic)))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_order_is_told_as_it_is_now() {
    let (config, world) = (made().await, World::new(1));
    let id = orders(&world, 1).await[0];
    world.orders().act(&context("acme"), cancel(id, "secret-reason")).await.unwrap();
    relay(&request(), &world, &publisher(&config), 100).await.unwrap();
    let states = seen(&config, &config.state_topic).await;
    let [state] = &states[..] else { panic!("{states:?}") };
    assert_eq!(state.header("ce_sequence"), version(4).to_string());
    let value = state.value.as_deref().unwrap();
    assert!(value.contains("\"state\":\"CANCELLED\""), "{value}");
    assert!(!value.contains("secret"), "{value}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_was_read_before_another_process_took_over_is_not_kept_after_its_own() {
    let (config, world) = (made().await, World::new(1));
    let cx = request();
    let (before, after) = (publisher(&config), publisher(&config));
    let id = orders(&world, 1).await[0];
    let now = async || {
        let record = world.orders().get(&context("acme"), OrderRef::Id(id)).await.unwrap();
        vec![record.order]
    };
    before.ready(&cx).await.unwrap();
    before.publish(&cx, &[], &now().await).await.unwrap();
    let old = now().await;
    world.orders().act(&context("acme"), cancel(id, "late")).await.unwrap();
    after.ready(&cx).await.unwrap();
    after.publish(&cx, &[], &now().await).await.unwrap();

    // The one before wakes up, with what it read.
    before.publish(&cx, &[], &old).await.unwrap_err();
    let told = before.status()["last_error"].to_string();
    let since = format!("another process was made ready to write {} since", config.state_topic);
    assert!(told.contains(&since), "{told}");
    let versions = async || {
        let states = seen(&config, &config.state_topic).await;
        states.iter().map(|state| state.header("ce_sequence").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(versions().await, ["3", "4"]);

    // It may lead again, with what it reads then.
    before.publish(&cx, &[], &old).await.unwrap_err();
    before.ready(&cx).await.unwrap();
    before.publish(&cx, &[], &now().await).await.unwrap();
    after.publish(&cx, &[], &now().await).await.unwrap_err();
    assert_eq!(versions().await, ["3", "4", "4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_the_broker_refuses_is_left_out_and_the_others_are_kept() {
    let config = names().await;
    let topic = config.state_topic.clone();
    let make = move || kafka().create_topic(&topic, 1, 1, &[("max.message.bytes", "3000")]);
    tokio::task::spawn_blocking(make).await.unwrap();
    create_topics(&config).await.unwrap();
    let world = World::new(1);
    let (orders, cx) = (world.orders(), context("acme"));
    let first = orders.create(&cx, draft(), key("first")).await.unwrap().record.order.id;
    let mut large = draft();
    large.lines = vec![large.lines[0].clone(); 100];
    orders.create(&cx, large, key("large")).await.unwrap();
    let last = orders.create(&cx, draft(), key("last")).await.unwrap().record.order.id;
    let publisher = publisher(&config);
    assert_eq!(relay(&request(), &world, &publisher, 100).await.unwrap().events, 3);
    let states = seen(&config, &config.state_topic).await;
    let keys: BTreeSet<_> = states.into_iter().map(|state| state.key).collect();
    assert_eq!(keys, [first.to_string(), last.to_string()].into());
    // And the next page goes on.
    orders.act(&cx, confirm(first)).await.unwrap();
    relay(&request(), &world, &publisher, 100).await.unwrap();
    let states = seen(&config, &config.state_topic).await;
    assert!(states.iter().any(|state| state.header("ce_sequence") == "2"), "{states:?}");
}
