//! What operations do, and that the sums hold.

use serde_json::json;

use super::{
    facts::{Checked, Report},
    shop::{AMOUNT, Shop, Totals, id},
};

/// How many captures, each of all there is, are made at the same time.
const RIVALS: usize = 8;

/// What of a payment's sums is not there.
const fn totals(captured: i64, voided: i64, refunded: i64) -> Totals {
    Totals::new(AMOUNT, captured, voided, refunded)
}

pub(super) async fn check(shop: &Shop, report: &mut Report) {
    authorizations(shop, report).await;
    captures(shop, report).await;
    voids(shop, report).await;
    refunds(shop, report).await;
}

async fn authorizations(shop: &Shop, report: &mut Report) {
    let mut part = report.part("authorizations");
    part.fact(
        "an approved instrument is authorized",
        "200: a definite answer. The first one that succeeds creates the payment.",
        shop.send(shop.authorize(id())).await.comes_to(totals(0, 0, 0)),
    );
    part.fact(
        "a refused instrument is declined",
        "2. A 200 is definite. [...] A decline is an answer and not an error",
        shop.send(shop.decline()).await.is_declined(None),
    );
    part.fact(
        "another authorization of a payment adds to it",
        "Another one for the same payment [...] adds to what is authorized.",
        second_authorization(shop).await,
    );
}

async fn captures(shop: &Shop, report: &mut Report) {
    let mut part = report.part("captures");
    part.fact(
        "a part is captured, and then the rest",
        "May be done several times, up to what is authorized and neither captured nor voided.",
        in_parts(shop).await,
    );
    part.fact(
        "a capture above what is held is declined, and changes nothing",
        "`exceeds-authorized`: a capture above what is authorized and neither captured nor voided",
        over_capture(shop).await,
    );
    part.fact(
        "of captures at the same time, each of all there is, one succeeds",
        "5. The sums hold: captured + voided is never above authorized",
        rivals(shop).await,
    );
    part.fact(
        "a capture of a payment that is not known is declined",
        "`unknown-payment`: no authorization of this payment succeeded",
        shop.send(shop.capture(id(), 1)).await.is_declined(Some("unknown-payment")),
    );
    part.fact(
        "a capture in another currency is declined",
        "`currency-mismatch`: the payment is in another currency",
        other_currency(shop).await,
    );
}

async fn voids(shop: &Shop, report: &mut Report) {
    let mut part = report.part("voids");
    part.fact(
        "a void lets go of all that is held, and tells how much",
        "Let go of all that is authorized and not captured. The operation's `amount` is what was \
         let go.",
        void_of_the_rest(shop).await,
    );
    part.fact(
        "after a void nothing can be captured, authorized or voided",
        "`already-voided`: the payment was voided, and can neither be captured, authorized nor \
         voided again",
        after_void(shop).await,
    );
    part.fact(
        "a void of what is captured is declined",
        "`nothing-to-void`: all that was authorized is captured",
        nothing_to_void(shop).await,
    );
    part.fact(
        "a void of a payment that is not known is declined",
        "`unknown-payment`: no authorization of this payment succeeded",
        shop.send(shop.void(id())).await.is_declined(Some("unknown-payment")),
    );
}

async fn refunds(shop: &Shop, report: &mut Report) {
    let mut part = report.part("refunds");
    part.fact(
        "a part is refunded, and then the rest",
        "Give back a part, or all, of what was captured",
        refund_in_parts(shop).await,
    );
    part.fact(
        "a refund above what was captured is declined, and changes nothing",
        "`exceeds-captured`: a refund above what is captured and not yet refunded",
        over_refund(shop).await,
    );
}

async fn second_authorization(shop: &Shop) -> Checked {
    let payment = shop.authorized().await?;
    let second = shop.send(shop.authorize(payment)).await;
    second.comes_to(Totals::new(2 * AMOUNT, 0, 0, 0))
}

async fn in_parts(shop: &Shop) -> Checked {
    let payment = shop.authorized().await?;
    shop.send(shop.capture(payment, 400)).await.comes_to(totals(400, 0, 0))?;
    shop.send(shop.capture(payment, AMOUNT - 400)).await.comes_to(totals(AMOUNT, 0, 0))
}

async fn over_capture(shop: &Shop) -> Checked {
    let payment = shop.captured(400).await?;
    let over = shop.send(shop.capture(payment, AMOUNT - 400 + 1)).await;
    over.is_declined(Some("exceeds-authorized"))?;
    shop.send(shop.capture(payment, AMOUNT - 400)).await.comes_to(totals(AMOUNT, 0, 0))
}

async fn rivals(shop: &Shop) -> Checked {
    let payment = shop.authorized().await?;
    let rivals = (0..RIVALS).map(|_| shop.capture(payment, AMOUNT));
    let all = shop.caller.send_all(rivals).await;
    let mut succeeded = 0;
    for one in &all {
        if one.json()["status"] == "succeeded" {
            succeeded += 1;
            one.comes_to(totals(AMOUNT, 0, 0))?;
        } else {
            one.is_declined(Some("exceeds-authorized"))?;
        }
    }
    match (succeeded, all.first()) {
        (1, _) | (_, None) => Ok(()),
        (_, Some(one)) => one.miss(format!("one success, and there are {succeeded}")),
    }
}

async fn other_currency(shop: &Shop) -> Checked {
    let payment = shop.authorized().await?;
    let other = if shop.currency == "USD" { "EUR" } else { "USD" };
    let ask = shop.capture(payment, 1).changed(|body| body["amount"]["currency"] = json!(other));
    shop.send(ask).await.is_declined(Some("currency-mismatch"))
}

async fn void_of_the_rest(shop: &Shop) -> Checked {
    let payment = shop.captured(400).await?;
    let void = shop.send(shop.void(payment)).await;
    void.comes_to(totals(400, AMOUNT - 400, 0))?;
    if void.json()["amount"] == shop.money(AMOUNT - 400) {
        return Ok(());
    }
    void.miss(format!("an amount of {}, which was let go", AMOUNT - 400))
}

async fn after_void(shop: &Shop) -> Checked {
    let payment = shop.authorized().await?;
    let void = shop.send(shop.void(payment)).await;
    void.comes_to(totals(0, AMOUNT, 0)).map_err(|trouble| trouble.before("a voided payment"))?;
    for ask in [shop.capture(payment, 1), shop.authorize(payment), shop.void(payment)] {
        shop.send(ask).await.is_declined(Some("already-voided"))?;
    }
    Ok(())
}

async fn nothing_to_void(shop: &Shop) -> Checked {
    let payment = shop.captured(AMOUNT).await?;
    shop.send(shop.void(payment)).await.is_declined(Some("nothing-to-void"))
}

async fn refund_in_parts(shop: &Shop) -> Checked {
    let payment = shop.captured(600).await?;
    shop.send(shop.refund(payment, 200)).await.comes_to(totals(600, 0, 200))?;
    shop.send(shop.refund(payment, 400)).await.comes_to(totals(600, 0, 600))
}

async fn over_refund(shop: &Shop) -> Checked {
    let payment = shop.captured(600).await?;
    shop.send(shop.refund(payment, 601)).await.is_declined(Some("exceeds-captured"))?;
    shop.send(shop.refund(payment, 600)).await.comes_to(totals(600, 0, 600))
}
