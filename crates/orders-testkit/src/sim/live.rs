//! The second phase: some of what is broken gets well and the rest never does. Then what can end must
//! end.

use std::{sync::Arc, time::Duration};

use orders::{
    domain::{AttemptState, State},
    ports::{AuditSource as _, Clock as _, Page, Task, TaskKind},
};
use tokio::time;

use super::{
    book::Asked,
    client, money,
    plan::{Heals, Plan},
    process::Stage,
    run::check,
};
use crate::{BusFaults, BusMode, Faults, GatewayFaults, GatewayMode};

/// What heals needs longer than that for nothing: the longest wait of a worker is a minute, and
/// every wait may be followed by a lease that runs out.
const HEALED: Duration = Duration::from_mins(30);
/// As long with a store, or a provider, that stays broken.
const LIMPING: Duration = Duration::from_hours(12);
/// For how long workers go on when the provider never heals.
const IN_VAIN: Duration = Duration::from_mins(3);

/// Heals what heals, and requires what can be required.
pub(super) async fn on(stage: &Arc<Stage>, plan: &Plan, open: &[Asked]) {
    stage.calm_down();
    heal(stage, plan.heals);
    if !plan.heals.store {
        settled(stage, plan.heals, LIMPING).await;
        stage.world.set_faults(Faults::default());
    }
    time::sleep(Duration::from_millis(100)).await;
    for asked in open {
        let outcome = client::send(stage, *asked).await;
        if outcome.is_open() {
            let what = format!("{asked:?}: still {outcome:?} when all is well again");
            stage.book().violation(what);
        }
    }
    settled(stage, plan.heals, HEALED).await;
    if plan.publishes_all() {
        published(stage).await;
    }
    check(stage).await;
    ended(stage, plan.heals).await;
}

fn heal(stage: &Stage, heals: Heals) {
    let world = &stage.world;
    let mode = heals.provider.unwrap_or_default();
    stage.note(|| format!("{heals:?}"));
    if heals.store {
        world.set_faults(Faults::default());
    }
    world.set_gateway_mode(mode);
    if mode == GatewayMode::Up {
        world.set_gateway_faults(GatewayFaults::default());
    }
    let mode = heals.bus.unwrap_or_default();
    world.set_bus_mode(mode);
    if mode == BusMode::Up {
        world.set_bus_faults(BusFaults::default());
    }
    // Somebody sets the clock right: no earlier than it ever was.
    let furthest = stage.book().furthest;
    if world.clock().now() < furthest {
        world.clock().set(furthest);
    }
}

/// Waits until nothing is owed now. With a provider that stays broken that may never be: then workers
/// go on in vain for a while, and until no task is left that has nothing to do.
async fn settled(stage: &Stage, heals: Heals, within: Duration) {
    let (ends, within): (fn(&Stage) -> bool, _) = if heals.provider.is_some() {
        time::sleep(IN_VAIN).await;
        (nothing_is_idle, LIMPING)
    } else {
        (nothing_is_owed, within)
    };
    let end = time::Instant::now() + within;
    while !ends(stage) {
        if time::Instant::now() > end {
            let owed = stage.world.owed().len();
            let what = format!("{owed} tasks are still owed when they could be done");
            return stage.book().violation(what);
        }
        time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits until the whole feed is published.
async fn published(stage: &Stage) {
    let end = time::Instant::now() + HEALED;
    loop {
        let (published, head) = stage.world.published_of();
        if published >= head {
            return;
        }
        if time::Instant::now() > end {
            let what = format!("published up to {published} of {head} when all could be");
            return stage.book().violation(what);
        }
        time::sleep(Duration::from_secs(1)).await;
    }
}

fn nothing_is_owed(stage: &Stage) -> bool {
    let now = stage.world.clock().now();
    let owed = stage.world.owed();
    let rests = |task: &Task| task.due > now && !has_to_do(stage, task);
    owed.iter().all(rests) && stage.world.webhooks_delivered()
}

/// Whether a task is of an attempt that has no outcome and waits for no person.
fn has_to_do(stage: &Stage, task: &Task) -> bool {
    matches!(attempt_of(stage, task), Some(AttemptState::Open | AttemptState::Unknown))
}

/// Whether no task is left of an attempt that has its outcome.
fn nothing_is_idle(stage: &Stage) -> bool {
    !stage.world.owed().iter().any(|task| is_idle(stage, task))
}

/// Whether the attempt of a task has its outcome. It may have learnt it by a webhook; its task ends
/// when it is next due.
fn is_idle(stage: &Stage, task: &Task) -> bool {
    matches!(attempt_of(stage, task), Some(AttemptState::Succeeded | AttemptState::Declined(_)))
}

/// How far the attempt of a task is.
fn attempt_of(stage: &Stage, task: &Task) -> Option<AttemptState> {
    let order = stage.world.stored(&task.tenant, task.order)?;
    let mut attempts = order.payments.iter().flat_map(|payment| &payment.attempts);
    let attempt = attempts.find(|attempt| attempt.id.0 == task.id.0);
    attempt.map(|attempt| attempt.state.clone()).filter(|_| task.kind == TaskKind::Attempt)
}

/// What must be so in the end: nothing is in doubt that could be found out, nothing is called off by
/// half, and no task is left that has nothing to do.
async fn ended(stage: &Stage, heals: Heals) {
    let page = Page { after: None, limit: usize::MAX };
    let dossiers = stage.world.dossiers(page).await.expect("a world can be read");
    for dossier in dossiers {
        let Ok(record) = &dossier.record else { continue };
        let order = &record.order;
        money::step(stage, &order.tenant, order.id);
        let attempts = order.payments.iter().flat_map(|payment| &payment.attempts);
        let states: Vec<&AttemptState> = attempts.map(|attempt| &attempt.state).collect();
        let parked = states.iter().filter(|state| ***state == AttemptState::Parked).count();
        let open = states.iter().filter(|state| state.is_unresolved()).count() - parked;
        let mut book = stage.book();
        book.parked += parked as u64;
        if open > 0 && heals.provider.is_none() {
            book.violation(format!("{}: an attempt has no outcome when all is well", order.id));
        }
        if order.state == State::Cancelling && parked + open == 0 {
            book.violation(format!("{}: called off by half", order.id));
        }
    }
    let now = stage.world.clock().now();
    for task in stage.world.owed() {
        if task.due <= now && is_idle(stage, &task) {
            stage.book().violation(format!("{}: a task has nothing to do", task.order));
        }
    }
}
