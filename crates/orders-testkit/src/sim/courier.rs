//! Those who carry the feed to the bus, as the binary does: one at a time, but for one that stood still
//! and does not know yet that another has taken over.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::ready,
    time::Duration,
};

use mainstay_context::Context;
use orders::{
    Orders,
    ports::{Clock as _, Ports as _},
    usecase::{RelayError, Relayed, relay},
};
use tokio::time;

use super::{plan, process::Stage};
use crate::{Producer, World};

/// The first wait after a round that failed; it doubles up to [`LONGEST_REST`].
const REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How often the feed is looked at when nobody tells of news.
const EVERY: Duration = Duration::from_secs(1);

/// One courier of a process.
struct Courier {
    stage: Arc<Stage>,
    orders: Arc<Orders<World>>,
    number: usize,
    plan: plan::Courier,
    producer: Producer,
}

/// Carries the feed out until told that nothing more comes, or the process ends.
pub(super) async fn carry(
    stage: Arc<Stage>,
    orders: Arc<Orders<World>>,
    number: usize,
    plan: plan::Courier,
) {
    let producer = stage.world.producer();
    let courier = Courier { stage: Arc::clone(&stage), orders, number, plan, producer };
    unless_stopped(&stage, number, courier.lead_and_carry()).await;
}

/// Does nothing while the courier stands still, wherever in its work that finds it.
async fn unless_stopped(stage: &Stage, courier: usize, work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    let mut goes_on = pin!(time::sleep(Duration::ZERO));
    poll_fn(|cx| {
        loop {
            let Some(until) = stage.lead().stands_still(courier) else { break };
            goes_on.as_mut().reset(until);
            ready!(goes_on.as_mut().poll(cx));
        }
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() && stage.waits(courier) {
            // To be held up from the next time on, whatever wakes it.
            cx.waker().wake_by_ref();
        }
        polled
    })
    .await;
}

impl Courier {
    async fn lead_and_carry(&self) {
        loop {
            // Looked at before the lead is: whoever has it then is not done yet.
            let ends = self.stage.ends();
            let turn = self.stage.lead().take(self.number);
            if let Some(turn) = turn {
                let is_done = tokio::select! {
                    biased;
                    () = self.stage.lead_is_lost(turn) => false,
                    () = self.rounds() => true,
                };
                if is_done {
                    return;
                }
            } else if ends {
                return;
            }
            time::sleep(LONGEST_REST).await;
        }
    }

    /// Publishes the feed, round by round, until all of it is or never will be.
    async fn rounds(&self) {
        let mut rest = REST;
        loop {
            let is_last = self.stage.ends();
            match self.round().await {
                Ok(relayed) => {
                    rest = REST;
                    if relayed.published < relayed.head {
                        if relayed.events == 0 {
                            time::sleep(Duration::from_millis(1)).await;
                        }
                        continue;
                    }
                    if is_last {
                        return;
                    }
                    let grows = self.orders.feed_grows(relayed.head);
                    drop(time::timeout(EVERY, grows).await);
                }
                Err(_) if is_last && self.stage.bus_is_gone() => return,
                Err(_) => {
                    time::sleep(rest).await;
                    rest = (rest * 2).min(LONGEST_REST);
                }
            }
        }
    }

    async fn round(&self) -> Result<Relayed, RelayError> {
        let deadline = self.stage.world.clock().instant() + self.plan.patience;
        let cx = Context::new("relay".parse().expect("a request id")).with_deadline(deadline);
        let store = self.orders.ports().store();
        let number = self.number;
        self.stage.lead().begins(number);
        let relayed = relay(&cx, store, &self.producer, self.plan.page).await;
        self.stage.lead().ends(number);
        self.stage.note(|| format!("relay {number}: {relayed:?}"));
        self.stage.look_at_the_bus();
        let mut book = self.stage.book();
        match &relayed {
            Ok(relayed) => {
                book.mix(relayed.published.0 << 8 ^ relayed.events as u64);
                if relayed.missed > 0 {
                    let missed = relayed.missed;
                    book.violation(format!("{missed} events were gone before they were published"));
                }
            }
            Err(_) => book.mix(70),
        }
        drop(book);
        relayed
    }
}
