//! The schemas of events against the events that there are.

use std::{collections::BTreeSet, fs, path::PathBuf};

use orders::domain::state::TRANSITIONS;
use serde_json::{Value, json};

use crate::shop::{Shop, json_body, order_with, post};

fn schema(kind: &str) -> Value {
    let path = format!("../../api/events/{kind}.schema.json");
    let text = fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    names.into_iter().collect()
}

fn texts(list: &Value) -> BTreeSet<&str> {
    names(list.as_array().into_iter().flatten().filter_map(Value::as_str))
}

#[test]
fn every_move_is_in_the_schema_of_its_event() {
    for transition in TRANSITIONS {
        let schema = schema(transition.event);
        let properties = &schema["properties"];
        assert_eq!(schema["title"], transition.event);
        assert!(texts(&properties["state"]["enum"]).contains(transition.to.as_str()));
        match transition.from {
            Some(from) => {
                assert!(texts(&properties["previous_state"]["enum"]).contains(from.as_str()));
            }
            None => assert!(properties["previous_state"].is_null()),
        }
    }
}

#[tokio::test]
async fn events_say_what_their_schema_says() {
    let shop = Shop::new();
    let order = order_with(&json!({ "external_reference": "web-1" }));
    let id = shop.create("a", &order).await.json()["id"].as_str().unwrap().to_owned();
    let note = post(&format!("/v1/orders/{id}/notes"));
    shop.send(json_body(note, &json!({ "text": "secret-canary" }))).await;
    shop.verb(&id, "confirm", &[]).await;
    shop.verb(&id, "cancel", &[]).await;
    let feed = shop.get("/v1/events").await;
    assert!(!feed.text().contains("secret-canary"));
    let feed = feed.json();
    let events = feed["events"].as_array().unwrap();
    assert_eq!(events.len(), 4);
    for event in events {
        let schema = schema(event["type"].as_str().unwrap());
        let said = names(event["data"].as_object().unwrap().keys().map(String::as_str));
        let known = names(schema["properties"].as_object().unwrap().keys().map(String::as_str));
        assert_eq!(said, known, "{}", event["type"]);
        for field in ["state", "previous_state", "payment_state", "fulfillment_state"] {
            if let Some(value) = event["data"][field].as_str() {
                assert!(texts(&schema["properties"][field]["enum"]).contains(value), "{field}");
            }
        }
    }
}
