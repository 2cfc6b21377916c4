//! `api/gateway.yaml` and the simulator name the same.

use std::collections::BTreeSet;

use gateway_sim::operation::{Decline, Kind};
use serde_json::{Value, json};

use crate::support::{Shop, authorization, id, key};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

fn document() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/gateway.yaml");
    serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn it_is_openapi_and_names_exactly_the_routes_that_are_served() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut named = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().map(String::as_str);
        named.extend(
            methods.filter(|name| METHODS.contains(name)).map(|name| (name, path.as_str())),
        );
    }
    let served: BTreeSet<(&str, &str)> = gateway_sim::CONTRACT.iter().copied().collect();
    assert_eq!(named, served);
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let (mut open, mut seen) = (vec![&document], 0);
    while let Some(value) = open.pop() {
        if let Some(target) = value["$ref"].as_str() {
            seen += 1;
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
        open.extend(value.as_object().into_iter().flat_map(|fields| fields.values()));
        open.extend(value.as_array().into_iter().flatten());
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn it_names_every_decline_and_kind() {
    let operation = &document()["components"]["schemas"]["Operation"]["properties"];
    let declines = operation["decline_code"]["description"].as_str().unwrap();
    let rows = declines.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let named: BTreeSet<&str> = rows.collect();
    assert_eq!(named, Decline::ALL.map(Decline::as_str).into());
    assert_eq!(operation["kind"]["enum"], json!(Kind::ALL.map(Kind::as_str)));
}

#[tokio::test]
async fn an_answer_has_exactly_the_fields_that_it_names() {
    let (shop, document) = (Shop::new().await, document());
    let schema = &document["components"]["schemas"]["Operation"];
    let fields = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let required: BTreeSet<String> = serde_json::from_value(schema["required"].clone()).unwrap();
    let answer = async |token: &str| {
        shop.operate("/v1/authorizations", &key(), &authorization(id(), id(), token)).await.json()
    };
    assert_eq!(fields(&answer("tok_ok").await), required);
    assert_eq!(fields(&answer("tok_decline").await), fields(&schema["properties"]));
    let capabilities = shop.get("/v1/capabilities").await.unwrap().json();
    let schema = &document["components"]["schemas"]["Capabilities"]["properties"];
    assert_eq!(fields(&capabilities), fields(schema));
}
