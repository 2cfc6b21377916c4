//! Who may call, and what is promised.

use serde_json::Value;

use super::{
    exchange::Ask,
    facts::{Checked, Report},
    shop::{Shop, id},
};

pub(super) async fn check(shop: &Shop, report: &mut Report) {
    let mut part = report.part("access");
    part.fact(
        "capabilities are told",
        "schema Capabilities: contract \"1\", idempotency_window_seconds of at least 1, webhooks, \
         lookup true",
        capabilities(shop).await,
    );
    part.fact(
        "a request without the secret is refused, on every address",
        "401 `unauthenticated`: the secret is missing or wrong. Nothing was done.",
        refused(shop, None).await,
    );
    part.fact(
        "a request with a wrong secret is refused, on every address",
        "401 `unauthenticated`: the secret is missing or wrong. Nothing was done.",
        refused(shop, Some("not-the-secret-of-anybody")).await,
    );
    part.fact(
        "what was refused for its secret was not done",
        "3. A 4xx changed nothing.",
        not_done(shop).await,
    );
}

async fn capabilities(shop: &Shop) -> Checked {
    let exchange = shop.send(shop.caller.get("/v1/capabilities")).await;
    let told = exchange.json();
    let window = told["idempotency_window_seconds"].as_u64().is_some_and(|window| window >= 1);
    let whole = told["contract"] == "1" && window && told["webhooks"].is_boolean();
    if whole && told["lookup"] == true {
        return Ok(());
    }
    exchange.miss("contract \"1\", a window of at least 1 second, webhooks, and lookup true")
}

/// Whether the capabilities say that events are sent.
pub(super) async fn sends_events(shop: &Shop) -> bool {
    shop.send(shop.caller.get("/v1/capabilities")).await.json()["webhooks"] == Value::Bool(true)
}

/// One good request of every kind.
fn every_kind(shop: &Shop) -> [Ask; 6] {
    let payment = id();
    [
        shop.caller.get("/v1/capabilities"),
        shop.look_up(&payment.to_string()),
        shop.authorize(payment),
        shop.capture(payment, 1),
        shop.void(payment),
        shop.refund(payment, 1),
    ]
}

async fn refused(shop: &Shop, secret: Option<&str>) -> Checked {
    for ask in every_kind(shop) {
        shop.send(ask.with_secret(secret)).await.is_problem(401, "unauthenticated")?;
    }
    Ok(())
}

async fn not_done(shop: &Shop) -> Checked {
    let ask = shop.authorize(id());
    let reference = ask.json()["reference"].as_str().unwrap_or_default().to_owned();
    let refused = shop.send(ask.with_secret(None)).await;
    refused.is_problem(401, "unauthenticated").map_err(|trouble| trouble.before("a refusal"))?;
    shop.send(shop.look_up(&reference)).await.is_problem(404, "not-found")
}
