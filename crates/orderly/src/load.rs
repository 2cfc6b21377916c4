//! How much the API does at a time: admission, and the threads that compute for it.

use std::{io, time::Duration};

use http::request::Parts;
use mainstay::{
    lifecycle::{Lifecycle, Phase},
    metrics::{LATENCY_BUCKETS, Metrics},
    server::Server,
};
use mainstay_resilience::{
    Jitter,
    admission::{self, Admission, Reason, Told},
    pool::{self, Done, Fate, Pool},
};
use orders_api::problem::{may_shed, shed};
use serde_json::{Value, json};

use crate::config;

/// How long jobs that wait may still run when the service stops. Those who asked for them are gone by
/// then.
const DRAIN: Duration = Duration::from_secs(1);

/// What the API is given to do its work with.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) admission: Admission,
    pub(crate) pool: Pool,
}

impl Load {
    /// Starts the threads, and tells `metrics` of all.
    pub(crate) fn start(config: &config::Admission, metrics: &Metrics) -> io::Result<Self> {
        let admission = admitted(config.limits(), metrics);
        let pool = measured(Pool::start("compute", &pool::Config::default())?, metrics);
        Ok(Self { admission, pool })
    }

    /// Has a server refuse what came too late to be taken up, while the threads are far behind.
    pub(crate) fn shedding(&self, server: Server) -> Server {
        let admission = self.admission.clone();
        let decide = move |head: &Parts, waited| {
            let refused = may_shed(head).then(|| admission.take_up(waited).err())??;
            Some(refused.retry_after)
        };
        server.with_shedding(decide, shed)
    }

    /// Ends the threads when nothing is asked of them any more.
    pub(crate) fn end_with(&self, lifecycle: &Lifecycle) {
        let (watched, pool) = (lifecycle.clone(), self.pool.clone());
        lifecycle.tasks().spawn("pool", async move {
            watched.reached(Phase::Flushing).await;
            let left = pool.shutdown(DRAIN).await;
            if left > 0 {
                tracing::warn!(pool = pool.name(), left, "threads of a pool are left behind");
            }
        });
    }

    /// What the status page tells of admission.
    pub(crate) fn admission_now(&self, config: &config::Admission) -> impl Fn() -> Value + use<> {
        let (admission, most) = (self.admission.clone(), config.limits());
        move || {
            let now = admission.snapshot();
            json!({
                "in_service": now.in_service,
                "most_in_service": most.in_service,
                "queued": now.waiting,
                "most_queued": most.queue,
                "tenants_queued": now.tenants,
                "usual_service_seconds": now.usual.as_secs_f64(),
                "behind": now.behind.as_str(),
            })
        }
    }

    /// What the status page tells of the pools.
    pub(crate) fn pools_now(&self) -> impl Fn() -> Value + use<> {
        let pool = self.pool.clone();
        move || {
            let now = pool.snapshot();
            let told =
                json!({ "threads": now.threads, "running": now.running, "queued": now.waiting });
            let name = pool.name();
            json!({ name: told })
        }
    }
}

fn admitted(config: admission::Config, metrics: &Metrics) -> Admission {
    let waits = metrics.histogram(
        "admission_wait_seconds",
        "Time that requests waited for their turn, of those that did not have it at once",
        &[],
        LATENCY_BUCKETS,
    );
    let refused = metrics.counter(
        "admission_refused_total",
        "Requests that were refused before they were read: late (they could not be done by their \
         deadline), full (too many waited), share (too many of their tenant did), behind (more came than the processors \
         could do), shed (so much more that nothing was done to know whose they are: these are in no other \
         metric), ended (in the queue)",
        &["reason"],
    );
    for reason in Reason::NAMES {
        // From the start, so that a rate over them has something to begin from.
        refused.add(0, &[reason]);
    }
    let admission =
        Admission::new(config, Jitter::system()).with_listener(move |told| match told {
            Told::Waited(time) => waits.observe(time.as_secs_f64(), &[]),
            Told::Refused(reason) => refused.inc(&[reason.as_str()]),
        });
    let now = admission.clone();
    let help = "Requests in service, of those that are counted";
    metrics.gauge_fn("admission_in_service", help, move || float(now.snapshot().in_service));
    let now = admission.clone();
    let help = "Requests that wait for their turn";
    metrics.gauge_fn("admission_queue_depth", help, move || float(now.snapshot().waiting));
    admission
}

fn measured(pool: Pool, metrics: &Metrics) -> Pool {
    let waits = metrics.histogram(
        "pool_queue_wait_seconds",
        "Time that jobs waited for a thread of the pool",
        &[],
        LATENCY_BUCKETS,
    );
    let runs = metrics.histogram(
        "pool_run_seconds",
        "Time that jobs ran on a thread of the pool",
        &[],
        LATENCY_BUCKETS,
    );
    let jobs = metrics.counter(
        "pool_jobs_total",
        "Jobs for the threads of the pool, by what became of them",
        &["outcome"],
    );
    for fate in Fate::ALL {
        jobs.add(0, &[fate.as_str()]);
    }
    let pool = pool.with_listener(move |Done { fate, waited, ran }| {
        jobs.inc(&[fate.as_str()]);
        if fate.has_run() {
            waits.observe(waited.as_secs_f64(), &[]);
            runs.observe(ran.as_secs_f64(), &[]);
        }
    });
    let now = pool.clone();
    let help = "Jobs that wait for a thread of the pool";
    metrics.gauge_fn("pool_queue_depth", help, move || float(now.snapshot().waiting));
    pool
}

fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
