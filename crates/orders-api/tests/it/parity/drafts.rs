//! Orders to place, as JSON has them, and everything that can be wrong with one and be said over both
//! protocols.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::steps::Draft;

/// The order of a draft.
pub(super) fn order(draft: &Draft) -> Value {
    let mut order = sound(draft.kind);
    if draft.reference > 0 {
        order["external_reference"] = format!("reference-{}", draft.reference % 3).into();
    }
    for flaw in &draft.flaws {
        let (place, value) = &FLAWS[usize::from(*flaw) % FLAWS.len()];
        set(&mut order, place, value);
    }
    order
}

fn money(minor: &str, currency: &str) -> Value {
    json!({ "amount_minor": minor, "currency": currency })
}

/// An order without a fault; each bit of the kind says whether something is there.
fn sound(kind: u16) -> Value {
    let has = |bit: u16| kind & (1 << bit) != 0;
    let currency = ["EUR", "JPY", "KWD", "CLF"][usize::from(kind % 4)];
    let some = |minor: &str| money(minor, currency);
    let line = |at: u16| {
        json!({
            "sku": format!("sku-{at}"),
            "quantity": 2 + at,
            "unit_price": some("199.5"),
        })
    };
    let mut order = json!({ "customer_id": format!("c-{}", kind % 3) });
    order["lines"] = (0..=(kind >> 2) % 3).map(line).collect();
    let first = &mut order["lines"][0];
    if has(4) {
        (first["discount"], first["name"]) = (some("10"), "Grüner Tee".into());
    }
    if has(5) {
        first["tax"] = json!({ "amount": some("33"), "inclusive": has(6) });
    }
    if has(7) {
        (order["discount"], order["shipping"]) = (some("5"), some("490"));
    }
    if has(8) {
        order["metadata"] = json!({ "till": "7", "a.b": "", "note": "two\nlines" });
    }
    if has(9) {
        order["personal"] = json!({ "name": "Ada", "phone": "+41 1", "email": "ada@shop.test" });
        order["personal"]["shipping_address"] = address("CH");
    }
    if has(10) {
        order["payment"] = json!({ "instrument": "tok_ok" });
    }
    order
}

fn address(country: &str) -> Value {
    json!({ "line1": "Main street 1", "line2": "c/o", "city": "Bern", "country": country })
}

/// Puts a value into its place, if there is such a place.
fn set(order: &mut Value, place: &str, value: &Value) {
    let (parent, name) = place.rsplit_once('/').expect("a pointer");
    if order.pointer(parent).is_none() && !parent.starts_with("/lines") {
        set(order, parent, &json!({}));
    }
    if let Some(parent) = order.pointer_mut(parent).filter(|parent| parent.is_object()) {
        parent[name] = value.clone();
    }
}

/// What can be wrong: a place, and what stands there then.
static FLAWS: LazyLock<Vec<(&str, Value)>> =
    LazyLock::new(|| [goods(), prices(), sums(), words()].concat());

fn goods() -> Vec<(&'static str, Value)> {
    let line = || json!({ "sku": "tea", "quantity": 1, "unit_price": money("1", "EUR") });
    let many: Value = (0..501).map(|_| line()).collect();
    vec![
        ("/lines", json!([])),
        ("/lines", many),
        ("/lines/0/sku", json!("")),
        ("/lines/0/sku", "x".repeat(65).into()),
        ("/lines/0/sku", json!("a\u{7}b")),
        ("/lines/0/name", json!("")),
        ("/lines/0/name", "é".repeat(201).into()),
        ("/lines/0/quantity", json!(0)),
        ("/lines/0/quantity", json!(1_000_001)),
        ("/lines/0/quantity", json!(u32::MAX)),
        ("/lines/0/tax", json!({ "amount": money("-1", "EUR"), "inclusive": true })),
        ("/lines/0/tax", json!({ "amount": money("0", ""), "inclusive": false })),
        ("/lines/0/tax", json!({ "amount": money("1", "USD"), "inclusive": false })),
    ]
}

fn prices() -> Vec<(&'static str, Value)> {
    vec![
        ("/lines/0/unit_price", money("", "")),
        ("/lines/0/unit_price/amount_minor", json!("-1")),
        ("/lines/0/unit_price/amount_minor", json!("one")),
        ("/lines/0/unit_price/amount_minor", json!("007")),
        ("/lines/0/unit_price/amount_minor", json!("1.1234567")),
        ("/lines/0/unit_price/amount_minor", "9".repeat(20).into()),
        ("/lines/0/unit_price/amount_minor", json!("9000000000000")),
        ("/lines/0/unit_price/currency", json!("XXX")),
        ("/lines/0/unit_price/currency", json!("eur")),
        ("/lines/0/unit_price/currency", json!("USD")),
        ("/lines/1/unit_price/currency", json!("CHF")),
        ("/lines/0/discount", money("-1", "EUR")),
        ("/lines/0/discount", money("1000000", "EUR")),
        ("/lines/0/discount", money("1", "XXX")),
        ("/lines/0/discount", money("0", "")),
    ]
}

fn sums() -> Vec<(&'static str, Value)> {
    let most = i64::MAX.to_string();
    vec![
        ("/discount", money("-5", "EUR")),
        ("/discount", money("1000000", "EUR")),
        ("/discount", money("1", "JPY")),
        ("/shipping", money("-5", "EUR")),
        ("/shipping", money(&most, "EUR")),
        ("/shipping", money("1", "QQQ")),
        ("/expected_total", money("399", "EUR")),
        ("/expected_total", money("1", "EUR")),
        ("/expected_total", money("399", "JPY")),
        ("/expected_total", money("399", "XXX")),
        ("/expected_total", money(&i64::MIN.to_string(), "EUR")),
    ]
}

fn words() -> Vec<(&'static str, Value)> {
    let many = (0..51).map(|at| (format!("field-{at}"), json!("x"))).collect();
    let long = "x".repeat(501);
    vec![
        ("/customer_id", json!("")),
        ("/customer_id", "x".repeat(129).into()),
        ("/customer_id", json!("a\tb")),
        ("/external_reference", json!("")),
        ("/external_reference", "x".repeat(129).into()),
        ("/metadata", Value::Object(many)),
        ("/metadata", json!({ "": "x", "a/b~c": "x", "with space": "x" })),
        ("/metadata", json!({ "7": long, "amount_minor": long, "lines": long })),
        ("/metadata", json!({ "bell": "a\u{7}b" })),
        ("/personal/name", json!("")),
        ("/personal/name", "x".repeat(201).into()),
        ("/personal/email", json!("nobody")),
        ("/personal/phone", "1".repeat(41).into()),
        ("/personal/shipping_address", address("ch")),
        ("/personal/billing_address", address("")),
        ("/personal/billing_address", json!({ "line1": "", "city": "", "country": "CH" })),
        ("/payment/instrument", json!("")),
        ("/payment/instrument", json!("has space")),
        ("/payment/instrument", json!("4111111111111111")),
        ("/payment/instrument", "t".repeat(256).into()),
    ]
}
