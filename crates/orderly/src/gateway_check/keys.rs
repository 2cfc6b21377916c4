//! One key, one effect.

use serde_json::json;

use super::{
    facts::{Checked, Report},
    shop::{AMOUNT, Shop, Totals, id, key},
};

/// How many requests with one key are made at the same time.
const TWINS: usize = 16;

pub(super) async fn check(shop: &Shop, report: &mut Report) {
    let mut part = report.part("keys");
    part.fact(
        "the same request again is the same operation, and says so",
        "The same key with the same body is answered with the same operation and \
         `Idempotent-Replayed: true`",
        replay(shop).await,
    );
    part.fact("a first answer does not say that it is a replay", FIRST, first(shop).await);
    part.fact(
        "bodies are compared as JSON",
        "the same body, which is compared as JSON",
        as_json(shop).await,
    );
    part.fact(
        "a decline is remembered like a success",
        "2. A 200 is definite [...] A decline is an answer",
        declined_again(shop).await,
    );
    part.fact("a key with another body is refused", REUSED, other_body(shop).await);
    part.fact("a key on another path is refused", REUSED, other_path(shop).await);
    part.fact(
        "a reference under another key is refused",
        "Under another key, while its own is remembered, it is 409 `reference-in-use`.",
        reference_in_use(shop).await,
    );
    part.fact(
        "what was refused is not remembered under its key",
        "Errors are not remembered.",
        errors_are_forgotten(shop).await,
    );
    part.fact("a missing key is refused", "400 `idempotency-key-missing`", missing(shop).await);
    part.fact("a key that is too short is refused", LENGTH, of_length(shop, 15).await);
    part.fact("a key that is too long is refused", LENGTH, of_length(shop, 129).await);
    part.fact(
        "16 twins at the same time are one effect and one answer",
        "1. One key, one effect. [...] a twin that comes while the first is at work waits for it \
         and gets its answer",
        twins(shop).await,
    );
}

const FIRST: &str = "Idempotent-Replayed: `true` when this was decided by an earlier request";
const REUSED: &str = "With another body, or on another path, it is 422 `idempotency-key-reused`.";
const LENGTH: &str = "Idempotency-Key: 16 to 128 visible ASCII characters";

async fn replay(shop: &Shop) -> Checked {
    let payment = id();
    let ask = shop.authorize(payment);
    let first = shop.send(ask.clone()).await;
    first.comes_to(HELD)?;
    shop.send(ask).await.replays(&first)?;
    // And it is one effect: this tells the sums as they are now.
    shop.send(shop.capture(payment, 1)).await.comes_to(Totals::new(AMOUNT, 1, 0, 0))
}

const HELD: Totals = Totals::new(AMOUNT, 0, 0, 0);

async fn first(shop: &Shop) -> Checked {
    let first = shop.send(shop.authorize(id())).await;
    first.comes_to(HELD).map_err(|trouble| trouble.before("an authorization"))?;
    if first.is_replayed() { first.miss("no Idempotent-Replayed") } else { Ok(()) }
}

async fn as_json(shop: &Shop) -> Checked {
    let ask = shop.authorize(id());
    let first = shop.send(ask.clone()).await;
    first.comes_to(HELD).map_err(|trouble| trouble.before("an authorization"))?;
    let body = ask.json();
    // The same object: another order of its fields, and more space between them.
    let fields = ["instrument", "amount", "payment", "reference"];
    let fields = fields.map(|name| format!(" \"{name}\" : {}", body[name])).join(" ,\n");
    shop.send(ask.saying(format!("{{{fields}\n}}"))).await.replays(&first)
}

async fn declined_again(shop: &Shop) -> Checked {
    let ask = shop.decline();
    let first = shop.send(ask.clone()).await;
    first.is_declined(None).map_err(|trouble| trouble.before("a decline"))?;
    shop.send(ask).await.replays(&first)
}

async fn other_body(shop: &Shop) -> Checked {
    let payment = id();
    let ask = shop.authorize(payment);
    let first = shop.send(ask.clone()).await;
    first.comes_to(HELD).map_err(|trouble| trouble.before("an authorization"))?;
    let other = ask.clone().changed(|body| body["amount"]["amount_minor"] = json!("1001"));
    shop.send(other).await.is_problem(422, "idempotency-key-reused")?;
    shop.send(shop.capture(payment, 1)).await.comes_to(Totals::new(AMOUNT, 1, 0, 0))
}

async fn other_path(shop: &Shop) -> Checked {
    let payment = shop.captured(500).await?;
    let ask = shop.capture(payment, 100);
    let first = shop.send(ask.clone()).await;
    first
        .comes_to(Totals::new(AMOUNT, 600, 0, 0))
        .map_err(|trouble| trouble.before("a second capture"))?;
    shop.send(ask.to("/v1/refunds")).await.is_problem(422, "idempotency-key-reused")?;
    shop.send(shop.capture(payment, 1)).await.comes_to(Totals::new(AMOUNT, 601, 0, 0))
}

async fn reference_in_use(shop: &Shop) -> Checked {
    let payment = id();
    let ask = shop.authorize(payment);
    let first = shop.send(ask.clone()).await;
    first.comes_to(HELD).map_err(|trouble| trouble.before("an authorization"))?;
    shop.send(ask.with_key(Some(&key()))).await.is_problem(409, "reference-in-use")?;
    shop.send(shop.capture(payment, 1)).await.comes_to(Totals::new(AMOUNT, 1, 0, 0))
}

async fn errors_are_forgotten(shop: &Shop) -> Checked {
    let ask = shop.authorize(id());
    let wrong = ask.clone().changed(|body| body["gift"] = json!(true));
    let refused = shop.send(wrong).await;
    refused.is_problem(400, "malformed").map_err(|trouble| trouble.before("a refusal"))?;
    let first = shop.send(ask).await;
    first.comes_to(HELD)?;
    if first.is_replayed() { first.miss("no Idempotent-Replayed") } else { Ok(()) }
}

async fn missing(shop: &Shop) -> Checked {
    let ask = shop.authorize(id()).with_key(None);
    shop.send(ask).await.is_problem(400, "idempotency-key-missing")
}

async fn of_length(shop: &Shop, length: usize) -> Checked {
    let long = format!("{}{}{}{}", key(), key(), key(), key());
    let ask = shop.authorize(id()).with_key(long.get(..length));
    shop.send(ask).await.is_problem(400, "malformed")
}

async fn twins(shop: &Shop) -> Checked {
    let payment = id();
    let ask = shop.authorize(payment);
    let all = shop.caller.send_all(std::iter::repeat_n(ask, TWINS)).await;
    for one in &all {
        one.comes_to(HELD)?;
        if one.json() != all[0].json() {
            let told = all[0].json();
            return one.miss(format!("the operation that another twin was told: {told}"));
        }
    }
    let decided: Vec<_> = all.iter().filter(|one| !one.is_replayed()).collect();
    if let [_, again, ..] = decided[..] {
        return again.miss("Idempotent-Replayed: true for all twins but one");
    }
    shop.send(shop.capture(payment, 1)).await.comes_to(Totals::new(AMOUNT, 1, 0, 0))
}
