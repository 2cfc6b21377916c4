//! The ledger over HTTP, and the page for people.

use gateway_sim::{Fault, faults::DownMode};
use http::Request;
use http_body_util::Full;
use serde_json::Value;

use crate::support::{Shop, amounted, authorization, id, key, send};

#[tokio::test]
async fn the_ledger_is_paged_and_can_be_asked_for_one_payment() {
    let shop = Shop::new().await;
    let mut payments = Vec::new();
    for _ in 0..5 {
        payments.push(shop.authorized().await.to_string());
    }
    let (mut seen, mut path) = (Vec::new(), "/sim/ledger?limit=2".to_owned());
    loop {
        let page = shop.get(&path).await.unwrap().json();
        assert_eq!(page["summary"]["payments"], 5);
        let listed = page["payments"].as_array().unwrap();
        assert!(listed.len() <= 2);
        seen.extend(listed.iter().map(|one| one["payment"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_i64() else { break };
        path = format!("/sim/ledger?limit=2&after={next}");
    }
    assert_eq!(seen, payments);
    let one = shop.get(&format!("/sim/ledger?payment={}", payments[3])).await.unwrap().json();
    assert_eq!(one["payments"].as_array().unwrap().len(), 1);
    assert_eq!(one["payments"][0]["payment"], payments[3]);
    assert_eq!(one["payments"][0]["successful"]["authorization"], 1);
    assert_eq!(one["payments"][0]["operations"][0]["status"], "succeeded");
    let none = shop.get(&format!("/sim/ledger?payment={}", id())).await.unwrap().json();
    assert_eq!(none["payments"], Value::Array(Vec::new()));
    for wrong in ["payment=x", "limit=many", "order=1"] {
        shop.get(&format!("/sim/ledger?{wrong}")).await.unwrap().problem(400, "malformed");
    }
}

#[tokio::test]
async fn the_page_shows_payments_and_faults_and_loads_nothing_else() {
    let shop = Shop::new().await;
    let payment = shop.authorized().await;
    shop.operate("/v1/captures", &key(), &amounted(id(), payment, 9_999)).await;
    let declined = id();
    let body = authorization(id(), declined, "tok_insufficient");
    shop.operate("/v1/authorizations", &key(), &body).await;
    shop.sim.faults().next(Fault::SlowDrip, 4);
    shop.sim.faults().down(DownMode::Refuse, None);
    let request = Request::get("/").header("host", "x").body(Full::default()).unwrap();
    let page = send(shop.sim.address(), request).await.unwrap();
    assert_eq!(page.status, 200);
    assert!(
        page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'")
    );
    let html = page.text();
    let shown = [
        &payment.to_string(),
        &declined.to_string(),
        "2000 EUR",
        "exceeds-authorized",
        "insufficient-funds",
        "slow-drip",
        "down: refuse",
        "no effect was doubled",
    ];
    for shown in shown {
        assert!(html.contains(shown), "{shown}: {html}");
    }
    assert!(!html.contains("<script") && !html.contains("https://"), "{html}");
}

#[tokio::test]
async fn operations_and_faults_are_measured() {
    let shop = Shop::new().await;
    shop.operate("/v1/authorizations", &key(), &authorization(id(), id(), "tok_fault_lie-key"))
        .await;
    let text = shop.sim.metrics();
    for line in [
        "gateway_sim_operations_total{kind=\"authorization\",status=\"succeeded\"} 1",
        "gateway_sim_faults_total{fault=\"lie-key\"} 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test]
async fn the_ledger_is_exported_as_a_settlement_list() {
    let shop = Shop::new().await;
    let payment = shop.authorized().await;
    let captured = id();
    shop.operate("/v1/captures", &key(), &amounted(captured, payment, 700)).await;
    // What was declined settles nothing.
    shop.operate("/v1/captures", &key(), &amounted(id(), payment, 9_999)).await;
    let request = Request::get("/ledger.csv").header("host", "x").body(Full::default()).unwrap();
    let list = send(shop.sim.address(), request).await.unwrap();
    assert_eq!(list.status, 200);
    assert!(list.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
    let text = list.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0], "reference,payment,operation,amount_minor,currency,at");
    assert!(lines[1].contains(&format!(",{payment},authorize,2000,EUR,")), "{text}");
    assert!(lines[2].starts_with(&format!("{captured},{payment},capture,700,EUR,")), "{text}");
    let request = Request::get("/").header("host", "x").body(Full::default()).unwrap();
    let page = send(shop.sim.address(), request).await.unwrap().text();
    assert!(page.contains("href=\"/ledger.csv\""));
}
