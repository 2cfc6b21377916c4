//! The worker: takes what is owed and carries it on, a few at a time.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use mainstay::{
    lifecycle::{Lifecycle, Phase},
    metrics::{Counter, Metrics},
};
use mainstay_context::{Context, RequestId};
use orders::{
    Error, Orders,
    ports::{Leased, Ports as _},
    usecase::Came,
};
use tokio::time::Instant;

use crate::wired::Wired;

/// Tasks under way at a time.
const AT_ONCE: usize = 16;
/// How long one may take: less than its lease, so that nobody else is at it meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often what has become due is looked for when nothing happens.
const EVERY: Duration = Duration::from_secs(1);
/// The wait after the store gave nothing.
const REST: Duration = Duration::from_millis(500);

/// Starts the worker, which ends with the drain.
pub(crate) fn start(lifecycle: &Lifecycle, orders: &Arc<Orders<Wired>>, metrics: &Metrics) {
    let (watched, orders) = (lifecycle.clone(), Arc::clone(orders));
    let outcomes = metrics.counter(
        "tasks_total",
        "Tasks that the worker carried on, by what came of it: finished, kept, parked, lost, failed",
        &["kind", "outcome"],
    );
    lifecycle.tasks().spawn("worker", async move {
        let worker = Worker { orders, outcomes };
        tokio::select! {
            () = worker.run(&watched) => {}
            // What is in hand then is taken up again when its lease is over.
            () = watched.reached(Phase::Flushing) => {}
        }
    });
}

struct Worker {
    orders: Arc<Orders<Wired>>,
    outcomes: Counter,
}

impl Worker {
    async fn run(&self, lifecycle: &Lifecycle) {
        let mut under_way = FuturesUnordered::new();
        while lifecycle.phase() < Phase::Draining {
            let head = self.orders.ports().store().head();
            let free = AT_ONCE - under_way.len();
            let leased = self.take(free).await;
            let some = !leased.is_empty();
            under_way.extend(leased.into_iter().map(|leased| self.carry_on(leased)));
            if some && under_way.len() < AT_ONCE {
                continue;
            }
            tokio::select! {
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                () = self.orders.feed_grows(head), if under_way.len() < AT_ONCE => {}
                () = tokio::time::sleep(EVERY), if under_way.len() < AT_ONCE => {}
                () = lifecycle.reached(Phase::Draining) => {}
            }
        }
        while under_way.next().await.is_some() {}
    }

    /// Takes what is due; nothing, after a rest, when the store does not answer.
    async fn take(&self, count: usize) -> Vec<Leased> {
        if count == 0 {
            return Vec::new();
        }
        let Ok(request) = "worker".parse() else { return Vec::new() };
        match self.orders.take_tasks(&context(request), count).await {
            Ok(leased) => leased,
            Err(error) => {
                tracing::warn!(error = %error, "no tasks could be taken");
                tokio::time::sleep(REST).await;
                Vec::new()
            }
        }
    }

    async fn carry_on(&self, leased: Leased) {
        let task = &leased.task;
        let Ok(request) = RequestId::try_from(format!("task-{}", task.id.0).as_str()) else {
            return;
        };
        let came = self.orders.carry_on(&context(request), &leased).await;
        self.outcomes.inc(&[task.kind.as_str(), outcome(&came)]);
        let (order, kind) = (task.order, task.kind.as_str());
        match came {
            Ok(Came::Finished | Came::Lost) => {}
            Ok(Came::Kept(why)) => {
                tracing::info!(order.id = %order, kind, why, "to be tried again");
            }
            Ok(Came::Parked) => {
                tracing::error!(order.id = %order, kind, "parked: a person has to find out what happened");
            }
            Err(error) => {
                tracing::warn!(order.id = %order, kind, error = %error, "the task failed");
            }
        }
    }
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
