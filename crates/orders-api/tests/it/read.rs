use axum::body::Body;
use insta::assert_json_snapshot;
use serde_json::json;

use crate::shop::{Shop, get, order};

#[tokio::test]
async fn an_order_is_read_by_its_id_and_by_its_number() {
    let shop = Shop::new();
    let placed = shop.create("a", &order()).await.json();
    let number = placed["number"].as_str().unwrap();
    for name in [placed["id"].as_str().unwrap(), number, &number.to_lowercase()] {
        let answer = shop.get(&format!("/v1/orders/{name}")).await;
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(answer.header("etag"), "\"v1\"");
        assert_eq!(answer.json(), placed);
    }
}

#[tokio::test]
async fn a_version_already_seen_is_not_sent_again() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let ask = async |tag: &str| {
        let request = get(&format!("/v1/orders/{id}")).header("if-none-match", tag);
        shop.send(request.body(Body::empty()).unwrap()).await
    };
    for tag in ["\"v1\"", "W/\"v1\"", "\"v0\", \"v1\"", "*"] {
        let answer = ask(tag).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{tag}");
        assert_eq!(answer.header("etag"), "\"v1\"");
    }
    shop.verb(&id, "confirm", &[]).await;
    assert_eq!(ask("\"v1\"").await.status, 200);
}

#[tokio::test]
async fn what_names_no_order_is_not_found() {
    let shop = Shop::new();
    for name in ["x", "019acc1e-0000-7000-8000-000000000000", "ZZZZZZZZ0", "%FF", "a%2Fb", "{id}"] {
        shop.get(&format!("/v1/orders/{name}")).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn the_history_tells_every_change() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    shop.verb(&id, "confirm", &[]).await;
    let answer = shop.get(&format!("/v1/orders/{id}/history")).await;
    assert_eq!(answer.status, 200);
    assert_json_snapshot!("history", answer.redacted());
    shop.get("/v1/orders/x/history").await.problem(404, "not-found");
}

#[tokio::test]
async fn pages_lead_through_a_whole_history_oldest_first() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    for at in 0..4 {
        shop.tell(&id, "notes", &format!("n-{at}"), &json!({ "text": "again" })).await;
    }
    let first = format!("/v1/orders/{id}/history?page_size=2");
    let (mut path, mut seen) = (first.clone(), Vec::new());
    loop {
        let page = shop.get(&path).await.json();
        let entries = page["entries"].as_array().unwrap();
        assert!((1..=2).contains(&entries.len()), "{page}");
        seen.extend(entries.iter().map(|entry| entry["version"].as_u64().unwrap()));
        let Some(token) = page["next_page_token"].as_str() else { break };
        path = format!("{first}&page_token={token}");
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    for (query, code) in [
        ("page_size=0", "malformed"),
        ("page_size=1001", "malformed"),
        ("page=2", "malformed"),
        ("page_token=x", "invalid-page-token"),
        ("page_token=0", "invalid-page-token"),
    ] {
        shop.get(&format!("/v1/orders/{id}/history?{query}")).await.problem(400, code);
    }
}
