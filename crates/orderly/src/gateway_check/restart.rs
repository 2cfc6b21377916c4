//! What must be there after the implementation was started anew.

use std::{process::Command, time::Duration};

use tokio::time::timeout;

use super::{
    exchange::Exchange,
    facts::{Checked, Report, Trouble},
    shop::{AMOUNT, Shop, Totals, id},
};

/// How long the command, and then the implementation, may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is asked whether it is there.
const EVERY: Duration = Duration::from_millis(200);

/// Makes an operation, restarts by the command, and asks for the operation again.
pub(super) async fn check(shop: &Shop, command: &str, report: &mut Report) {
    report.part("restart").fact(
        "a key and its operation are there after a restart",
        "1. [...] restarts included. The key, the effect and the answer are durable in one step, \
         before the answer is sent.",
        survives(shop, command).await,
    );
}

async fn survives(shop: &Shop, command: &str) -> Checked {
    let ask = shop.authorize(id());
    let first = shop.send(ask.clone()).await;
    let held = Totals::new(AMOUNT, 0, 0, 0);
    first.comes_to(held).map_err(|trouble| trouble.before("an authorization"))?;
    restart(shop, command).await.map_err(Trouble::Unclear)?;
    shop.send(ask).await.replays(&first)?;
    let reference = first.json()["reference"].as_str().unwrap_or_default().to_owned();
    let found: Exchange = shop.send(shop.look_up(&reference)).await;
    if found.json() == first.json() {
        Ok(())
    } else {
        found.miss("the operation as it was answered")
    }
}

async fn restart(shop: &Shop, command: &str) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    let run = tokio::task::spawn_blocking(move || shell.status());
    let status = timeout(PATIENCE, run)
        .await
        .map_err(|_| format!("the restart command does not end within {PATIENCE:?}"))?
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("the restart command cannot be run: {error}"))?;
    if !status.success() {
        return Err(format!("the restart command failed: {status}"));
    }
    let back = async {
        while shop.caller.reach().await.is_err() {
            tokio::time::sleep(EVERY).await;
        }
    };
    let late =
        |_| format!("the implementation was not back {PATIENCE:?} after the restart command");
    timeout(PATIENCE, back).await.map_err(late)
}
