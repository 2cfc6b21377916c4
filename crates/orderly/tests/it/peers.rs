//! Peers: who shows a certificate to the real binary, and what that opens.

use http_body_util::Full;
use hyper::{Request, body::Bytes, header, http};
use orders_api::grpc::pb;
use tonic::Code;

use crate::support::{Answer, Authority, Guarded, Line, order, soon, until, with_json};

const READS: &str = "orders:read";
const WRITES: &str = "orders:write";

/// A request that says nothing of who makes it.
fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "localhost")
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    request("GET", path).body(Full::default()).unwrap()
}

/// A request for the usual order under this key.
pub(crate) fn placing(key: &str) -> Request<Full<Bytes>> {
    with_json(request("POST", "/v1/orders").header("idempotency-key", key), &order())
}

async fn send(line: &mut Line, request: Request<Full<Bytes>>) -> Answer {
    line.send(request).await.unwrap()
}

#[tokio::test]
async fn a_peer_is_known_by_its_certificate_from_its_order_to_the_history() {
    let guarded = Guarded::new().await;
    guarded.let_in(&[("warehouse", &[READS, WRITES]), ("report", &[READS])]);
    let service = guarded.home.serve().await;
    let warehouse = guarded.visitor(service.api, Some(&guarded.certificate("warehouse")));
    let mut line = warehouse.line().await.unwrap();
    let id = send(&mut line, placing("an-order-of-a-peer-0")).await.placed();
    let (one, history) = (format!("/v1/orders/{id}"), format!("/v1/orders/{id}/history"));
    assert_eq!(send(&mut line, get(&one)).await.status, 200);
    let told = send(&mut line, get(&history)).await.json();
    assert_eq!(told["entries"][0]["actor"], "warehouse", "{told}");

    let (mut calls, _driver) = warehouse.orders().await.unwrap();
    let asked = pb::ListHistoryRequest { order_id: id, ..pb::ListHistoryRequest::default() };
    let told = soon(calls.list_history(asked)).await.unwrap().into_inner();
    assert_eq!(told.entries[0].actor, "warehouse", "{told:?}");

    // Another peer of the tenant has its own scopes.
    let report = guarded.visitor(service.api, Some(&guarded.certificate("report")));
    let mut reads = report.line().await.unwrap();
    assert_eq!(send(&mut reads, get(&one)).await.status, 200);
    let refused = send(&mut reads, placing("an-order-of-a-peer-1")).await;
    refused.refused(403, "insufficient-scope");

    // Who sends a key is who that says, also over the connection of a peer.
    let mut theirs = get(&one);
    let key = format!("Bearer {}", guarded.rival);
    theirs.headers_mut().insert(header::AUTHORIZATION, key.parse().unwrap());
    send(&mut line, theirs).await.refused(404, "not-found");
    service.stop().await;
}

#[tokio::test]
async fn a_certificate_that_names_nobody_known_opens_nothing() {
    let guarded = Guarded::new().await;
    guarded.let_in(&[("warehouse", &[READS, WRITES])]);
    let service = guarded.home.serve().await;
    let without_a_name = guarded.clients.client(&[]);
    for shown in [guarded.certificate("stranger"), guarded.certificate("ware"), without_a_name] {
        let visitor = guarded.visitor(service.api, Some(&shown));
        let mut line = visitor.line().await.unwrap();
        send(&mut line, get("/v1/orders")).await.refused(401, "unauthenticated");
        send(&mut line, placing("an-order-of-nobody-0")).await.refused(401, "unauthenticated");
        let (mut calls, _driver) = visitor.orders().await.unwrap();
        let refused = soon(calls.list_orders(pb::ListOrdersRequest::default())).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    }
    service.stop().await;
    assert_eq!(guarded.home.sound().await["orders"], 0);
}

#[tokio::test]
async fn a_certificate_of_another_authority_and_none_open_no_connection() {
    let guarded = Guarded::new().await;
    guarded.let_in(&[("warehouse", &[READS])]);
    let service = guarded.home.serve().await;
    let own = guarded.certificate("warehouse");
    // Another authority of the same name, which says the same of its client.
    let forged = Authority::new("of clients").client(&["spiffe://shop.test/warehouse"]);
    let status = async |shown| -> Option<u16> {
        let mut line = guarded.visitor(service.api, shown).line().await.ok()?;
        Some(line.send(get("/v1/orders")).await.ok()?.status)
    };
    assert_eq!(status(Some(&own)).await, Some(200));
    assert_eq!(status(Some(&forged)).await, None);
    assert_eq!(status(None).await, None);
    let ended = "order_service_http_connections_ended_total{reason=\"handshake\"}";
    until("both ended in their handshakes", async || {
        (service.metric(ended).await >= 2.0).then_some(())
    })
    .await;
    assert_eq!(status(Some(&own)).await, Some(200));
}

#[tokio::test]
async fn a_peer_that_is_taken_out_of_the_key_file_opens_nothing_from_then_on() {
    let guarded = Guarded::new().await;
    guarded.let_in(&[("warehouse", &[READS]), ("report", &[READS])]);
    let service = guarded.home.serve().await;
    let warehouse = guarded.visitor(service.api, Some(&guarded.certificate("warehouse")));
    let report = guarded.visitor(service.api, Some(&guarded.certificate("report")));
    let mut line = warehouse.line().await.unwrap();
    let (mut calls, _driver) = warehouse.orders().await.unwrap();
    let list = pb::ListOrdersRequest::default;
    assert_eq!(send(&mut line, get("/v1/orders")).await.status, 200);
    assert!(soon(calls.list_orders(list())).await.is_ok());

    guarded.let_in(&[("report", &[READS])]);
    // Its connections were opened before, and are open still.
    until("the peer is nobody", async || {
        let answer = send(&mut line, get("/v1/orders")).await;
        (answer.status == 401).then_some(())
    })
    .await;
    let refused = soon(calls.list_orders(list())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let mut anew = warehouse.line().await.unwrap();
    send(&mut anew, get("/v1/orders")).await.refused(401, "unauthenticated");
    let mut other = report.line().await.unwrap();
    assert_eq!(send(&mut other, get("/v1/orders")).await.status, 200);
}
