//! `orderly serve`: everything built before anything is served, then run until told to stop.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use mainstay::{
    admin::Admin,
    config::Loaded,
    http::{Stack, inbound},
    lifecycle::{Lifecycle, Phase},
    metrics::Metrics,
    server::Server,
    telemetry,
};
use mainstay_context::Context;
use orders::{Orders, ports::Ports as _};
use orders_api::{http, problem::chassis_failure};
use serde_json::{Value, json};

use crate::{
    banner,
    cli::Serve,
    config::{self, Config},
    console::Failure,
    keys,
    wired::{self, Wired},
};

/// The namespace of every metric.
const NAMESPACE: &str = "order_service";

/// Runs the service until it is told to stop, or fails.
pub(crate) fn serve(options: &Serve) -> Result<ExitCode, Failure> {
    let loaded = config::load_to_serve(options)?;
    let _telemetry = telemetry::init(&loaded.value.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&loaded))
}

async fn run(loaded: &Loaded<Config>) -> Result<ExitCode, Failure> {
    let config = &loaded.value;
    let lifecycle = Lifecycle::new(config.lifecycle.clone());
    let metrics = Metrics::new(NAMESPACE);
    metrics.build_info(&[("version", env!("CARGO_PKG_VERSION"))]);
    for warning in config::warnings(config) {
        tracing::warn!("{warning}");
    }
    // Before the store, so that a taken address leaves nothing behind.
    let server = bind("http.listen", config.http.listen, config).await?;
    let admin_server = bind("admin.listen", config.admin.listen, config).await?;
    let orders = Arc::new(wired::open(config)?);
    let (keys, token) = keys::load(config)?;
    let (address, admin_address) = (server.local_addr()?, admin_server.local_addr()?);

    let secret = orders.ports().store().page_secret();
    let mut api = http::Config::new(keys, secret, lifecycle.subscribe());
    api.body_limit = config.http.body_limit;
    api.step = config.http.default_deadline;
    let mut stack =
        Stack::new(&metrics).with_config(config.http.deadlines()).with_failures(chassis_failure);
    for route in http::STREAMS {
        stack = stack.with_stream(route);
    }
    let app = inbound(http::router(Arc::clone(&orders), api), &stack);

    measure(&metrics, &orders);
    watch_store(&lifecycle, &orders);
    forget_on_time(&lifecycle, &orders, config);
    lifecycle.ready();
    banner::show(address, admin_address, token.as_deref());
    let admin = Admin::new(&lifecycle, &metrics)
        .section("store", store_now(&orders))
        .config(loaded.print())
        .token(config.admin.token()?);
    let report = lifecycle.run(server, app, Some((admin_server, admin.router()))).await;
    Ok(report.exit_code())
}

async fn bind(key: &str, address: SocketAddr, config: &Config) -> Result<Server, Failure> {
    let bound = Server::bind(address, config.server.clone()).await;
    bound.map_err(|error| {
        format!("cannot listen on {address}: {error}; choose another address with --set {key}=ADDR")
            .into()
    })
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats; 2^53 is far away")]
fn measure(metrics: &Metrics, orders: &Arc<Orders<Wired>>) {
    let gauge = |name: &str, help: &str, read: fn(&Orders<Wired>) -> u64| {
        let orders = Arc::downgrade(orders);
        metrics.gauge_fn(name, help, move || {
            orders.upgrade().map_or(0.0, |orders| read(&orders) as f64)
        });
    };
    gauge("commit_queue_depth", "Changes that wait for the writer.", |orders| {
        u64::try_from(orders.ports().store().queue_depth()).unwrap_or(u64::MAX)
    });
    gauge("commit_changes", "Changes answered since the start.", |orders| {
        orders.ports().store().counters().changes
    });
    gauge("commit_batches", "Transactions they took.", |orders| {
        orders.ports().store().counters().batches
    });
    gauge("store_wal_bytes", "Write-ahead log since it last started over.", |orders| {
        orders.ports().store().counters().wal_bytes
    });
}

/// What the status page tells of the store.
fn store_now(orders: &Arc<Orders<Wired>>) -> impl Fn() -> Value + use<> {
    let orders = Arc::downgrade(orders);
    move || {
        let Some(orders) = orders.upgrade() else { return json!("closed") };
        let (store, counters) = (orders.ports().store(), orders.ports().store().counters());
        json!({
            "queue_depth": store.queue_depth(),
            "changes": counters.changes,
            "batches": counters.batches,
            "changes_per_batch": counters.changes.checked_div(counters.batches),
            "wal_bytes": counters.wal_bytes,
        })
    }
}

/// Ends the service when the store fails: what cannot be promised must not be acknowledged.
fn watch_store(lifecycle: &Lifecycle, orders: &Arc<Orders<Wired>>) {
    let (watched, orders) = (lifecycle.clone(), Arc::clone(orders));
    lifecycle.tasks().spawn("store watch", async move {
        tokio::select! {
            reason = orders.ports().store().failed() => watched.fail(reason),
            () = watched.reached(Phase::Flushing) => {}
        }
    });
}

/// Forgets what is past its time, a chunk at a time, for as long as the service runs.
fn forget_on_time(lifecycle: &Lifecycle, orders: &Arc<Orders<Wired>>, config: &Config) {
    let (watched, orders) = (lifecycle.clone(), Arc::clone(orders));
    let every = config.retention.every;
    let work = async move {
        loop {
            tokio::time::sleep(every).await;
            while forget_chunk(&orders).await {}
        }
    };
    lifecycle.tasks().spawn("retention", async move {
        tokio::select! {
            () = work => {}
            () = watched.reached(Phase::Draining) => {}
        }
    });
}

/// Forgets one chunk; returns whether there may be more.
async fn forget_chunk(orders: &Orders<Wired>) -> bool {
    let Ok(request) = "retention".parse() else { return false };
    match orders.forget(&Context::new(request)).await {
        Ok(forgotten) => {
            let count = forgotten.events + forgotten.receipts;
            if count > 0 {
                tracing::debug!(events = forgotten.events, receipts = forgotten.receipts, "forgot");
            }
            count > 0
        }
        Err(error) => {
            tracing::warn!(error = %error, "could not forget what is past its time");
            false
        }
    }
}
