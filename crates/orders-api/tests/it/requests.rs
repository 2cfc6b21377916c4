//! What is the same for every request: unknown addresses and methods, ids, compression, the page.

use axum::{
    body::Body,
    http::{Request, header},
};

use crate::shop::{OWN, Shop, get, post};

#[tokio::test]
async fn unknown_addresses_are_not_found() {
    let shop = Shop::new();
    for path in ["/v1", "/v1/order", "/v2/orders", "/v1/orders/", "/docs/none.js"] {
        let problem = shop.get(path).await.problem(404, "not-found");
        assert_eq!(
            problem["advice"], "Check the address; `/docs` shows those there are.",
            "{path}"
        );
    }
    let problem = shop.get("/v1/orders/x").await.problem(404, "not-found");
    assert!(problem["advice"].as_str().unwrap().contains("another tenant"), "{problem}");
}

#[tokio::test]
async fn whoever_looks_around_is_shown_the_way() {
    let shop = Shop::new();
    let answer = shop.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (307, "/docs/"));
    for path in ["/livez", "/readyz", "/startupz", "/metrics", "/status"] {
        let problem = shop.get(path).await.problem(404, "not-found");
        assert!(problem["detail"].as_str().unwrap().contains("on the admin listener"), "{problem}");
    }
}

#[tokio::test]
async fn unknown_methods_are_not_allowed_and_told_which_are() {
    let shop = Shop::new();
    for (method, path, allow) in [
        ("DELETE", "/v1/orders/x", "GET,HEAD"),
        ("PUT", "/v1/orders", "GET,HEAD,POST"),
        ("GET", "/v1/orders/batch", "POST"),
        ("GET", "/v1/orders/x/confirm", "POST"),
        ("POST", "/v1/events", "GET,HEAD"),
        ("POST", "/openapi.json", "GET,HEAD"),
    ] {
        let request =
            Request::builder().method(method).uri(path).header(header::AUTHORIZATION, OWN);
        let answer = shop.send(request.body(Body::empty()).unwrap()).await;
        answer.problem(405, "method-not-allowed");
        let mut allowed: Vec<_> = answer.header("allow").split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{path}");
    }
}

#[tokio::test]
async fn a_request_keeps_its_names() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = get("/v1/orders/x").header("x-request-id", "my-1").header("traceparent", trace);
    let answer = Shop::new().send(request.body(Body::empty()).unwrap()).await;
    let problem = answer.problem(404, "not-found");
    assert_eq!(problem["request_id"], "my-1");
    assert_eq!(problem["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(problem["type"], "https://orderly.dev/problems/not-found");
}

#[tokio::test]
async fn answers_are_compressed_on_request() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    for encoding in ["gzip", "zstd"] {
        let request = get(&format!("/v1/orders/{id}")).header("accept-encoding", encoding);
        let answer = shop.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("content-encoding"), encoding);
    }
}

#[tokio::test]
async fn no_accept_encoding_hides_what_was_done() {
    let shop = Shop::new();
    for (key, encoding) in
        ["br, *;q=0", "identity;q=0", "*;q=0", "gzip;q=0, identity;q=0.0, *; q=0"]
            .into_iter()
            .enumerate()
    {
        let request = post("/v1/orders").header("accept-encoding", encoding);
        let request = request.header("idempotency-key", crate::shop::long(&key.to_string()));
        let answer = shop.send(crate::shop::json_body(request, &crate::shop::order())).await;
        assert_eq!(answer.status, 201, "{encoding}");
        assert!(answer.json()["id"].is_string(), "{encoding}: plain JSON");
    }
}

#[tokio::test]
async fn any_accept_is_tolerated() {
    let shop = Shop::new();
    let request = get("/v1/orders").header("accept", "text/html, image/png;q=0.5");
    assert_eq!(shop.send(request.body(Body::empty()).unwrap()).await.status, 200);
}

#[tokio::test]
async fn the_document_and_its_page_are_open_and_complete() {
    let shop = Shop::new();
    let open = async |path: &str| shop.send(Request::get(path).body(Body::empty()).unwrap()).await;
    let document = open("/openapi.json").await;
    assert_eq!(document.header("content-type"), "application/json");
    assert_eq!(document.json()["openapi"], "3.1.0");
    assert_eq!(open("/docs").await.header("location"), "/docs/");
    let page = open("/docs/").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
    let initializer = open("/docs/swagger-initializer.js").await.text();
    assert!(initializer.contains("/openapi.json"), "{initializer}");
    for html in [page.text(), initializer] {
        let elsewhere = html.contains("//cdn") || html.contains("https://");
        assert!(!elsewhere, "{html}");
    }
    assert_eq!(page.header("cache-control"), "no-cache");
    assert!(page.text().contains("<title>Orderly API</title>"), "{}", page.text());
    for asset in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-ui-standalone-preset.js"] {
        let asset = open(&format!("/docs/{asset}")).await;
        assert_eq!((asset.status.as_u16(), asset.body.is_empty()), (200, false));
        assert_eq!(asset.header("cache-control"), "public, max-age=3600");
    }
}

#[tokio::test]
async fn a_spent_deadline_is_answered() {
    let shop = Shop::new();
    let request = post("/v1/orders").header("x-request-timeout-ms", "0");
    let request = request.header("idempotency-key", crate::shop::long("a"));
    let answer = shop.send(crate::shop::json_body(request, &crate::shop::order())).await;
    answer.problem(504, "deadline-exceeded");
}
