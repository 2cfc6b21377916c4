//! `orderly serve`: everything built before anything is served, then run until told to stop.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use mainstay::{
    admin,
    http::{Stack, inbound},
    lifecycle::{Lifecycle, Phase},
    metrics::Metrics,
    server::{Server, Tls, passed::Sockets},
    telemetry,
};
use mainstay_context::Context;
use orders::{Orders, ports::Ports as _};
use orders_api::{http, problem::chassis_failure};

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
    let config = config::load(options)?.value;
    let _telemetry = telemetry::init(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(config))
}

async fn run(mut config: Config) -> Result<ExitCode, Failure> {
    let lifecycle = Lifecycle::new(config.lifecycle.clone());
    let metrics = Metrics::new(NAMESPACE);
    metrics.build_info(&[("version", env!("CARGO_PKG_VERSION"))]);
    // Before the store, so that a taken address leaves nothing behind.
    let mut passed = Sockets::from_env();
    let server = bind("http.listen", config.http.listen, (&mut passed, 0), &config).await?;
    let admin_server = bind("admin.listen", config.admin.listen, (&mut passed, 1), &config).await?;
    let (address, admin_address) = (server.local_addr()?, admin_server.local_addr()?);
    // A socket that was passed in may be anywhere, and the rules are about where it is.
    (config.http.listen, config.admin.listen) = (address, admin_address);
    config.refuse()?;
    for warning in config::warnings(&config) {
        tracing::warn!("{warning}");
    }
    let mut server = server.with_metrics(&metrics);
    if let Some(tls) = tls(&config)? {
        server = server.with_tls(tls);
    }
    let orders = Arc::new(wired::open(&config)?);
    let (keys, token) = keys::load(&config)?;

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
    forget_on_time(&lifecycle, &orders, &config);
    lifecycle.ready();
    let scheme = if config.http.tls.is_some() { "https" } else { "http" };
    banner::show(&format!("{scheme}://{address}"), admin_address, token.as_deref());
    let admin = (admin_server, admin::router(&lifecycle, &metrics));
    let report = lifecycle.run(server, app, Some(admin)).await;
    Ok(report.exit_code())
}

/// The server on the socket that was passed in, or else on the `address` under `key`.
async fn bind(
    key: &str,
    address: SocketAddr,
    passed: (&mut Sockets, usize),
    config: &Config,
) -> Result<Server, Failure> {
    let (sockets, index) = passed;
    if let Some(server) = sockets.server(index, config.server.clone())? {
        return Ok(server);
    }
    let bound = Server::bind(address, config.server.clone()).await;
    bound.map_err(|error| {
        format!("cannot listen on {address}: {error}; choose another address with --set {key}=ADDR")
            .into()
    })
}

/// The certificate to serve with, if one is set.
pub(crate) fn tls(config: &Config) -> Result<Option<Tls>, Failure> {
    Ok(config.http.tls.as_ref().map(Tls::load).transpose()?)
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
    gauge("read_queue_depth", "Reads that wait for a reader.", |orders| {
        u64::try_from(orders.ports().store().read_queue_depth()).unwrap_or(u64::MAX)
    });
    gauge(
        "reads_interrupted",
        "Reads stopped because nobody waited for them any more.",
        |orders| orders.ports().store().counters().reads.interrupted,
    );
    gauge("reads_expired", "Reads not begun because nobody waited for them any more.", |orders| {
        orders.ports().store().counters().reads.expired
    });
    gauge("store_wal_bytes", "Write-ahead log since it last started over.", |orders| {
        orders.ports().store().counters().wal_bytes
    });
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
