//! What is not of the contract is refused, and changes nothing.

use serde_json::{Value, json};

use super::{
    facts::{Checked, Report},
    shop::{self, Shop, Totals, id},
};

/// Above the largest body that is read.
const TOO_LARGE: usize = 17 << 10;

const STRICT: &str = "Objects are strict: an unknown field of a request is refused, because money \
                      would move without what it asked for.";
const MALFORMED: &str = "400 `malformed`: the request cannot be read. Nothing was done.";
const AMOUNT: &str = "amount_minor: a whole number of minor units, as text; above 0";

pub(super) async fn check(shop: &Shop, report: &mut Report) {
    let mut part = report.part("requests");
    let amount = |minor: Value| move |body: &mut Value| body["amount"]["amount_minor"] = minor;
    part.fact("an unknown field is refused", STRICT, refused(shop, unknown_field).await);
    part.fact(
        "an unknown field of an amount is refused",
        STRICT,
        refused(shop, |body| body["amount"]["decimals"] = json!(2)).await,
    );
    part.fact(
        "an amount that is a number and no text is refused",
        AMOUNT,
        refused(shop, amount(json!(1000))).await,
    );
    part.fact("an amount of nothing is refused", AMOUNT, refused(shop, amount(json!("0"))).await);
    part.fact(
        "an amount below nothing, in parts or with a leading 0 is refused",
        "amount_minor: ^(0|[1-9][0-9]{0,17})$",
        every(shop, ["-1000", "10.00", "0100", "1e3", ""].map(|wrong| amount(json!(wrong)))).await,
    );
    let currency =
        |code: &'static str| move |body: &mut Value| body["amount"]["currency"] = json!(code);
    part.fact(
        "a currency that is not three capital letters is refused",
        "currency: ^[A-Z]{3}$",
        every(shop, ["euro", "eur", "€"].map(currency)).await,
    );
    let reference = |id: &'static str| move |body: &mut Value| body["reference"] = json!(id);
    part.fact(
        "a reference that is no id in its usual form is refused",
        "Id: a UUID, in lower case and with hyphens",
        every(shop, ["order-1", "01936F5E-7C2A-7B3E-9A41-0C8F2D6E5B10"].map(reference)).await,
    );
    let without = |name: &'static str| {
        move |body: &mut Value| {
            if let Some(body) = body.as_object_mut() {
                body.remove(name);
            }
        }
    };
    part.fact(
        "a request with a field missing is refused",
        "required: reference, payment, amount, instrument",
        every(shop, ["reference", "payment", "amount", "instrument"].map(without)).await,
    );
    bodies(shop, report).await;
}

async fn bodies(shop: &Shop, report: &mut Report) {
    let mut part = report.part("requests");
    part.fact("a body that is no JSON is refused", MALFORMED, {
        shop.send(shop.authorize(id()).saying("{\"reference\"")).await.is_problem(400, "malformed")
    });
    part.fact(
        "a body that is no object is refused",
        MALFORMED,
        shop.send(shop.authorize(id()).saying("[]")).await.is_problem(400, "malformed"),
    );
    part.fact(
        "a body of another type is refused",
        "415 `unsupported-media-type`: the body is not application/json. Nothing was done.",
        shop.send(shop.authorize(id()).with_type("text/plain"))
            .await
            .is_problem(415, "unsupported-media-type"),
    );
    part.fact(
        "a type with a parameter is application/json too",
        "content: application/json",
        with_parameter(shop).await,
    );
    part.fact(
        "a body above 16 KiB is refused",
        "413 `payload-too-large`: the body is above 16 KiB. Nothing was done.",
        too_large(shop).await,
    );
    part.fact(
        "what was refused was not done",
        "3. A 4xx changed nothing.",
        nothing_done(shop).await,
    );
}

fn unknown_field(body: &mut Value) {
    body["capture"] = json!(true);
}

/// Whether an authorization with this change is refused.
async fn refused(shop: &Shop, change: impl FnOnce(&mut Value)) -> Checked {
    shop.send(shop.authorize(id()).changed(change)).await.is_problem(400, "malformed")
}

async fn every<const N: usize>(shop: &Shop, changes: [impl FnOnce(&mut Value); N]) -> Checked {
    for change in changes {
        refused(shop, change).await?;
    }
    Ok(())
}

async fn with_parameter(shop: &Shop) -> Checked {
    let ask = shop.authorize(id()).with_type("application/json; charset=utf-8");
    shop.send(ask).await.comes_to(Totals::new(shop::AMOUNT, 0, 0, 0))
}

async fn too_large(shop: &Shop) -> Checked {
    let ask = shop.authorize(id());
    let body = format!("{}{}", ask.json(), " ".repeat(TOO_LARGE));
    shop.send(ask.saying(body)).await.is_problem(413, "payload-too-large")
}

async fn nothing_done(shop: &Shop) -> Checked {
    let ask = shop.authorize(id()).changed(unknown_field);
    let reference = ask.json()["reference"].as_str().unwrap_or_default().to_owned();
    let refused = shop.send(ask).await;
    refused.is_problem(400, "malformed").map_err(|trouble| trouble.before("a refusal"))?;
    shop.send(shop.look_up(&reference)).await.is_problem(404, "not-found")
}
