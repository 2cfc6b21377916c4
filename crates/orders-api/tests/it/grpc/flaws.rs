//! Of several flaws in one request both protocols tell the same one.

use axum::http::Method;
use orders_api::grpc::pb;
use serde_json::{Value, json};
use tonic::Status;

use super::{
    caller::{Caller, create, order, own},
    rows::{Asked, Key, Row, reason_of, rows},
};
use crate::shop::{Answer, Shop, json_body, long, order_with, post};

/// What can be wrong with a change, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Name,
    BadKey,
    Condition,
    Rule,
    NoKey,
    NoGateway,
}

use Flaw::{BadKey, Condition, Name, NoGateway, NoKey, Rule};

impl Flaw {
    /// Its code, and the names of what it finds fault with over HTTP and over gRPC.
    fn told(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Name => ("not-found", "", ""),
            BadKey => ("malformed", "Idempotency-Key", "idempotency_key"),
            Condition => ("malformed", "If-Match", "etag"),
            Rule => ("invalid", "", ""),
            NoKey => ("idempotency-key-missing", "Idempotency-Key", "idempotency_key"),
            NoGateway => ("no-gateway", "", ""),
        }
    }

    /// Whether a call can have it.
    fn fits(self, row: &Row) -> bool {
        match self {
            Name | BadKey | Condition | Rule => true,
            NoKey => row.key == Key::Must,
            NoGateway => row.needs_gateway,
        }
    }
}

/// Every flaw alone and every two of them, the one first that is told.
fn pairs(all: &[Flaw]) -> Vec<[Flaw; 2]> {
    let with = |(at, first): (usize, &Flaw)| {
        let first = *first;
        all[at..].iter().map(move |second| [first, *second]).collect::<Vec<_>>()
    };
    // A key that is not there cannot be read wrong.
    let can_be = |pair: &[Flaw; 2]| *pair != [BadKey, NoKey];
    all.iter().enumerate().flat_map(with).filter(can_be).collect()
}

/// Asserts that a flaw is told over both protocols.
#[track_caller]
fn is_told(flaw: Flaw, what: &str, http: &Answer, grpc: &Status) {
    let (code, parameter, field) = flaw.told();
    let problem = http.json();
    assert_eq!(problem["code"], code, "{what} over HTTP: {problem}");
    let (reason, fields) = reason_of(grpc);
    assert_eq!(reason.to_lowercase().replace('_', "-"), code, "{what} over gRPC: {grpc:?}");
    if !field.is_empty() {
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{what}");
        assert_eq!(fields, [field], "{what}");
    }
}

#[tokio::test]
async fn of_two_flaws_of_a_change_both_protocols_tell_the_same() {
    let shops = [Shop::new(), Shop::without_gateway()];
    let ids = [shops[0].created("a").await, shops[1].created("a").await];
    let all = [Name, BadKey, Condition, Rule, NoKey, NoGateway];
    let verbs = rows().into_iter().filter(|row| row.method == Method::POST);
    for row in verbs.filter(|row| row.path.contains("{id}")) {
        for pair in pairs(&all).into_iter().filter(|pair| pair.iter().all(|flaw| flaw.fits(&row))) {
            let has = |flaw| pair.contains(&flaw);
            let at = usize::from(has(NoGateway));
            let key = if has(BadKey) { "short".to_owned() } else { long("flawed") };
            let asked = Asked {
                order: if has(Name) { "no-order".to_owned() } else { ids[at].clone() },
                operation: "019acc1e-0000-7000-8000-000000000000".to_owned(),
                key: if has(NoKey) { String::new() } else { key },
                etag: if has(Condition) { "v1".to_owned() } else { String::new() },
                breaks_a_rule: has(Rule),
                ..Asked::default()
            };
            let http = row.ask(&shops[at], &asked).await;
            let grpc = row.send(&shops[at], &row.message(&asked)).await.unwrap_err();
            is_told(pair[0], &format!("{} with {pair:?}", row.call), &http, &grpc);
        }
    }
}

#[tokio::test]
async fn of_two_flaws_of_a_create_both_protocols_tell_the_same() {
    let shop = Shop::without_gateway();
    let mut caller = Caller::of(&shop).await;
    for pair in pairs(&[BadKey, NoKey, NoGateway, Rule]) {
        let has = |flaw| pair.contains(&flaw);
        let key = if has(BadKey) { "short".to_owned() } else { long("flawed") };
        let key = if has(NoKey) { String::new() } else { key };
        let customer_id = if has(Rule) { "" } else { "c-1" };
        let mut message = order();
        customer_id.clone_into(&mut message.customer_id);
        let mut json = order_with(&json!({ "customer_id": customer_id }));
        if has(NoGateway) {
            message.payment = Some(pb::PayWith { instrument: "tok_ok".to_owned() });
            json["payment"] = json!({ "instrument": "tok_ok" });
        }
        let mut asked = create("", message);
        asked.idempotency_key.clone_from(&key);
        let mut request = post("/v1/orders");
        if !key.is_empty() {
            request = request.header("idempotency-key", &key);
        }
        let http = shop.send(json_body(request, &json)).await;
        let grpc = caller.client.create_order(own(asked)).await.unwrap_err();
        is_told(pair[0], &format!("{pair:?}"), &http, &grpc);
    }
}

/// What a page of a list or a history is refused for over HTTP.
async fn over_http(shop: &Shop, path: &str) -> (Value, Value) {
    let problem = shop.get(path).await.json();
    (problem["code"].clone(), problem["errors"][0]["parameter"].clone())
}

#[tokio::test]
async fn of_two_flaws_of_a_page_both_protocols_tell_the_same() {
    let shop = Shop::new();
    let mut caller = Caller::of(&shop).await;
    let id = shop.created("a").await;
    let list = |page_size, state, customer_id: &str, page_token: &str| pb::ListOrdersRequest {
        page_size,
        state,
        customer_id: Some(customer_id.to_owned()),
        page_token: page_token.to_owned(),
        ..pb::ListOrdersRequest::default()
    };
    for (query, asked) in [
        ("page_size=101&state=NONE&customer_id=c", list(101, 99, "c", "")),
        ("state=NONE&customer_id=", list(0, 99, "", "")),
        ("customer_id=&page_token=x.y", list(0, 0, "", "x.y")),
        ("customer_id=c&page_token=x.y", list(0, 0, "c", "x.y")),
    ] {
        let (code, parameter) = over_http(&shop, &format!("/v1/orders?{query}")).await;
        let status = caller.client.list_orders(own(asked)).await.unwrap_err();
        same(&status, &code, &parameter);
    }
    for (order, query, page_size, page_token) in [
        ("no-order", "page_size=1001&page_token=x", 1001, "x"),
        (id.as_str(), "page_size=1001&page_token=x", 1001, "x"),
        (id.as_str(), "page_size=1000&page_token=x", 1000, "x"),
    ] {
        let path = format!("/v1/orders/{order}/history?{query}");
        let (code, parameter) = over_http(&shop, &path).await;
        let (order_id, page_token) = (order.to_owned(), page_token.to_owned());
        let asked = pb::ListHistoryRequest { order_id, page_size, page_token };
        let status = caller.client.list_history(own(asked)).await.unwrap_err();
        same(&status, &code, &parameter);
    }
}

/// Asserts that a status tells this code, and of this parameter.
#[track_caller]
fn same(status: &Status, code: &Value, parameter: &Value) {
    let (reason, fields) = reason_of(status);
    assert_eq!(*code, reason.to_lowercase().replace('_', "-"), "{status:?}");
    assert_eq!(parameter.as_str(), fields.first().map(String::as_str), "{status:?}");
}
