//! What the runtime and the lifecycle tell.

use super::{Histogram, Metrics, process};
use crate::lifecycle::{Lifecycle, Phase};
use std::time::Duration;
use tokio::{runtime::Handle, time::Instant};

/// How often the delay is measured.
const PROBE: Duration = Duration::from_millis(100);

/// Upper bounds in seconds for the lateness of a task; Tokio's timer itself is late by up to 1 ms.
const DELAY_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Shows the process as `process_*`, as every Prometheus client library does, and under the
/// namespace `lifecycle_phase`, `tasks_alive`, `task_panics_total`, `runtime_workers`,
/// `runtime_tasks_alive`, `runtime_queue_depth` and `runtime_scheduling_delay_seconds`.
///
/// The delay is measured by a task of `lifecycle` that ends with it: how much later than asked it
/// runs. It tells of blocked and of overloaded workers.
///
/// # Panics
///
/// Panics outside a Tokio runtime.
pub fn watch(metrics: &Metrics, lifecycle: &Lifecycle) {
    process::register(metrics);
    let watched = lifecycle.clone();
    let help = "0 starting, 1 ready, 2 lame duck, 3 draining, 4 flushing, 5 stopped";
    metrics.gauge_fn("lifecycle_phase", help, move || f64::from(watched.phase() as u8));
    let tasks = lifecycle.tasks().clone();
    metrics.gauge_fn("tasks_alive", "Background tasks", move || count(tasks.alive()));
    let tasks = lifecycle.tasks().clone();
    metrics.counter_fn("task_panics", "Background tasks that panicked", move || tasks.panics());

    let runtime = |name: &str, help: &str, read: fn(&Handle) -> usize| {
        let handle = Handle::current();
        metrics.gauge_fn(name, help, move || count(read(&handle)));
    };
    runtime("runtime_workers", "Threads that run tasks", |h| h.metrics().num_workers());
    runtime("runtime_tasks_alive", "Tasks of any kind", |h| h.metrics().num_alive_tasks());
    runtime("runtime_queue_depth", "Tasks that wait in the queue all workers share", |h| {
        h.metrics().global_queue_depth()
    });
    let help = "How much later than asked a task runs";
    let delay = metrics.histogram("runtime_scheduling_delay_seconds", help, &[], DELAY_BUCKETS);
    let watched = lifecycle.clone();
    lifecycle.tasks().spawn("scheduling probe", async move {
        tokio::select! {
            () = probe(&delay) => {}
            () = watched.reached(Phase::Flushing) => {}
        }
    });
}

async fn probe(delay: &Histogram) {
    loop {
        let due = Instant::now() + PROBE;
        tokio::time::sleep_until(due).await;
        delay.observe(due.elapsed().as_secs_f64(), &[]);
    }
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lifecycle::Config, metrics::Format};

    #[tokio::test(start_paused = true)]
    async fn the_runtime_is_watched_until_the_end() {
        let (metrics, lifecycle) = (Metrics::new("shop"), Lifecycle::new(Config::default()));
        watch(&metrics, &lifecycle);
        lifecycle.advance(Phase::Ready);
        tokio::time::sleep(10 * PROBE + PROBE / 2).await;
        let text = metrics.render(Format::Text);
        for line in [
            "shop_lifecycle_phase 1.0\n",
            "shop_tasks_alive 1.0\n",
            "shop_task_panics_total 0\n",
            "shop_runtime_workers 1.0\n",
            "shop_runtime_scheduling_delay_seconds_count{} 10\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_worker_is_seen() {
        let metrics = Metrics::new("shop");
        let seen = metrics.histogram("delay", "Delay", &[], DELAY_BUCKETS);
        let block = async {
            tokio::time::sleep(PROBE / 2).await;
            // The clock moves on and nobody may run meanwhile.
            tokio::time::advance(Duration::from_millis(370)).await;
            tokio::task::yield_now().await;
        };
        tokio::select! {
            biased;
            () = probe(&seen) => {}
            () = block => {}
        }
        let text = metrics.render(Format::Text);
        assert!(text.contains("shop_delay_bucket{le=\"0.25\"} 0\n"), "{text}");
        assert!(text.contains("shop_delay_bucket{le=\"0.5\"} 1\n"), "{text}");
    }
}
