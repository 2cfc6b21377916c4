//! `orderly serve`: everything built before anything is served, then run until told to stop.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use mainstay::{
    admin::Admin,
    config::Loaded,
    http::{Stack, inbound},
    lifecycle::{End, Lifecycle, Phase},
    server::{Server, passed::Sockets},
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
    keys, metrics,
    wired::{self, Wired},
};

/// What traces call the service.
const NAME: &str = "orderly";

/// Runs the service until it is told to stop, or fails.
pub(crate) fn serve(options: &Serve) -> Result<ExitCode, Failure> {
    let loaded = config::load_to_serve(options)?;
    let telemetry = telemetry::init(NAME, &loaded.value.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&loaded, &telemetry))
}

async fn run(loaded: &Loaded<Config>, telemetry: &telemetry::Guard) -> Result<ExitCode, Failure> {
    let mut config = loaded.value.clone();
    let lifecycle = Lifecycle::new(config.lifecycle.clone());
    let metrics = metrics::start(&lifecycle, telemetry);
    // Before the store, so that a taken address leaves nothing behind.
    let mut passed = Sockets::from_env();
    let server = bind("http.listen", config.http.listen, (&mut passed, 0), &config).await?;
    let admin_server = bind("admin.listen", config.admin.listen, (&mut passed, 1), &config).await?;
    let (address, admin_address) = (server.local_addr()?, admin_server.local_addr()?);
    // A socket that was passed in may be anywhere, and the rules are about where it is.
    (config.http.listen, config.admin.listen) = (address, admin_address);
    config.refuse_reach()?;
    for warning in config::warnings(&config) {
        tracing::warn!("{warning}");
    }
    let mut server = server.with_metrics(&metrics);
    if let Some(tls) = config.tls()? {
        server = server.with_tls(tls);
    }
    let orders = Arc::new(wired::open(&config, &metrics)?);
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
    let (watchers, in_flight) = (api.watchers.clone(), stack.in_flight());
    let (connections, most) = (server.open_connections(), server.most_connections());
    let app = inbound(http::router(Arc::clone(&orders), api), &stack);

    metrics::measure(&metrics, &orders, &watchers);
    watch_store(&lifecycle, &orders);
    forget_on_time(&lifecycle, &orders, &config);
    lifecycle.ready();
    let scheme = if config.http.tls.is_some() { "https" } else { "http" };
    banner::show(&format!("{scheme}://{address}"), admin_address, token.as_deref());
    let (level, set_level) = (telemetry.levels(), telemetry.levels());
    let admin = Admin::new(&lifecycle, &metrics)
        .section("connections", move || json!({ "open": connections(), "most": most }))
        .section("store", store_now(&orders))
        .in_flight(move || in_flight.list())
        .log_level(move || level.get(), move |text| set_level.set(text))
        .config(loaded.print())
        .token(config.admin.token()?);
    let report = lifecycle.run(server, app, Some((admin_server, admin.router()))).await;
    if report.end != End::Stopped {
        // Closing takes as long as the disk does, and this end has to come at once.
        orders.ports().store().abandon();
    }
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
