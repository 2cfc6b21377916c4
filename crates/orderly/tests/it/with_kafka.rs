//! With Kafka: what is told to the world, and what warehouses tell.

use std::{collections::BTreeMap, net::TcpListener};

use orders_testkit::servers::{Kafka, KafkaTls};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::{
    metrics,
    support::{Client, Home, Ran, Service, get, text, until},
};

const SHIPMENTS: &str = "fulfillment.events.v1";

/// A broker without topics, and a home whose service uses it.
fn with_empty_broker() -> (Kafka, Home) {
    let kafka = block_in_place(|| Kafka::start(1));
    let home = Home::new()
        .set(&format!("kafka.brokers=[\"{}\"]", kafka.bootstrap()))
        .set("kafka.partitions=1");
    (kafka, home)
}

/// A broker, and a home whose service uses it.
async fn with_broker() -> (Kafka, Home) {
    let (kafka, home) = with_empty_broker();
    make_topics(&home).await;
    (kafka, home)
}

/// A broker that asks who is there, and a home whose service is its user.
async fn with_guarded_broker() -> (Kafka, Home) {
    let kafka = block_in_place(Kafka::start_with_tls);
    let tls = kafka.tls();
    let home = Home::new()
        .set(&format!("kafka.brokers=[\"{}\"]", tls.for_users()))
        .set("kafka.security=sasl_tls")
        .set(&format!("kafka.ca_file={}", tls.ca_file().display()))
        .set(&format!("kafka.user={}", KafkaTls::USER))
        .set(&format!("kafka.password_file={}", tls.password_file().display()))
        .set("kafka.partitions=1");
    make_topics(&home).await;
    (kafka, home)
}

/// Makes the topics of a home that has none.
async fn make_topics(home: &Home) {
    let ran = home.run(&["events", "topics"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("made orders.events.v1\n"), "{ran:?}");
}

/// Fails unless a check that connects tells topics that are there from those that are not.
async fn topics_are_asked_for(home: &Home) {
    let free = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let check = [&["config", "check", "--connect"][..], &free].concat();
    let there = home.run(&check).await;
    assert_eq!(there.code, Some(0), "{there:?}");
    let missing = home.clone().set("kafka.events_topic=elsewhere").run(&check).await;
    let told = "kafka.brokers (flag kafka.brokers): it has no topic elsewhere, elsewhere.dlq; run";
    assert!(missing.code == Some(1) && missing.err.contains(told), "{missing:?}");
}

/// The word of a warehouse that it shipped both pieces of an order, as a record.
fn shipped(order: &str, event: &str) -> String {
    let headers = [
        ("specversion", "1.0"),
        ("id", event),
        ("source", "/warehouse"),
        ("type", "fulfillment.shipped.v1"),
        ("subject", order),
        ("tenantid", "dev"),
    ];
    let headers = headers.map(|(name, value)| format!("ce_{name}:{value}")).join(",");
    let data = json!({ "lines": [{ "line_no": 1, "quantity": 2 }] });
    format!("{headers}\t{order}\t{data}")
}

/// An order of this name that is confirmed if asked for.
async fn placed(client: &Client, name: &str, confirm: bool) -> String {
    let id = client.create(&format!("{name}-place-0000000")).await.placed();
    if confirm {
        confirmed(client, &id, name).await;
    }
    id
}

async fn confirmed(client: &Client, id: &str, name: &str) {
    let key = format!("{name}-confirm-00000");
    let answer = client.verb(id, "confirm", &key, &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Waits until the order is in this state.
async fn reaches(client: &Client, id: &str, state: &str) {
    let path = format!("/v1/orders/{id}");
    until(&format!("{id} is {state}"), async || {
        (client.get(&path).await.json()["state"] == state).then_some(())
    })
    .await;
}

/// Waits until so many events are told.
async fn has_told(service: &Service, events: u32) {
    until("it is told", async || {
        let told = service.metric("order_service_relay_published_position").await;
        (told >= f64::from(events)).then_some(())
    })
    .await;
}

/// Waits until this is the error on the status page, of what is told and of what is taken.
async fn is_told(service: &Service, what: &str) {
    until(what, async || {
        let kafka = get(service.admin, "/status").await.json()["kafka"].clone();
        let says =
            |part: &Value| part["last_error"].as_str().is_some_and(|error| error.contains(what));
        (says(&kafka) && says(&kafka["fulfillment"])).then_some(())
    })
    .await;
}

/// How often each event was told, by its order's id and its version.
fn counted(records: &[String]) -> BTreeMap<(String, u64), usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        let data: Value = serde_json::from_str(record.rsplit('\t').next().unwrap()).unwrap();
        let event = (text(&data["order_id"]), data["version"].as_u64().unwrap());
        *counts.entry(event).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_made_once_and_what_is_weak_of_them_is_told() {
    let (_kafka, home) = with_broker().await;
    let again = home.run(&["events", "topics"]).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.out.starts_with("every topic was there\n"), "{again:?}");
    assert!(again.out.contains("orders.events.v1 takes a record as kept when one"), "{again:?}");
    assert!(!again.out.contains("retention"), "{again:?}");
    let shorter = home.clone().set("retention.keys=1d").run(&["events", "topics"]).await;
    let warning = format!("warning: {SHIPMENTS} keeps records for up to 7d (retention.ms and");
    assert!(shorter.out.contains(&warning), "{shorter:?}");
    assert!(shorter.out.contains("retention.keys is 1d"), "{shorter:?}");
    topics_are_asked_for(&home).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_told_and_what_a_warehouse_tells_is_carried_out() {
    let (kafka, home) = with_broker().await;
    let service = home.serve().await;
    let client = service.client();
    let ready = placed(&client, "ready", true).await;
    let early = placed(&client, "early", false).await;
    let told = block_in_place(|| kafka.read("orders.events.v1", 3));
    let expected = [(ready.clone(), 1), (ready.clone(), 2), (early.clone(), 1)];
    assert_eq!(counted(&told), expected.map(|event| (event, 1)).into());
    for record in &told {
        assert!(record.contains("ce_type:orders.order.") && record.contains("ce_tenantid:dev"));
    }

    let records = [shipped(&early, "too-early"), shipped(&ready, "in-time")];
    block_in_place(|| kafka.write(SHIPMENTS, &records));
    reaches(&client, &ready, "COMPLETED").await;
    let status = get(service.admin, "/status").await.json();
    assert_eq!(status["kafka"]["brokers"], json!([kafka.bootstrap()]), "{status}");
    assert_eq!(status["kafka"]["last_error"], Value::Null, "{status}");
    let consumer = &status["kafka"]["fulfillment"];
    assert_eq!((&consumer["state"], &consumer["partitions"]), (&json!("member"), &json!([0])));
    metrics::are_documented(&service).await;

    let list = async || {
        let ran = home.run(&["events", "dlq", "--json"]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str::<Value>(&ran.out).unwrap()["parked"].clone()
    };
    let parked = until("the other is parked", async || {
        Some(list().await).filter(|parked| parked != &json!([]))
    })
    .await;
    assert_eq!((parked.as_array().unwrap().len(), &parked[0]["key"]), (1, &json!(early)));
    assert_eq!(parked[0]["ce_id"], "too-early");
    let source = json!({ "topic": SHIPMENTS, "partition": 0, "offset": 0 });
    assert_eq!(parked[0]["source"], source);
    let shown = home.run(&["events", "dlq"]).await.out;
    assert!(shown.contains("event too-early at offset 1; it came from"), "{shown}");
    assert!(shown.starts_with(&format!("{SHIPMENTS}: 1 record of 1 key parked\n")), "{shown}");

    // Its cause is mended, and a replay of the embedded store needs it free.
    confirmed(&client, &early, "early").await;
    has_told(&service, 5).await;
    service.stop().await;
    let replayed: Ran = home.run(&["events", "replay"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    assert!(replayed.out.contains("1 record carried out, 1 key released"), "{replayed:?}");
    assert_eq!(list().await, json!([]));

    let service = home.serve().await;
    reaches(&service.client(), &early, "COMPLETED").await;
    has_told(&service, 6).await;
    service.stop().await;
    assert_eq!(home.sound().await["events"], 6);
    let told = counted(&block_in_place(|| kafka.read("orders.events.v1", 6)));
    assert_eq!(told.len(), 6, "each once, over a stop and a start: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_pass_is_dropped_beside_the_service_and_what_comes_later_passes() {
    let (kafka, home) = with_broker().await;
    let service = home.serve().await;
    let parked = format!("order_service_kafka_parked_keys{{topic=\"{SHIPMENTS}\"}}");
    let zero = service.metrics().await;
    for sample in [
        format!("{parked} 0.0\n"),
        "order_service_kafka_records_sent_total{topic=\"orders.events.v1\",outcome=\"failed\"} 0\n"
            .to_owned(),
        "order_service_kafka_parked_keys{topic=\"orders.events.v1\"} 0.0\n".to_owned(),
    ] {
        assert!(zero.contains(&sample), "{sample} {zero}");
    }
    let client = service.client();
    let id = placed(&client, "stuck", true).await;
    let broken = shipped(&id, "broken").replace("quantity", "pieces");
    block_in_place(|| kafka.write(SHIPMENTS, &[broken]));
    until("it is parked", async || (service.metric(&parked).await > 0.5).then_some(())).await;

    let drop_it = async |key: &str| {
        let wanted = ["events", "drop", "--key", key, "--reason", "sent by mistake", "--by", "ann"];
        home.run(&wanted).await
    };
    let dropped = drop_it(&id).await;
    assert_eq!(dropped.code, Some(0), "{dropped:?}");
    let said = format!("dropped 1 record of {id}, by ann: sent by mistake\n  event broken at");
    assert!(dropped.out.contains(&said), "{dropped:?}");
    let again = drop_it(&id).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    let nothing = format!("nothing of the key {id} is parked behind {SHIPMENTS}");
    assert!(again.err.contains(&nothing), "{again:?}");

    until("it is told", async || (service.metric(&parked).await < 0.5).then_some(())).await;
    until("it is logged", async || {
        let log = service.log();
        let logged = ["parked records were dropped", "sent by mistake", "ann"];
        logged.iter().all(|text| log.contains(text)).then_some(())
    })
    .await;
    block_in_place(|| kafka.write(SHIPMENTS, &[shipped(&id, "mended")]));
    reaches(&client, &id, "COMPLETED").await;

    let listed = home.run(&["events", "dlq", "--json"]).await;
    let told: Value = serde_json::from_str(&listed.out).unwrap();
    let (parked, dropped) = (&told["parked"], &told["dropped"][0]);
    assert_eq!((parked, &dropped["key"]), (&json!([]), &json!(id)), "{told}");
    assert_eq!((&dropped["by"], &dropped["reason"]), (&json!("ann"), &json!("sent by mistake")));
    assert_eq!(dropped["records"][0]["ce_id"], "broken", "{told}");
    service.stop().await;
    let replayed = home.run(&["events", "replay", "--key", &id]).await;
    assert_eq!(replayed.code, Some(1), "{replayed:?}");
    assert!(replayed.err.contains(&nothing), "{replayed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_tells_and_is_told_over_tls() {
    let (kafka, home) = with_guarded_broker().await;
    let service = home.serve().await;
    let client = service.client();
    let id = placed(&client, "guarded", true).await;
    let told = block_in_place(|| kafka.read("orders.events.v1", 2));
    let expected = [(id.clone(), 1), (id.clone(), 2)];
    assert_eq!(counted(&told), expected.map(|event| (event, 1)).into());

    block_in_place(|| kafka.write(SHIPMENTS, &[shipped(&id, "in-time")]));
    reaches(&client, &id, "COMPLETED").await;
    let status = get(service.admin, "/status").await.text();
    service.sigterm();
    let ran = service.end().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!format!("{status} {ran:?}").contains(KafkaTls::PASSWORD), "{status} {ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_store_is_kept_off_the_topics_until_it_takes_them_over() {
    let (kafka, home) = with_broker().await;
    let first = home.serve().await;
    let id = placed(&first.client(), "first", true).await;
    has_told(&first, 2).await;
    // Claimed by the consumer as well, before there is another.
    until("shipments are taken", async || first.log().contains("\"assigned\"").then_some(())).await;

    let other = home.clone().with_store("other.db");
    let second = other.serve().await;
    placed(&second.client(), "second", false).await;
    is_told(&second, "belongs to another store").await;
    let log = second.log();
    assert!(log.contains("kafka.events_topic") && log.contains("orderly events claim"), "{log}");
    block_in_place(|| kafka.write(SHIPMENTS, &[shipped(&id, "in-time")]));
    reaches(&first.client(), &id, "COMPLETED").await;
    has_told(&first, 3).await;
    let status = get(first.admin, "/status").await.json();
    assert_eq!(status["kafka"]["last_error"], Value::Null, "{status}");
    first.stop().await;
    second.stop().await;

    let ran = other.run(&["events", "claim"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let store = status["kafka"]["store"].as_str().unwrap();
    for topic in ["orders.events.v1", SHIPMENTS] {
        assert!(ran.out.contains(&format!("{topic} belongs to this store, ")), "{ran:?}");
    }
    assert_eq!(ran.out.matches(&format!("and before to {store}")).count(), 2, "{ran:?}");
    let second = other.serve().await;
    has_told(&second, 1).await;
    second.stop().await;
    let told = counted(&block_in_place(|| kafka.read("orders.events.v1", 4)));
    assert_eq!(told.len(), 4, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_are_missing_are_told_once_and_used_when_they_are_made() {
    let (_kafka, home) = with_empty_broker();
    let service = home.serve().await;
    placed(&service.client(), "early", false).await;
    is_told(&service, "does not exist; `orderly events topics` makes it").await;
    make_topics(&home).await;
    has_told(&service, 1).await;
    until("shipments are taken", async || {
        let status = get(service.admin, "/status").await.json();
        status["kafka"]["fulfillment"]["last_error"].is_null().then_some(())
    })
    .await;
    let log = service.log();
    for told in ["events cannot be published; they wait", "no records are taken; they wait"] {
        assert_eq!(log.matches(told).count(), 1, "{log}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_away_are_told_of_and_not_after_the_stop() {
    let (kafka, home) = with_broker().await;
    let service = home.serve().await;
    placed(&service.client(), "before", false).await;
    has_told(&service, 1).await;
    block_in_place(|| kafka.kill_broker(0));
    placed(&service.client(), "after", false).await;
    until("it is told", async || {
        let log = service.log();
        (log.contains("events cannot be published") && log.contains("kafka: ")).then_some(())
    })
    .await;
    service.sigterm();
    let ran = service.end().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.lines().last().unwrap().contains("\"stopped\""), "{}", ran.err);
}

#[tokio::test]
async fn commands_say_which_broker_cannot_be_used_and_why() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = Home::new()
        .set(&format!("kafka.brokers=[\"{free}\"]"))
        .set("kafka.request_timeout=1s")
        .set("kafka.delivery_timeout=1s");
    let drop_it = ["drop", "--key", "k", "--reason", "why", "--by", "ann"];
    // The first makes the store that the last needs.
    for command in [&["replay"][..], &["topics"], &["dlq"], &drop_it, &["claim"]] {
        let ran = home.run(&[&["events"][..], command].concat()).await;
        assert_ne!(ran.code, Some(0), "{ran:?}");
        for part in [free.to_string().as_str(), "Connection refused"] {
            assert!(ran.err.contains(part), "{command:?} does not say {part}: {ran:?}");
        }
    }
}

#[tokio::test]
async fn topics_are_not_claimed_for_a_store_that_is_not_there() {
    let ran = Home::new().set("kafka.request_timeout=1s").run(&["events", "claim"]).await;
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("name the one that is meant"), "{ran:?}");
}
