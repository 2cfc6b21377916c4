use serde_json::{Value, json};

use crate::shop::{Shop, order_with};

async fn stocked(shop: &Shop) {
    for at in 0..5 {
        let customer = if at % 2 == 0 { "even" } else { "odd" };
        let fields = json!({ "customer_id": customer, "external_reference": format!("ref-{at}") });
        let answer = shop.create(&format!("key-{at}"), &order_with(&fields)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        shop.world.clock().jump(jiff::SignedDuration::from_secs(1));
    }
}

fn references(page: &Value) -> Vec<&str> {
    page["orders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["external_reference"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn pages_lead_through_all_orders_newest_first() {
    let shop = Shop::new();
    stocked(&shop).await;
    let (mut path, mut seen) = ("/v1/orders?page_size=2".to_owned(), Vec::new());
    loop {
        let page = shop.get(&path).await.json();
        seen.extend(references(&page).into_iter().map(str::to_owned));
        let Some(token) = page["next_page_token"].as_str() else { break };
        path = format!("/v1/orders?page_size=2&page_token={token}");
    }
    assert_eq!(seen, ["ref-4", "ref-3", "ref-2", "ref-1", "ref-0"]);
}

#[tokio::test]
async fn filters_choose_what_is_listed() {
    let shop = Shop::new();
    stocked(&shop).await;
    let id =
        shop.get("/v1/orders?external_reference=ref-1").await.json()["orders"][0]["id"].clone();
    shop.verb(id.as_str().unwrap(), "confirm", &[]).await;
    for (query, found) in [
        ("state=CONFIRMED", &["ref-1"][..]),
        ("state=PENDING&customer_id=odd", &["ref-3"]),
        ("payment_state=NONE&customer_id=odd", &["ref-3", "ref-1"]),
        ("payment_state=CAPTURED", &[]),
        ("external_reference=ref-2", &["ref-2"]),
        ("created_after=2026-01-01T00:00:02Z", &["ref-4", "ref-3"]),
        ("created_after=2026-01-01T01:00:03%2B01:00", &["ref-4"]),
    ] {
        assert_eq!(
            references(&shop.get(&format!("/v1/orders?{query}")).await.json()),
            found,
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_page_token_is_good_for_its_own_list_only() {
    let shop = Shop::new();
    stocked(&shop).await;
    let page = shop.get("/v1/orders?page_size=1&customer_id=even").await.json();
    let token = page["next_page_token"].as_str().unwrap();
    let good = format!("/v1/orders?customer_id=even&page_token={token}");
    assert_eq!(references(&shop.get(&good).await.json()), ["ref-2", "ref-0"]);

    let (payload, mac) = token.split_once('.').unwrap();
    let swapped = if payload.starts_with('e') { "f" } else { "e" };
    for (filter, token) in [
        ("", token.to_owned()),
        ("&customer_id=odd", token.to_owned()),
        ("&customer_id=even&state=PENDING", token.to_owned()),
        ("&customer_id=even", format!("{swapped}{}.{mac}", &payload[1..])),
        ("&customer_id=even", payload.to_owned()),
        ("&customer_id=even", format!("{payload}.")),
        ("&customer_id=even", format!("{payload}.AAAA")),
        ("&customer_id=even", "%20".to_owned()),
        ("&customer_id=even", String::new()),
    ] {
        let path = format!("/v1/orders?page_token={token}{filter}");
        shop.get(&path).await.problem(400, "invalid-page-token");
    }
}

#[tokio::test]
async fn parameters_that_cannot_be_are_named() {
    let shop = Shop::new();
    let size = "must be 1 to 100";
    let states = "must be one of PENDING, CONFIRMED, COMPLETED, CANCELLING, CANCELLED, EXPIRED";
    let time = "must be a time by RFC 3339, such as 2026-01-31T12:00:00Z";
    for (query, name, rule) in [
        ("page_size=0", "page_size", size),
        ("page_size=101", "page_size", size),
        ("page_size=1000", "page_size", size),
        ("page_size=many", "page_size", "must be a whole number"),
        ("page_size=1&page_size=2", "page_size", "the parameter is there twice"),
        ("state=pending", "state", states),
        ("state=", "state", states),
        ("payment_state=PAID", "payment_state", "must be one of NONE, PENDING, AUTHORIZED, "),
        ("customer_id=", "customer_id", "must not be empty"),
        ("created_after=yesterday", "created_after", time),
        ("created_after=2026-01-01T00:00:00+01:00", "created_after", "a + is written as %2B"),
        ("external_reference=%00", "external_reference", "may hold only characters that"),
        ("sort=asc", "sort", "there is no such parameter; there are state, payment_state"),
    ] {
        let problem = shop.get(&format!("/v1/orders?{query}")).await.problem(400, "malformed");
        let told = problem["errors"][0]["detail"].as_str().unwrap();
        assert!(told.contains(rule), "{query}: {told}");
        assert_eq!(problem["detail"], format!("{name}: {told}."), "{query}");
        assert_eq!(problem["errors"][0]["parameter"], name, "{query}: {problem}");
    }
}
