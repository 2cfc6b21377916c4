//! The worker: takes what is owed and carries it on, so many tasks at a time.
//!
//! Each task under way runs by itself, so that none waits while others are taken. How many are begun
//! is [`pace`]'s to say: a provider that was away is not stormed when it comes back.

mod pace;
mod standing;

use std::{sync::Arc, time::Duration};

use mainstay::{
    lifecycle::{Lifecycle, Phase},
    metrics::{Counter, Metrics},
};
use mainstay_context::{Context, RequestId};
use mainstay_resilience::breaker::State;
use orders::{
    Error, Orders,
    ports::{Leased, Ports as _, TaskKind},
    usecase::Came,
};
use tokio::{task::JoinSet, time::Instant};

use self::{
    pace::{Pace, TICK},
    standing::Standing,
};
use crate::wired::Wired;

/// The most tasks under way at a time.
const AT_ONCE: usize = 64;
/// How long one may take: less than its lease, so that nobody else is at it meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often what has become due is looked for when nothing happens.
const EVERY: Duration = Duration::from_secs(1);
/// The wait after the store gave nothing.
const REST: Duration = Duration::from_millis(500);

/// Starts the worker, which ends with the drain. It has no more under way than the `most` calls that
/// are made at a time.
pub(crate) fn start(
    lifecycle: &Lifecycle,
    orders: &Arc<Orders<Wired>>,
    metrics: &Metrics,
    most: Option<usize>,
) {
    let (watched, orders) = (lifecycle.clone(), Arc::clone(orders));
    let outcomes = metrics.counter(
        "tasks_total",
        "Tasks that the worker carried on, by what came of it: finished, kept, parked, lost, failed",
        &["kind", "outcome"],
    );
    let standing = Standing::new(metrics);
    lifecycle.spawn_work("worker", async move {
        let desk = Arc::new(Desk { orders, outcomes, standing });
        let at_once = most.map_or(AT_ONCE, |most| most.clamp(1, AT_ONCE));
        let (under_way, pace) = (JoinSet::new(), Pace::new(now()));
        let worker = Worker { desk, at_once, under_way, pace };
        tokio::select! {
            () = worker.run(&watched) => {}
            // The drain is over: what is in hand still is taken up again when its lease is over.
            () = watched.reached(Phase::Flushing) => {}
        }
    });
}

/// When to look for what is due, unless a task ends before.
#[derive(Clone, Copy)]
struct Next {
    after: Duration,
    /// Or as soon as anything happens to an order.
    on_news: bool,
}

/// When all that is due was taken.
const AT_LEISURE: Next = Next { after: EVERY, on_news: true };

struct Worker {
    desk: Arc<Desk>,
    at_once: usize,
    /// Ends with the worker.
    under_way: JoinSet<()>,
    pace: Pace,
}

impl Worker {
    async fn run(mut self, lifecycle: &Lifecycle) {
        let mut is_due = true;
        while lifecycle.phase() < Phase::Draining {
            let head = self.desk.orders.ports().store().head();
            // While there is more to do some are taken together, since each taking is a commit.
            let looks = is_due || self.free() >= self.at_once.div_ceil(4);
            let next = if looks { self.take().await } else { AT_LEISURE };
            tokio::select! {
                Some(ended) = self.under_way.join_next() => {
                    is_due = false;
                    if let Err(error) = ended {
                        tracing::error!(error = %error, "a task ended by a panic");
                    }
                }
                () = self.desk.orders.feed_grows(head), if next.on_news => is_due = true,
                () = tokio::time::sleep(next.after) => is_due = true,
                () = lifecycle.reached(Phase::Draining) => {}
            }
        }
        while self.under_way.join_next().await.is_some() {}
    }

    /// Begins what is due, as much as may be.
    async fn take(&mut self) -> Next {
        let provider = self.desk.provider();
        let share = self.pace.share(provider, (self.free(), self.under_way.len()), now());
        if share == 0 {
            return Next {
                after: if self.pace.is_behind() { TICK } else { EVERY },
                on_news: false,
            };
        }
        match self.desk.take(share).await {
            Ok(leased) => {
                // What may have been sent is asked for, and then perhaps sent again.
                let doubtful = leased.iter().filter(|one| one.task.progress.sent.is_some()).count();
                // Timers call nobody.
                let attempts = leased.iter().filter(|one| one.task.kind == TaskKind::Attempt);
                let begun = (leased.len(), attempts.count() + doubtful);
                self.pace.began(share, begun, provider, now());
                for leased in leased {
                    self.under_way.spawn(Arc::clone(&self.desk).carry_on(leased));
                }
                if self.pace.is_behind() {
                    Next { after: TICK, on_news: false }
                } else {
                    AT_LEISURE
                }
            }
            Err(error) => {
                tracing::warn!(error = %error, "no tasks could be taken");
                Next { after: REST, on_news: false }
            }
        }
    }

    fn free(&self) -> usize {
        self.at_once.saturating_sub(self.under_way.len())
    }
}

/// What a task under way needs.
struct Desk {
    orders: Arc<Orders<Wired>>,
    outcomes: Counter,
    standing: Standing,
}

impl Desk {
    /// Whether calls to the provider flow.
    fn provider(&self) -> State {
        let gateway = self.orders.ports().gateway().gateway();
        gateway.map_or(State::Closed, |gateway| gateway.client().breaker().snapshot(now()).state)
    }

    async fn take(&self, count: usize) -> Result<Vec<Leased>, Error> {
        let Ok(request) = "worker".parse() else { return Ok(Vec::new()) };
        self.orders.take_tasks(&context(request), count).await
    }

    async fn carry_on(self: Arc<Self>, leased: Leased) {
        let task = &leased.task;
        let Ok(request) = RequestId::try_from(format!("task-{}", task.id.0).as_str()) else {
            return;
        };
        let came = self.orders.carry_on(&context(request), &leased).await;
        self.outcomes.inc(&[task.kind.as_str(), outcome(&came)]);
        self.standing.note(task.id, &came);
        let (order, kind) = (task.order, task.kind.as_str());
        match came {
            Ok(Came::Finished | Came::Lost) => {}
            Ok(Came::Kept(why)) => {
                tracing::info!(order.id = %order, kind, why, "to be tried again");
            }
            Ok(Came::Parked) => {
                tracing::error!(
                    order.id = %order,
                    operation = %task.id.0,
                    kind,
                    "parked: find out at the provider what became of it, then POST /v1/orders/{{id}}/resolve"
                );
            }
            Err(error) => {
                tracing::warn!(order.id = %order, kind, error = %error, "the task failed");
            }
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn context(request: RequestId) -> Context {
    Context::new(request).with_deadline((Instant::now() + PATIENCE).into_std())
}

const fn outcome(came: &Result<Came, Error>) -> &'static str {
    match came {
        Ok(Came::Finished) => "finished",
        Ok(Came::Kept(_)) => "kept",
        Ok(Came::Parked) => "parked",
        Ok(Came::Lost) => "lost",
        Err(_) => "failed",
    }
}
