use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use orders_testkit::World;

use crate::shop::{Answer, OWN, Shop, long};

/// Every operation of the document that a key opens, with the order filled in.
pub(crate) fn operations(id: &str) -> Vec<(Method, String)> {
    let document = serde_json::to_value(orders_api::http::openapi::<World>()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, methods): (&String, &serde_json::Value)| {
        let path = path.replace("{id}", id);
        let methods = methods.as_object().unwrap().keys().map(|name| name.to_uppercase());
        methods.map(move |name| (name.parse().unwrap(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().filter(|(path, _)| path.starts_with("/v1/")).flat_map(of).collect()
}

pub(crate) async fn ask(shop: &Shop, method: &Method, path: &str, token: Option<&str>) -> Answer {
    let body = match path.rsplit('/').next() {
        Some("notes") => r#"{"text":"x"}"#,
        Some("pay") => r#"{"instrument":"tok_ok"}"#,
        Some("payments") => r#"{"amount":{"amount_minor":"1","currency":"EUR"}}"#,
        Some("resolve") => {
            r#"{"operation_id":"01936f5e-7c2a-7b3e-9a41-0c8f2d6e5b10","outcome":"declined","reason":"x"}"#
        }
        _ => "",
    };
    let request = Request::builder().method(method.clone()).uri(path);
    let request = request.header("idempotency-key", long(path.rsplit('/').next().unwrap()));
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let request = match token {
        Some(token) => request.header(header::AUTHORIZATION, token),
        None => request,
    };
    shop.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_of_what_kind_the_fault_is() {
    let shop = Shop::new();
    for (token, told) in [
        (None, "The request has no Authorization header."),
        (Some("own.secret"), "The Authorization header is not `Bearer KEY`."),
        (Some("Basic own.secret"), "The Authorization header is not `Bearer KEY`."),
        (Some("Bearer nobody.secret"), UNKNOWN),
        (Some("Bearer own.wrong"), UNKNOWN),
    ] {
        let answer = ask(&shop, &Method::GET, "/v1/orders", token).await;
        assert_eq!(answer.problem(401, "unauthenticated")["detail"], told, "{token:?}");
    }
}

/// The same whether the id is known or not.
const UNKNOWN: &str = "The key is not known here. One that was just made is known some seconds \
                       later, see `auth.reload_every`.";

#[tokio::test]
async fn every_operation_asks_who_it_is() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let operations = operations(&id);
    assert_eq!(operations.len(), 16);
    let unknown = [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer own"),
        Some("Bearer own."),
        Some("Bearer own.wrong"),
        Some("Bearer nobody.secret"),
        Some("Bearer foreign.secret2"),
        Some("Basic b3duOnNlY3JldA=="),
        Some("own.secret"),
    ];
    for (method, path) in &operations {
        for token in unknown {
            let answer = ask(&shop, method, path, token).await;
            answer.problem(401, "unauthenticated");
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{path}");
        }
        let own = ask(&shop, method, path, Some(OWN)).await;
        let shut = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        assert!(!shut.contains(&own.status), "{path}");
    }
}

#[test]
fn only_the_webhook_opens_without_a_key() {
    let document = serde_json::to_value(orders_api::http::openapi::<World>()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let open: Vec<_> = paths.iter().filter(|(path, _)| !path.starts_with("/v1/")).collect();
    let [(path, methods)] = open[..] else { panic!("{open:?}") };
    assert_eq!(path, "/webhooks/gateway");
    assert_eq!(methods["post"]["security"], serde_json::json!([{}]));
}

#[tokio::test]
async fn two_authorizations_are_none() {
    let request =
        Request::get("/v1/orders").header("authorization", OWN).header("authorization", OWN);
    let answer = Shop::new().send(request.body(Body::empty()).unwrap()).await;
    answer.problem(401, "unauthenticated");
}
