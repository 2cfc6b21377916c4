//! What whoever is known may do, over both protocols.

use axum::{body::Body, http::Request};
use mainstay::{metrics::Format, server::Peer};
use orders_api::auth::Scope;
use tonic::Code;

use crate::{
    auth::{ask, operations},
    grpc::rows::{call, framed, reason_of, rows, send},
    shop::{NOTHING, OWN, PEER, Shop, entry, json_body, long, opening, order, post},
};

#[tokio::test]
async fn every_operation_asks_for_a_scope() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    for (method, path) in operations(&id) {
        let problem = ask(&shop, &method, &path, Some(NOTHING)).await;
        let problem = problem.problem(403, "insufficient-scope");
        let detail = problem["detail"].as_str().unwrap();
        let names = Scope::ALL.into_iter().filter(|scope| detail.contains(scope.as_str()));
        assert_eq!(names.count(), 1, "{method} {path}: {detail}");
    }
    for row in rows() {
        let asked = row.ready(&shop).await;
        let status = row.call(&shop, &asked, NOTHING, &[]).await.expect_err(row.call);
        assert_eq!(status.code(), Code::PermissionDenied, "{}", row.call);
        assert_eq!(reason_of(&status).0, "INSUFFICIENT_SCOPE", "{}", row.call);
        assert!(status.message().starts_with(row.call), "{}", status.message());
    }
    for streamed in ["BatchCreateOrders", "WatchEvents"] {
        let request = call(streamed).header("authorization", NOTHING);
        let status = send(&shop, request, framed(&[])).await.expect_err(streamed);
        assert_eq!(status.code(), Code::PermissionDenied, "{streamed}");
    }
}

#[tokio::test]
async fn a_replay_is_authorised_as_its_first_try_was() {
    let shop = Shop::new();
    let create = async || shop.create("a", &order()).await;
    assert_eq!(create().await.status, 201);
    let mut read_only = entry("own", "shop");
    read_only.scopes = Some(vec![Scope::OrdersRead]);
    shop.auth.replace_keys(opening(vec![read_only], Vec::new()));
    create().await.problem(403, "insufficient-scope");
    assert_eq!(shop.get("/v1/orders").await.status, 200);
}

#[tokio::test]
async fn a_key_that_was_taken_out_opens_nothing_and_a_new_one_opens_at_once() {
    let shop = Shop::new();
    assert_eq!(shop.get("/v1/orders").await.status, 200);
    shop.auth.replace_keys(opening(vec![entry("next", "shop")], Vec::new()));
    shop.get("/v1/orders").await.problem(401, "unauthenticated");
    let next = Request::get("/v1/orders").header("authorization", "Bearer next.secret");
    assert_eq!(shop.send(next.body(Body::empty()).unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_peer_is_who_its_certificate_says_unless_it_says_otherwise() {
    let shop = Shop::new();
    let of = |id: &str| Peer { spiffe_id: id.into() };
    let list = Request::get("/v1/orders").extension(of(PEER)).body(Body::empty()).unwrap();
    assert_eq!(shop.send(list).await.status, 200);
    let calls =
        async |peer: Peer| send(&shop, call("ListOrders").extension(peer), framed(&[])).await;
    assert!(calls(of(PEER)).await.is_ok());
    let status = calls(of("spiffe://shop.test/other")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    // It may only read.
    let create = Request::post("/v1/orders").extension(of(PEER));
    let create = json_body(create.header("idempotency-key", long("a")), &order());
    shop.send(create).await.problem(403, "insufficient-scope");
    // The header decides, whether it opens more or nothing.
    let create = post("/v1/orders").extension(of(PEER)).header("idempotency-key", long("a"));
    assert_eq!(shop.send(json_body(create, &order())).await.status, 201);
    let wrong =
        Request::get("/v1/orders").extension(of(PEER)).header("authorization", "Bearer a.b");
    shop.send(wrong.body(Body::empty()).unwrap()).await.problem(401, "unauthenticated");
    let metrics = shop.metrics.render(Format::Text);
    for line in ["{kind=\"peer\",outcome=\"ok\"} 2", "{kind=\"peer\",outcome=\"denied\"} 1"] {
        assert!(metrics.contains(&format!("test_auth_total{line}")), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn whoever_may_not_pay_may_place_and_read() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let mut clerk = entry("own", "shop");
    clerk.scopes = Some(vec![Scope::OrdersRead, Scope::OrdersWrite]);
    shop.auth.replace_keys(opening(vec![clerk], Vec::new()));
    assert_eq!(shop.create("b", &order()).await.status, 201);
    shop.pay(&id, &[]).await.problem(403, "insufficient-scope");
    let request = Request::get("/v1/events").header("authorization", OWN);
    shop.send(request.body(Body::empty()).unwrap()).await.problem(403, "insufficient-scope");
}
