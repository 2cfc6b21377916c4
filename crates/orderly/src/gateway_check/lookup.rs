//! A lookup tells the truth.

use serde_json::Value;

use super::{
    exchange::Exchange,
    facts::{Checked, Report},
    shop::{AMOUNT, Shop, Totals, id},
};

pub(super) async fn check(shop: &Shop, report: &mut Report) {
    let mut part = report.part("lookups");
    part.fact(
        "an operation that was answered is found as it was answered",
        "4. Once an operation was answered by anybody, a lookup by its reference finds it.",
        found(shop).await,
    );
    part.fact(
        "a decline is found too",
        "Answers as the operation itself was answered",
        decline_found(shop).await,
    );
    part.fact(
        "what never was is not found",
        "404 `not-found`: the operation did not happen before this answer.",
        shop.send(shop.look_up(&id().to_string())).await.is_problem(404, "not-found"),
    );
    part.fact(
        "a reference that is no id is refused",
        "400 `malformed`: the request cannot be read",
        shop.send(shop.look_up("not-an-id")).await.is_problem(400, "malformed"),
    );
}

async fn found(shop: &Shop) -> Checked {
    let payment = id();
    let answered = shop.send(shop.authorize(payment)).await;
    let held = Totals::new(AMOUNT, 0, 0, 0);
    answered.comes_to(held).map_err(|trouble| trouble.before("an authorization"))?;
    // Other operations on the payment must not change what is told of this one.
    shop.send(shop.capture(payment, 1)).await;
    same(shop, &answered).await
}

async fn decline_found(shop: &Shop) -> Checked {
    let answered = shop.send(shop.decline()).await;
    answered.is_declined(None).map_err(|trouble| trouble.before("a decline"))?;
    same(shop, &answered).await
}

async fn same(shop: &Shop, answered: &Exchange) -> Checked {
    let told = answered.json();
    let reference = told["reference"].as_str().map_or_else(String::new, str::to_owned);
    let found = shop.send(shop.look_up(&reference)).await;
    if found.status() == answered.status() && told != Value::Null && found.json() == told {
        return Ok(());
    }
    found.miss(format!("the operation as it was answered: {told}"))
}
