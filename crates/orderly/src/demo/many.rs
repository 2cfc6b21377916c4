//! Many orders at once, while the provider fails and the service is killed.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use gateway_sim::Fault;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::{
    client::{Client, Reply},
    expect,
    patience::until,
    stage::Stage,
};
use crate::{
    cli::Demo,
    console::{Failure, many, say},
};

/// One basket a line; where they come from stands in `baskets.md`.
const BASKETS: &str = include_str!("baskets.ndjson");

/// Orders under way at a time.
const AT_ONCE: usize = 12;
/// How often the service is killed meanwhile.
const KILLS: usize = 3;
/// How long the money of one order may be on its way.
const PATIENCE: Duration = Duration::from_mins(1);

/// What goes wrong with calls of the provider.
const FAULTS: [Fault; 12] = [
    Fault::AnswerLost,
    Fault::EffectLost,
    Fault::LateApply,
    Fault::Reset,
    Fault::ErrorAfterSuccess,
    Fault::Redirect,
    Fault::Hang,
    Fault::HugeAnswer,
    Fault::Burst429,
    Fault::LieAmount,
    Fault::LieCurrency,
    Fault::LieKey,
];

/// What is to become of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its money stays held.
    Hold,
    /// Its money is taken.
    Capture,
    /// Its money is taken, and half of it given back.
    Refund,
    /// It is called off once its money is held.
    Cancel,
    /// Its first instrument is declined, and the second pays.
    SecondTry,
}

/// One order to be.
#[derive(Clone, Debug)]
struct Basket {
    number: u32,
    order: Value,
    fate: Fate,
}

/// Plays them all; tells the client of the service as it runs at the end.
pub(super) async fn play(stage: &Stage, client: Client, demo: &Demo) -> Result<Client, Failure> {
    let baskets = baskets(demo)?;
    say(&format!(
        "7. {} from real baskets, {} % of the calls to the provider going wrong, {} with -9\n",
        many(demo.orders.into(), "order"),
        demo.faults,
        many(u64::try_from(KILLS).unwrap_or_default(), "kill"),
    ));
    let before = struck(stage);
    let rate = rate(f64::from(demo.faults) / 100.0);
    for fault in FAULTS {
        stage.sim.faults().set_rate(fault, rate)?;
    }
    let total = baskets.len();
    let mut journeys = stream::iter(baskets)
        .map(|basket| {
            let client = client.clone();
            async move { journey(&client, &basket).await }
        })
        .buffer_unordered(AT_ONCE);
    let mut done = 0;
    while let Some(ended) = journeys.next().await {
        ended?;
        done += 1;
        // Kills are spread evenly over the run, and find a dozen orders under way each.
        if (1..=KILLS).any(|kill| done == (total * kill).div_ceil(KILLS + 1)) && done < total {
            stage.kill();
            let (pid, _client) = stage.start().await?;
            say(&format!("   {done} of {total} done; killed with -9, and back as process {pid}"));
        }
    }
    drop(journeys);
    let wrong = many(struck(stage) - before, "call");
    stage.sim.faults().clear();
    say(&format!("   {total} of {total} done; {wrong} went wrong\n"));
    Ok(client)
}

/// How many calls went wrong so far.
fn struck(stage: &Stage) -> u64 {
    stage.sim.faults().counts().values().sum()
}

/// The rate of each fault that makes this part of the calls go wrong in all.
fn rate(all: f64) -> f64 {
    let kinds = f64::from(u8::try_from(FAULTS.len()).unwrap_or(u8::MAX));
    1.0 - (1.0 - all).powf(1.0 / kinds)
}

/// The baskets in an order, and with fates, that the seed decides.
fn baskets(demo: &Demo) -> Result<Vec<Basket>, Failure> {
    let mut random = ChaCha8Rng::seed_from_u64(demo.seed);
    let lines: Vec<&str> = BASKETS.lines().collect();
    (0..demo.orders)
        .map(|number| {
            let draw = usize::try_from(random.next_u32())?;
            let line: Value = serde_json::from_str(lines[draw % lines.len()])?;
            let mut order = line["order"].clone();
            // A basket may be drawn twice, and is another order then.
            let reference = order["external_reference"].as_str().unwrap_or_default();
            order["external_reference"] = json!(format!("{reference}-{number}"));
            let fate = match random.next_u32() % 20 {
                0..2 => Fate::Hold,
                2..11 => Fate::Capture,
                11..15 => Fate::Refund,
                15..18 => Fate::Cancel,
                _ => Fate::SecondTry,
            };
            Ok(Basket { number, order, fate })
        })
        .collect()
}

/// One order from its placing to its end, each request sent until it is answered.
async fn journey(client: &Client, basket: &Basket) -> Result<(), Failure> {
    let number = basket.number;
    let key = |what: &str| format!("demo-{what}-{number:010}");
    let placed = client.post("/v1/orders", &key("place"), &basket.order).await?;
    expect(placed.status == 201, || format!("basket {number}: {} {}", placed.status, placed.json))?;
    let order = Path { client, id: placed.text("/id") };
    if basket.fate == Fate::SecondTry {
        order.verb("pay", &key("declined"), json!({ "instrument": "tok_decline" })).await?;
        order.reaches("DECLINED").await?;
    }
    order.verb("pay", &key("pay"), json!({ "instrument": "tok_ok" })).await?;
    order.reaches("AUTHORIZED").await?;
    match basket.fate {
        Fate::Hold => {}
        Fate::Cancel => {
            order.verb("cancel", &key("cancel"), json!({ "reason": "changed my mind" })).await?;
            order.reaches("VOIDED").await?;
        }
        Fate::Capture | Fate::SecondTry => order.capture(&key("capture")).await?,
        Fate::Refund => {
            order.capture(&key("capture")).await?;
            let total: i64 = placed.text("/totals/total/amount_minor").parse()?;
            let half = json!({ "amount": { "amount_minor": (total / 2).max(1).to_string(),
                "currency": placed.text("/totals/total/currency") } });
            order.verb("refund", &key("refund"), half).await?;
            order.settles().await?;
        }
    }
    Ok(())
}

/// An order, and who asks for it.
struct Path<'a> {
    client: &'a Client,
    id: String,
}

impl Path<'_> {
    async fn verb(&self, verb: &str, key: &str, body: Value) -> Result<(), Failure> {
        let reply = self.client.post(&format!("/v1/orders/{}/{verb}", self.id), key, &body).await?;
        expect((200..300).contains(&reply.status), || {
            format!("order {}: {verb} answers {} {}", self.id, reply.status, reply.json)
        })
    }

    async fn capture(&self, key: &str) -> Result<(), Failure> {
        self.verb("capture", key, json!({})).await?;
        self.reaches("CAPTURED").await
    }

    async fn reaches(&self, payment_state: &str) -> Result<(), Failure> {
        self.wait(payment_state, |order| order.text("/payment_state") == payment_state).await
    }

    /// Waits until no operation of its payments is without an outcome.
    async fn settles(&self) -> Result<(), Failure> {
        self.wait("settled", |order| is_settled(&order.json)).await
    }

    async fn wait(&self, what: &str, is: impl Fn(&Reply) -> bool) -> Result<(), Failure> {
        let (id, client) = (&self.id, self.client);
        until(&format!("order {id} is {what}"), PATIENCE, async || {
            let order = client.get(&format!("/v1/orders/{id}")).await.ok()?;
            is(&order).then_some(())
        })
        .await
    }
}

/// Whether every operation of an order's payments has an outcome.
pub(super) fn is_settled(order: &Value) -> bool {
    let has_outcome = |one: &Value| one["state"] == "SUCCEEDED" || one["state"] == "DECLINED";
    let settled = |payment: &Value| {
        payment["operations"].as_array().is_some_and(|all| all.iter().all(has_outcome))
    };
    order["payments"].as_array().is_some_and(|all| all.iter().all(settled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rates_of_all_faults_make_the_part_that_was_asked_for() {
        assert!(rate(0.0).abs() < 1e-12);
        let none = (1.0 - rate(0.2)).powi(i32::try_from(FAULTS.len()).unwrap());
        assert!((none - 0.8).abs() < 1e-9, "{none}");
    }

    #[test]
    fn every_basket_is_an_order_and_the_seed_decides_which() {
        let demo = |seed| Demo { orders: 100, faults: 20, seed, dir: None };
        let drawn = baskets(&demo(1)).unwrap();
        assert_eq!((drawn.len(), BASKETS.lines().count()), (100, 100));
        let again = baskets(&demo(1)).unwrap();
        let other = baskets(&demo(2)).unwrap();
        let orders = |all: &[Basket]| all.iter().map(|one| one.order.clone()).collect::<Vec<_>>();
        assert_eq!(orders(&drawn), orders(&again));
        assert_ne!(orders(&drawn), orders(&other));
    }
}
