//! One order, whose payment is under way when the service is killed.

use std::time::Duration;

use gateway_sim::{Fault, operation::Kind};
use serde_json::{Value, json};

use super::{
    client::{Client, Reply},
    expect,
    patience::until,
    stage::Stage,
};
use crate::console::{Failure, say};

/// The keys of this order: one for each thing that is asked for, the same in every try.
const PLACE: &str = "demo-place-00001";
const PAY: &str = "demo-pay-0000001";

/// How long the provider, or the service after a kill, may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// Plays it; tells the client of the service as it runs at the end.
pub(super) async fn play(stage: &Stage) -> Result<Client, Failure> {
    let (pid, client) = stage.start().await?;
    say(&format!(
        "1. A provider and the service\n\
         \n   gateway-sim, a payment provider that moves no money, is on {}\n   \
         orderly serve is the process {pid}, and for a shell of yours\n\n   \
         URL=http://{}\n   KEY={}\n",
        stage.sim.url(),
        client.address,
        client.key
    ));
    let placed = place(&client).await?;
    let id = placed.text("/id");
    pay_and_kill(stage, &client, &id, pid).await?;
    let client = restart(stage, &id).await?;
    retry(&client, stage, &id).await?;
    timeline(&client, &id).await?;
    Ok(client)
}

/// The same request for a shell in which URL and KEY are set.
fn curl(path: &str, key: &str, body: &Value) -> String {
    format!(
        "   $ curl -sS $URL{path} -H \"Authorization: Bearer $KEY\" \\\n       \
         -H 'Idempotency-Key: {key}' -H 'Content-Type: application/json' \\\n       \
         -d '{body}'"
    )
}

fn order() -> Value {
    json!({ "customer_id": "c-1", "lines": [{ "sku": "tea", "name": "Green tea", "quantity": 2,
        "unit_price": { "amount_minor": "499", "currency": "EUR" } }] })
}

fn instrument() -> Value {
    json!({ "instrument": "tok_ok" })
}

async fn place(client: &Client) -> Result<Reply, Failure> {
    say("2. Place an order\n");
    say(&curl("/v1/orders", PLACE, &order()));
    let placed = client.post("/v1/orders", PLACE, &order()).await?;
    expect(placed.status == 201, || format!("placing answers {}: {}", placed.status, placed.json))?;
    say(&format!(
        "   -> 201: order {}, {}, total {} minor units of {}\n",
        placed.text("/number"),
        placed.text("/state"),
        placed.text("/totals/total/amount_minor"),
        placed.text("/totals/total/currency"),
    ));
    Ok(placed)
}

async fn pay_and_kill(stage: &Stage, client: &Client, id: &str, pid: u32) -> Result<(), Failure> {
    say("3. Pay, and kill the service with -9 while the payment is under way\n");
    say("   The provider is told to take the money and then to keep its answer back.");
    stage.sim.faults().next_of(Kind::Authorization, Fault::Hang, 1);
    let path = format!("/v1/orders/{id}/pay");
    say(&curl(&path, PAY, &instrument()));
    let accepted = client.post(&path, PAY, &instrument()).await?;
    expect(accepted.status == 202, || format!("paying answers {}", accepted.status))?;
    say("   -> 202: accepted; the worker carries it on");
    until("the provider holds the money", PATIENCE, async || {
        (charges(stage).ok()? == 1).then_some(())
    })
    .await?;
    stage.kill();
    say(&format!(
        "   The provider's ledger has the money held. orderly has not heard of it.\n   \
         $ kill -9 {pid}\n"
    ));
    Ok(())
}

async fn restart(stage: &Stage, id: &str) -> Result<Client, Failure> {
    say("4. Start it again\n");
    let (pid, client) = stage.start().await?;
    let order = client.get(&format!("/v1/orders/{id}")).await?;
    expect(order.status == 200, || format!("the order is gone: {}", order.status))?;
    say(&format!(
        "   orderly serve is back (process {pid}), and the order is there: {}, its money {}\n",
        order.text("/state"),
        order.text("/payment_state")
    ));
    Ok(client)
}

async fn retry(client: &Client, stage: &Stage, id: &str) -> Result<(), Failure> {
    say("5. A shop that lost its answers sends both requests again, under the same keys\n");
    let placed = client.post("/v1/orders", PLACE, &order()).await?;
    expect(placed.status == 201 && placed.replayed && placed.text("/id") == id, || {
        format!("placing again made another order: {}", placed.json)
    })?;
    say("   -> 201, Idempotent-Replayed: true: the same order");
    let paid = client.post(&format!("/v1/orders/{id}/pay"), PAY, &instrument()).await?;
    expect(paid.status == 202 && paid.replayed, || {
        format!("paying again answers {}, replayed: {}", paid.status, paid.replayed)
    })?;
    say("   -> 202, Idempotent-Replayed: true: the same payment");
    let order = until("the order is paid", PATIENCE, async || {
        let order = client.get(&format!("/v1/orders/{id}")).await.ok()?;
        (order.text("/payment_state") == "AUTHORIZED").then_some(order)
    })
    .await?;
    let (orders, charges) = (client.orders().await?.len(), charges(stage)?);
    expect((orders, charges) == (1, 1), || {
        format!("there are {orders} orders and {charges} charges, and both should be 1")
    })?;
    say(&format!(
        "   The service found out from the provider what became of the payment, and guessed \
         nothing:\n   the order is {}, its money {}. One order, one charge.\n",
        order.text("/state"),
        order.text("/payment_state")
    ));
    Ok(())
}

/// How many authorizations took effect at the provider.
fn charges(stage: &Stage) -> Result<u64, Failure> {
    Ok(stage.sim.ledger().summary()?.successful.authorization)
}

async fn timeline(client: &Client, id: &str) -> Result<(), Failure> {
    say("6. What happened to it, from its history\n");
    say(&format!("   $ curl -sS $URL/v1/orders/{id}/history -H \"Authorization: Bearer $KEY\"\n"));
    let history = client.get(&format!("/v1/orders/{id}/history")).await?;
    let entries = history.json["entries"].as_array().ok_or("the history is none")?;
    for entry in entries {
        let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        say(&format!(
            "   {:<28} {:<15} {:>9} -> {:<10} by {}",
            text("at"),
            text("command"),
            text("from"),
            text("to"),
            text("actor")
        ));
    }
    say("");
    Ok(())
}
