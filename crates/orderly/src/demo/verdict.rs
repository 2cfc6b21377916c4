//! Both ledgers side by side, and whether every promise held.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::Request;
use mainstay::{
    client::http::{self as client, Safety},
    metrics::Metrics,
};
use mainstay_context::Context;
use orders::domain::Money;
use serde_json::Value;
use tokio::time::Instant;

use super::{client::Client, expect, many::is_settled, patience::until, stage::Stage};
use crate::console::{Failure, say};

/// How long what is on its way may take to settle once nothing goes wrong any more.
const SETTLING: Duration = Duration::from_mins(1);
/// How long the provider's list may take.
const EXPORTING: Duration = Duration::from_secs(30);

const OPERATIONS: [&str; 4] = ["authorized", "captured", "voided", "refunded"];

/// Minor units by operation and currency.
type Sums = BTreeMap<(&'static str, String), i64>;

/// Compares, and fails when a promise did not hold.
pub(super) async fn judge(stage: &Stage, client: &Client, placed: u32) -> Result<(), Failure> {
    say("8. What orderly says, and what the provider really did\n");
    let orders = until("every payment has its outcome", SETTLING, async || {
        let orders = client.orders().await.ok()?;
        orders.iter().all(|order| is_settled(order) || is_parked(order)).then_some(orders)
    })
    .await?;
    let expected = usize::try_from(placed)? + 1;
    expect(orders.len() == expected, || {
        format!("{expected} orders were acknowledged, and there are {}", orders.len())
    })?;
    states(&orders);
    side_by_side(&ours(&orders), &theirs(stage)?)?;
    charged_once(stage)?;
    in_doubt(&orders);
    reconcile(stage).await
}

fn is_parked(order: &Value) -> bool {
    order["payment_state"] == "PARKED"
}

/// How many orders are in each state.
fn states(orders: &[Value]) {
    let mut counts = BTreeMap::<_, u32>::new();
    for order in orders {
        let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
        *counts.entry((text("state"), text("payment_state"))).or_default() += 1;
    }
    say(&format!("   {:<12} {:<20} {:>6}", "order", "money", "orders"));
    for ((state, money), count) in counts {
        say(&format!("   {state:<12} {money:<20} {count:>6}"));
    }
    say("");
}

fn ours(orders: &[Value]) -> Sums {
    let mut sums = Sums::new();
    for payment in orders.iter().filter_map(|order| order["payments"].as_array()).flatten() {
        for operation in OPERATIONS {
            let text = |name: &str| payment[operation][name].as_str().unwrap_or_default();
            let minor: i64 = text("amount_minor").parse().unwrap_or_default();
            *sums.entry((operation, text("currency").to_owned())).or_default() += minor;
        }
    }
    sums
}

fn theirs(stage: &Stage) -> Result<Sums, Failure> {
    let mut sums = Sums::new();
    for payment in stage.sim.ledger().all()? {
        let totals = payment.totals;
        let all = [totals.authorized, totals.captured, totals.voided, totals.refunded];
        for (operation, money) in OPERATIONS.into_iter().zip(all) {
            *sums.entry((operation, money.currency.to_string())).or_default() += money.minor;
        }
    }
    Ok(sums)
}

fn side_by_side(ours: &Sums, theirs: &Sums) -> Result<(), Failure> {
    say(&format!("   {:<12} {:>16} {:>16}", "", "orderly", "provider"));
    for (key, minor) in ours {
        let (operation, currency) = key;
        let currency = currency.parse()?;
        let theirs = Money::new(theirs.get(key).copied().unwrap_or_default(), currency);
        let (ours, theirs) = (Money::new(*minor, currency).to_string(), theirs.to_string());
        say(&format!("   {operation:<12} {ours:>16} {theirs:>16}"));
    }
    say("");
    expect(ours == theirs, || format!("the ledgers differ: {ours:?} and {theirs:?}"))
}

fn charged_once(stage: &Stage) -> Result<(), Failure> {
    let summary = stage.sim.ledger().summary()?;
    expect(summary.references_doubled == 0, || {
        format!("{} effects were doubled at the provider", summary.references_doubled)
    })?;
    let twice = summary.payments_with_several.authorization;
    expect(twice == 0, || format!("{twice} payments were charged more than once"))
}

fn in_doubt(orders: &[Value]) {
    let parked: Vec<&Value> = orders.iter().filter(|order| is_parked(order)).collect();
    if parked.is_empty() {
        return say("   In doubt: nothing. Parked for a person: nothing.");
    }
    for order in parked {
        say(&format!("   Parked for a person: order {}", order["number"]));
    }
}

/// Lets this program compare the provider's own list with the store, and audit the store.
async fn reconcile(stage: &Stage) -> Result<(), Failure> {
    let exported = export(stage).await?;
    std::fs::write(stage.folder().join("settlement.csv"), exported)?;
    for arguments in [&["reconcile", "settlement.csv"][..], &["audit"]] {
        let (status, text) = stage.run(arguments).await?;
        let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
        say(&format!("   $ orderly {}\n   {last}", arguments.join(" ")));
        expect(status.success(), || format!("orderly {}:\n{text}", arguments.join(" ")))?;
    }
    Ok(())
}

/// The provider's settlement list.
async fn export(stage: &Stage) -> Result<Bytes, Failure> {
    let mut config = client::Config::new(stage.sim.url().parse()?);
    config.try_timeout = EXPORTING;
    config.reply_limit = 64 << 20;
    let provider = client::Client::new("gateway-sim", &config, &Metrics::new("orderly_demo"))?;
    let request = Request::get("/ledger.csv").body(Bytes::new())?;
    let patience = Instant::now() + EXPORTING;
    let cx = Context::new("demo".parse()?).with_deadline(patience.into_std());
    Ok(provider.call(&cx, Safety::Safe, request).await?.into_body())
}
