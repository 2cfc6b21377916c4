//! What has no outcome yet, as far as this process has seen: an alert's figures. Every operation that
//! waits is looked at when the service starts and at least hourly, so that they are true soon after.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainstay::metrics::Metrics;
use orders::{Error, ports::TaskId, usecase::Came};

/// The most tasks that are told apart.
const MOST: usize = 100_000;

/// The tasks that stand, by why.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing(Arc<Mutex<Sets>>);

#[derive(Debug, Default)]
struct Sets {
    parked: HashSet<TaskId>,
    retried: HashSet<TaskId>,
}

impl Standing {
    /// Nothing stands yet; `metrics` tells how much does from now on.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let standing = Self::default();
        let told = standing.clone();
        let help = "Operations on payments that wait for a person: find out what became of them at the \
                    provider, and resolve them";
        metrics.gauge_fn("payments_parked", help, move || float(told.sets().parked.len()));
        let told = standing.clone();
        let help = "Tasks that were tried in vain and are to be tried again";
        metrics.gauge_fn("tasks_retried", help, move || float(told.sets().retried.len()));
        standing
    }

    /// Notes what came of a task.
    pub(super) fn note(&self, task: TaskId, came: &Result<Came, Error>) {
        let mut sets = self.sets();
        let Sets { parked, retried } = &mut *sets;
        match came {
            Ok(Came::Finished | Came::Lost) => {
                parked.remove(&task);
                retried.remove(&task);
            }
            Ok(Came::Kept(_)) if retried.len() < MOST => {
                parked.remove(&task);
                retried.insert(task);
            }
            Ok(Came::Parked) if parked.len() < MOST => {
                retried.remove(&task);
                parked.insert(task);
            }
            Ok(Came::Kept(_) | Came::Parked) | Err(_) => {}
        }
    }

    fn sets(&self) -> MutexGuard<'_, Sets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "counts are small")]
const fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_is_told_until_it_has_an_outcome() {
        let metrics = Metrics::new("test");
        let standing = Standing::new(&metrics);
        let told = || {
            let sets = standing.sets();
            (sets.parked.len(), sets.retried.len())
        };
        let task = |n| TaskId(uuid::Uuid::from_u128(n));
        standing.note(task(1), &Ok(Came::Kept("away".to_owned())));
        standing.note(task(1), &Ok(Came::Kept("away".to_owned())));
        standing.note(task(2), &Ok(Came::Parked));
        standing.note(task(3), &Ok(Came::Finished));
        assert_eq!(told(), (1, 1));
        standing.note(task(1), &Ok(Came::Parked));
        assert_eq!(told(), (2, 0));
        standing.note(task(1), &Ok(Came::Finished));
        standing.note(task(2), &Ok(Came::Lost));
        assert_eq!(told(), (0, 0));
    }
}
