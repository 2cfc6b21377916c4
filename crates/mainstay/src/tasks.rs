//! The owner of every task: nothing runs that shutdown does not know.
//!
//! Guarantees: a panic ends its task only, and is logged and counted; waiting for the end is
//! bounded, and says by name what it cut. Not guaranteed: that a task which blocks its thread
//! ends at all; such a task is named and left behind.

use crate::panics;
use futures_util::FutureExt;
use mainstay_context::{Cause, Context};
use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{task::AbortHandle, time::Instant};
use tokio_util::task::TaskTracker;

/// How long a cut task has to notice before it is left behind.
const CUT_GRACE: Duration = Duration::from_millis(200);

/// A set of running tasks. Clones share the set.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    tracker: TaskTracker,
    live: Mutex<HashMap<u64, Live>>,
    started: AtomicU64,
    panics: AtomicU64,
}

#[derive(Debug)]
struct Live {
    name: &'static str,
    /// Absent for the moment between being listed and being started.
    abort: Option<AbortHandle>,
}

/// What [`Tasks::close_and_wait`] saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TasksReport {
    /// How long it waited.
    pub waited: Duration,
    /// The tasks that were aborted, by name, in no order; one entry for each.
    pub cut: Vec<&'static str>,
    /// How many tasks panicked since the set was made.
    pub panics: u64,
}

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `work` as a task of its own; `name` is what reports and logs call it.
    ///
    /// # Panics
    ///
    /// Panics outside a Tokio runtime.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let id = self.0.started.fetch_add(1, Relaxed);
        // Listed first, so that a task which ends at once is taken off again.
        self.0.live().insert(id, Live { name, abort: None });
        let entry = Entry { tasks: self.clone(), id };
        let ended = move |result: Result<(), Box<dyn Any + Send>>| {
            if let Err(payload) = result {
                entry.tasks.0.panics.fetch_add(1, Relaxed);
                tracing::error!(task = name, panic = panics::message(&*payload), "task panicked");
            }
        };
        // Not an async block, which would hold `work` twice: there may be a task per connection.
        let task = self.0.tracker.spawn(AssertUnwindSafe(work).catch_unwind().map(ended));
        if let Some(listed) = self.0.live().get_mut(&id) {
            listed.abort = Some(task.abort_handle());
        }
    }

    /// Runs `work` for the request of `cx` and no longer: it is dropped at its next await when the
    /// request is cancelled or its deadline passes. It gets a context of its own below `cx`.
    ///
    /// # Panics
    ///
    /// Panics outside a Tokio runtime.
    pub fn spawn_in<F: Future<Output = ()> + Send + 'static>(
        &self,
        cx: &Context,
        name: &'static str,
        work: impl FnOnce(Context) -> F,
    ) {
        let cx = cx.child();
        let work = work(cx.clone());
        self.spawn(name, async move {
            let deadline = cx.deadline().map(Instant::from_std);
            let spent = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = work => {}
                _cause = cx.cancelled() => {}
                () = spent => cx.cancel(Cause::DeadlineExceeded),
            }
        });
    }

    /// Runs `work` that outlives the request of `cx`: under the same request id, trace and
    /// principal, without its deadline and cancellation. See [`Context::detached`].
    ///
    /// # Panics
    ///
    /// Panics outside a Tokio runtime.
    pub fn spawn_detached<F: Future<Output = ()> + Send + 'static>(
        &self,
        cx: &Context,
        name: &'static str,
        work: impl FnOnce(Context) -> F,
    ) {
        self.spawn(name, work(cx.detached()));
    }

    /// How many tasks run now.
    pub fn alive(&self) -> usize {
        self.0.live().len()
    }

    /// How many tasks of each name run now.
    pub fn by_name(&self) -> BTreeMap<&'static str, usize> {
        let mut names = BTreeMap::new();
        for task in self.0.live().values() {
            *names.entry(task.name).or_default() += 1;
        }
        names
    }

    /// How many tasks have panicked so far.
    pub fn panics(&self) -> u64 {
        self.0.panics.load(Relaxed)
    }

    /// Waits at most `budget` for all tasks to end, then aborts the rest.
    pub async fn close_and_wait(&self, budget: Duration) -> TasksReport {
        let start = Instant::now();
        self.0.tracker.close();
        let mut cut = Vec::new();
        if tokio::time::timeout(budget, self.0.tracker.wait()).await.is_err() {
            cut = self.abort_all();
            // Whether they noticed changes nothing: they are reported as cut either way.
            let _noticed = tokio::time::timeout(CUT_GRACE, self.0.tracker.wait()).await;
        }
        TasksReport { waited: start.elapsed(), cut, panics: self.panics() }
    }

    /// Aborts every task at its next await, without waiting, and names them.
    pub fn abort_all(&self) -> Vec<&'static str> {
        let live = self.0.live();
        live.values().filter_map(|task| task.abort.as_ref()).for_each(AbortHandle::abort);
        live.values().map(|task| task.name).collect()
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, HashMap<u64, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a task off the list when it ends in whatever way.
struct Entry {
    tasks: Tasks,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.tasks.0.live().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn tasks_that_end_in_time_are_not_cut() {
        let tasks = Tasks::new();
        tasks.spawn("quick", tokio::time::sleep(Duration::from_secs(1)));
        let report = tasks.close_and_wait(Duration::from_secs(5)).await;
        assert_eq!(report.cut, [""; 0]);
        assert_eq!(report.waited, Duration::from_secs(1));
        assert_eq!(tasks.alive(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_do_not_end_are_cut_and_named() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", pending());
        tasks.spawn("quick", async {});
        let report = tasks.close_and_wait(Duration::from_secs(5)).await;
        assert_eq!(report.cut, ["stuck"]);
        assert_eq!(report.waited, Duration::from_secs(5));
        assert_eq!(tasks.alive(), 0);
    }

    fn context() -> Context {
        Context::new("test".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn work_in_a_request_ends_with_its_deadline_or_its_cancellation() {
        let start = Instant::now();
        let deadline = Duration::from_secs(3);
        let late = context().with_deadline((start + deadline).into_std());
        let tasks = Tasks::new();
        tasks.spawn_in(&late, "late", |_| pending());
        tasks.close_and_wait(Duration::from_mins(1)).await;
        assert_eq!(start.elapsed(), deadline);
        assert_eq!(
            late.ended(start.into_std()),
            None,
            "the request goes on when a task of it ends"
        );

        let (gone, tasks) = (context(), Tasks::new());
        tasks.spawn_in(&gone, "gone", |_| pending());
        gone.cancel(Cause::CallerGone);
        assert_eq!(tasks.close_and_wait(Duration::from_mins(1)).await.cut, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn detached_work_outlives_its_request() {
        let (cx, tasks) = (context().with_deadline(Instant::now().into_std()), Tasks::new());
        let (done, finished) = tokio::sync::oneshot::channel();
        tasks.spawn_detached(&cx, "receipt", |cx| async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            done.send(cx.ended(Instant::now().into_std())).unwrap();
        });
        cx.cancel(Cause::CallerGone);
        assert_eq!(finished.await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_panic_ends_its_task_only() {
        let tasks = Tasks::new();
        tasks.spawn("faulty", async { panic!("on purpose") });
        let (done, finished) = tokio::sync::oneshot::channel();
        tasks.spawn("sound", async { done.send(()).unwrap() });
        finished.await.unwrap();
        let report = tasks.close_and_wait(Duration::from_secs(5)).await;
        assert_eq!((report.cut, report.panics), (vec![], 1));
    }
}
