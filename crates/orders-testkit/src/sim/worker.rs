//! The workers of a process: they take what is owed and carry it on, and the provider tells them
//! things unasked.

use std::{sync::Arc, time::Duration};

use mainstay_context::Context;
use orders::{
    Orders,
    ports::{Clock as _, Instruction, Leased},
    usecase::{Came, Notification},
};
use tokio::time;

use super::{book::low, money, plan, process::Stage, reader::LONGEST_PAUSE};
use crate::{Webhook, World};

/// How soon somebody looks again whether the provider tells something.
const SHORT_PAUSE: Duration = Duration::from_millis(10);
/// When the provider tells again what was not taken in.
const TOLD_AGAIN: Duration = Duration::from_millis(700);

/// Works until told to take nothing new, or the process ends.
pub(super) async fn work(stage: Arc<Stage>, orders: Arc<Orders<World>>, plan: plan::Worker) {
    let mut pause = plan.pause;
    while !stage.drains() {
        let taken = orders.take_tasks(&context(&stage, plan.patience), plan.batch).await;
        let Some(leased) = taken.ok().filter(|leased| !leased.is_empty()) else {
            pause = if stage.calm() { LONGEST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            time::sleep(pause).await;
            continue;
        };
        pause = plan.pause;
        {
            let mut book = stage.book();
            for leased in &leased {
                book.leased(leased);
            }
        }
        for leased in leased {
            carry_on(&stage, &orders, plan.patience, &leased).await;
        }
    }
}

async fn carry_on(stage: &Stage, orders: &Orders<World>, patience: Duration, leased: &Leased) {
    let outdated = stage.book().is_outdated(leased);
    let came = orders.carry_on(&context(stage, patience), leased).await;
    let order = leased.task.order;
    stage.note(|| format!("task of {order} under {}: {came:?}", leased.epoch));
    {
        let mut book = stage.book();
        let code = match &came {
            Ok(Came::Finished) => 60,
            Ok(Came::Kept(_)) => 61,
            Ok(Came::Parked) => 62,
            Ok(Came::Lost) => 63,
            Err(_) => 64,
        };
        book.mix(low(order) ^ code);
        if outdated && !matches!(came, Ok(Came::Lost) | Err(_)) {
            let epoch = leased.epoch;
            book.violation(format!("{order}: lease {epoch} counts when a newer one is out"));
        }
    }
    money::step(stage, &leased.task.tenant, order);
}

fn context(stage: &Stage, patience: Duration) -> Context {
    let id = "worker".parse().expect("a request id");
    Context::new(id).with_deadline(stage.world.clock().instant() + patience)
}

/// Takes in what the provider tells unasked, until then.
pub(super) async fn post(stage: Arc<Stage>) {
    let mut pause = SHORT_PAUSE;
    while !stage.drains() {
        let Some(word) = stage.world.webhook() else {
            pause = if stage.calm() { LONGEST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            time::sleep(pause).await;
            continue;
        };
        pause = SHORT_PAUSE;
        if !hear(&stage, &word).await {
            stage.world.webhook_again(word, TOLD_AGAIN);
        }
    }
}

/// Whether it was taken in.
async fn hear(stage: &Stage, word: &Webhook) -> bool {
    let cx = context(stage, stage.deadline);
    let Instruction { attempt, payment, operation, amount, .. } = word.of;
    let (amount, outcome) = (Some(amount), word.outcome.clone());
    let told = Notification { attempt, payment, operation, amount, outcome };
    let heard = stage.request(|orders| async move { orders.hear(&cx, &told).await }).await;
    stage.note(|| format!("told of {attempt:?}: {heard:?}"));
    stage.book().mix(attempt.0.as_u64_pair().1 ^ u64::from(matches!(heard, Some(Ok(_)))));
    matches!(heard, Some(Ok(_)))
}
