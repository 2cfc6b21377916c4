//! What is told beside events, against the schemas.

use std::{collections::BTreeSet, fs, path::PathBuf};

use orders::codec;
use orders_testkit::{
    World,
    builders::{confirm, context, draft, key, note},
};
use serde_json::{Value, json};

fn schema(kind: &str) -> Value {
    let path = format!("../../api/events/{kind}.schema.json");
    let text = fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_state_of_an_order_says_what_its_schema_says_and_nothing_personal() {
    let (world, cx) = (World::new(1), context("acme"));
    let orders = world.orders();
    let mut draft = draft();
    draft.external_reference = Some("web-1".to_owned());
    draft.metadata.insert("gift".to_owned(), "secret-canary".to_owned());
    draft.lines[0].name = Some("secret-canary".to_owned());
    let order = orders.create(&cx, draft, key("first")).await.unwrap().record.order;
    orders.act(&cx, confirm(order.id)).await.unwrap();
    let order = orders.act(&cx, note(order.id, "secret-canary")).await.unwrap().record.order;

    let state = codec::order_state(&order);
    assert!(!state.contains("secret-canary"), "{state}");
    let (state, schema) = (serde_json::from_str::<Value>(&state).unwrap(), schema(codec::STATE));
    assert_eq!(schema["title"], codec::STATE);
    assert_eq!(names(&state), names(&schema["properties"]));
    let lines = &schema["properties"]["lines"]["items"]["properties"];
    assert_eq!(names(&state["lines"][0]), names(lines));
    let golden = json!({
        "order_id": order.id.to_string(),
        "tenant_id": "acme",
        "number": order.number.to_string(),
        "version": 3,
        "state": "CONFIRMED",
        "payment_state": "NONE",
        "fulfillment_state": "UNFULFILLED",
        "customer_id": "c-1",
        "external_reference": "web-1",
        "lines": [{
            "line_no": 1, "sku": "tea", "quantity": 2, "fulfilled": 0, "cancelled": 0, "returned": 0,
        }],
        "total": { "amount_minor": "399", "currency": "EUR" },
        "created_at": order.created_at.to_string(),
        "updated_at": order.updated_at.to_string(),
    });
    assert_eq!(state, golden);
}

#[test]
fn a_shipment_is_read_by_its_schema() {
    let schema = schema(codec::SHIPPED);
    assert_eq!(schema["title"], codec::SHIPPED);
    let [all, some] = &schema["properties"]["lines"]["oneOf"].as_array().unwrap()[..] else {
        panic!("{schema}");
    };
    let line = &some["items"];
    assert_eq!(names(&line["properties"]), ["line_no", "quantity"].into());
    // What is not known is refused, and what is needed is said.
    for object in [&schema, line] {
        assert_eq!(object["additionalProperties"], false);
    }
    assert_eq!((&schema["required"], &all["const"]), (&json!(["lines"]), &json!("all")));
    let event = json!({
        "specversion": "1.0", "id": "e-1", "source": "/warehouse", "type": codec::SHIPPED,
        "subject": "01900000-0000-7000-8000-000000000002", "tenantid": "acme",
        "data": { "lines": [{ "line_no": 1, "quantity": 2 }], "reason": "parcel 1" },
    });
    assert_eq!(names(&event["data"]), names(&schema["properties"]));
    let event = codec::CloudEvent::structured(event.to_string().as_bytes()).unwrap();
    let shipment = codec::shipment(&event).unwrap();
    assert_eq!((shipment.lines.len(), shipment.reason.is_some()), (1, true));
}
