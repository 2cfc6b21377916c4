//! `orderly serve`: everything built before anything is served, then run until told to stop.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, OnceLock, Weak},
};

use mainstay::{
    admin::Admin,
    config::Loaded,
    http::{Stack, inbound},
    lifecycle::{Lifecycle, Phase},
    metrics::Metrics,
    server::{Server, passed::Sockets},
    telemetry,
};
use mainstay_context::Context;
use mainstay_resilience::rate_limit::Rate;
use orders::{Orders, ports::Ports as _};
use orders_adapters::settings;
use orders_api::{
    grpc,
    http::{self, Watchers, Webhooks},
    limits::Limits,
    problem::chassis_failure,
};
use serde_json::{Value, json};

#[cfg(feature = "kafka")]
use crate::relay;
#[cfg(feature = "postgres")]
use crate::shares;
use crate::{
    banner,
    cli::Serve,
    config::{self, Config, Expiry, Role},
    console::Failure,
    identities::{self, Identities},
    load::Load,
    metrics,
    wired::{self, Wired},
    worker,
};

/// What traces call the service.
pub(crate) const NAME: &str = "orderly";

/// Runs the service until it is told to stop, or fails.
pub(crate) fn serve(options: &Serve) -> Result<ExitCode, Failure> {
    let loaded = config::load_to_serve(options)?;
    let telemetry = telemetry::init(NAME, &loaded.value.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(run(&loaded, &telemetry, options));
    // What still runs was told in the report, and must not hold up the end.
    runtime.shutdown_background();
    ended
}

async fn run(
    loaded: &Loaded<Config>,
    telemetry: &telemetry::Guard,
    options: &Serve,
) -> Result<ExitCode, Failure> {
    let mut config = loaded.value.clone();
    let lifecycle = Lifecycle::new(config.lifecycle.clone());
    let metrics = metrics::start(&lifecycle, telemetry);
    // Before the store, so that a taken address leaves nothing behind.
    let (api, admin_server) = listen(&mut config).await?;
    config.refuse_reach(options)?;
    for warning in config::warnings(&config) {
        tracing::warn!("{warning}");
    }
    let api = match api {
        Some(server) => {
            let load = Load::start(&config.admission, &metrics)?;
            Some((secured(server, &config, &metrics, &load)?, load))
        }
        None => None,
    };
    let stack = stack(&config, &metrics);
    let limits = Limits::new(config.limits.config(), &metrics);
    let (opened, kafka) = (Opened::default(), Told::default());
    let auth = identities::Told::default();
    let mut admin = Admin::new(&lifecycle, &metrics);
    if let Some((server, load)) = &api {
        admin = admin
            .section("connections", connections(server))
            .section("admission", load.admission_now(&config.admission))
            .section("pools", load.pools_now());
    }
    let admin = admin
        .section("store", store_now(Arc::clone(&opened)))
        .section("gateway", gateway_now(Arc::clone(&opened)))
        .section("kafka", kafka_now(Arc::clone(&kafka)))
        .section("auth", auth_now(Arc::clone(&auth)))
        .section("limits", limits_now(limits.clone()))
        .config(loaded.print())
        .token(config.admin.token()?);
    lifecycle.serve_admin(admin_server, with_controls(admin, &stack, telemetry).router());

    let orders = Arc::new(wired::open(&config, &metrics).await?);
    let _set_once = opened.set(Arc::downgrade(&orders)).is_ok();
    let service = Service { config, lifecycle, metrics, orders, limits };
    keep_store(&service.lifecycle, &service.orders);
    service.start_work(&kafka)?;
    let report = if let Some((server, load)) = api {
        let (api, key) = service.api(options, load, &auth)?;
        #[cfg(feature = "postgres")]
        shares::keep(&service.lifecycle, &service.orders, &service.limits, &service.metrics).await;
        let app = inbound(http::router(Arc::clone(&service.orders), api), &stack);
        let app = grpc::spoken(app);
        service.announce(key.as_deref());
        service.lifecycle.run(server, app).await
    } else {
        banner::show_roles(&service.config.roles, service.config.admin.listen);
        service.lifecycle.run_tasks().await
    };
    // It was closed in its phase; if it was not, this end has to come at once.
    service.orders.ports().store().abandon();
    Ok(report.exit_code())
}

/// What the parts of a running service share.
struct Service {
    config: Config,
    lifecycle: Lifecycle,
    metrics: Metrics,
    orders: Arc<Orders<Wired>>,
    limits: Limits,
}

impl Service {
    /// Starts what the roles of this process ask for beside the API.
    fn start_work(&self, told: &Told) -> Result<(), Failure> {
        let Self { config, lifecycle, metrics, orders, limits: _ } = self;
        if config.roles.has(Role::Worker) {
            forget_on_time(lifecycle, orders, config);
            if config.gateway.is_some() || config.expiry != Expiry::default() {
                let most = config.gateway.as_ref().map(|gateway| gateway.client.max_in_flight);
                worker::start(lifecycle, orders, metrics, most);
            }
        }
        match &config.kafka {
            Some(kafka) if config.roles.has(Role::Relay) => {
                let tell = start_relay(lifecycle, orders, kafka, metrics)?;
                let _set_once = told.set(tell).is_ok();
            }
            Some(_) | None => {}
        }
        if !config.roles.has(Role::Api) {
            metrics::measure(metrics, orders, &Watchers::default());
        }
        Ok(())
    }

    /// What the API needs, and the development key if one was made.
    fn api(
        &self,
        options: &Serve,
        load: Load,
        told: &identities::Told,
    ) -> Result<(http::Config, Option<String>), Failure> {
        let Self { config, lifecycle, metrics, orders, limits } = self;
        let identities = Identities::open(config, options, metrics)?;
        let (auth, key) = (Arc::clone(&identities.auth), identities.key.clone());
        let secret = orders.ports().store().page_secret();
        let mut api = http::Config::new(auth, secret, lifecycle.subscribe());
        api.body_limit = config.http.body_limit;
        api.step = config.http.default_deadline;
        let now = lifecycle.clone();
        api.ready = Arc::new(move || now.unready_reasons().is_empty());
        load.end_with(lifecycle);
        (api.admission, api.pool) = (load.admission, Some(load.pool));
        api.payments = config.gateway.is_some();
        api.limits = limits.clone();
        let secrets = config.webhook_secrets()?;
        api.webhooks = secrets.map(|secrets| Webhooks::new(secrets, metrics));
        metrics::measure(metrics, orders, &api.watchers);
        identities.follow(lifecycle, told);
        Ok((api, key))
    }

    /// Says where the API is.
    fn announce(&self, key: Option<&str>) {
        let config = &self.config;
        let scheme = if config.http.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", config.http.listen);
        banner::show(&url, config.admin.listen, key, config.gateway.is_some());
    }
}

/// Takes the addresses that this process listens on. A socket that was passed in may be anywhere, and
/// the rules are about where it is.
async fn listen(config: &mut Config) -> Result<(Option<Server>, Server), Failure> {
    let mut passed = Sockets::from_env();
    let mut api = None;
    if config.roles.has(Role::Api) {
        let server = bind("http.listen", config.http.listen, (&mut passed, 0), config).await?;
        config.http.listen = server.local_addr()?;
        api = Some(server);
    }
    let admin = bind("admin.listen", config.admin.listen, (&mut passed, 1), config).await?;
    config.admin.listen = admin.local_addr()?;
    Ok((api, admin))
}

#[cfg(feature = "kafka")]
fn start_relay(
    lifecycle: &Lifecycle,
    orders: &Arc<Orders<Wired>>,
    config: &settings::Kafka,
    metrics: &Metrics,
) -> Result<Tell, Failure> {
    Ok(Box::new(relay::start(lifecycle, orders, config, metrics)?))
}

/// A build without it, in which the configuration cannot name it.
#[cfg(not(feature = "kafka"))]
fn start_relay(
    _: &Lifecycle,
    _: &Arc<Orders<Wired>>,
    _: &settings::Kafka,
    _: &Metrics,
) -> Result<Tell, Failure> {
    Err(config::LEFT_OUT.into())
}

/// The server of the API with all that is set for it.
fn secured(
    server: Server,
    config: &Config,
    metrics: &Metrics,
    load: &Load,
) -> Result<Server, Failure> {
    let server = load.shedding(server.with_metrics(metrics));
    Ok(match config.tls()? {
        Some(tls) => server.with_tls(tls),
        None => server,
    })
}

/// What every request passes.
fn stack(config: &Config, metrics: &Metrics) -> Stack {
    let stack =
        Stack::new(metrics).with_config(config.http.deadlines()).with_failures(chassis_failure);
    let stack = stack.with_trusted_proxies(config.server.trusted_proxies.clone());
    http::STREAMS.iter().fold(stack, |stack, route| stack.with_stream(*route))
}

/// Adds what can be looked at and set while the service runs.
fn with_controls(admin: Admin, stack: &Stack, telemetry: &telemetry::Guard) -> Admin {
    let (level, set_level) = (telemetry.levels(), telemetry.levels());
    let in_flight = stack.in_flight();
    admin
        .in_flight(move || in_flight.list())
        .log_level(move || level.get(), move |text| set_level.set(text))
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
    bound.map_err(|error| config::cannot_listen(key, address, &error).into())
}

/// What the status page tells of connections.
fn connections(server: &Server) -> impl Fn() -> Value + use<> {
    let (open, most) = (server.open_connections(), server.most_connections());
    move || json!({ "open": open(), "most": most })
}

/// The use cases, once their store is open.
type Opened = Arc<OnceLock<Weak<Orders<Wired>>>>;

/// What the status page tells of the store.
fn store_now(opened: Opened) -> impl Fn() -> Value {
    move || {
        let Some(orders) = opened.get() else { return json!("opening") };
        let Some(orders) = orders.upgrade() else { return json!("closed") };
        let (store, counters) = (orders.ports().store(), orders.ports().store().counters());
        json!({
            "is_up": store.is_up(),
            "last_error": store.trouble(),
            "queue_depth": store.queue_depth(),
            "changes": counters.changes,
            "batches": counters.batches,
            "changes_per_batch": counters.changes.checked_div(counters.batches),
            "wal_bytes": counters.wal_bytes,
        })
    }
}

/// What the status page tells of the payment gateway: its breaker, and the calls to it.
fn gateway_now(opened: Opened) -> impl Fn() -> Value {
    move || {
        let Some(orders) = opened.get().and_then(Weak::upgrade) else { return json!("not open") };
        let gateway = orders.ports().gateway().gateway();
        gateway.map_or_else(|| json!("none"), |gateway| json!(gateway.client().status()))
    }
}

/// What the status page tells of each limit: what is set for those without an override, the share of this
/// process, and how many addresses or principals it holds and has nothing left for just now.
fn limits_now(limits: Limits) -> impl Fn() -> Value {
    move || {
        let standing = limits.standing();
        let told = standing.into_iter().map(|of| {
            let told = json!({
                "per_second": of.rate.map(Rate::per_second),
                "burst": of.rate.map(Rate::burst),
                "share": f64::from(of.share) / 1e6,
                "held": of.held,
                "over": of.spent,
                "refused_last_minute": of.refused,
                "waiting": of.waiting,
            });
            (of.limit.to_owned(), told)
        });
        let mut told: serde_json::Map<_, _> = told.collect();
        if told.is_empty() {
            return json!("none");
        }
        told.insert("shadow".to_owned(), limits.is_shadow().into());
        told.into()
    }
}

/// What the relay tells of Kafka, once it is started.
type Told = Arc<OnceLock<Tell>>;
type Tell = Box<dyn Fn() -> Value + Send + Sync>;

fn kafka_now(told: Told) -> impl Fn() -> Value {
    move || told.get().map_or_else(|| json!("none"), |tell| tell())
}

/// What the status page tells of who may come in.
fn auth_now(told: identities::Told) -> impl Fn() -> Value {
    move || told.get().map_or_else(|| json!("not open"), |tell| tell())
}

/// Closes the store when nobody uses it any more. Ends the service when the store fails: what cannot
/// be promised must not be acknowledged.
fn keep_store(lifecycle: &Lifecycle, orders: &Arc<Orders<Wired>>) {
    let (watched, orders) = (lifecycle.clone(), Arc::clone(orders));
    lifecycle.tasks().spawn("store", async move {
        let store = orders.ports().store();
        tokio::select! {
            reason = store.failed() => watched.fail(reason),
            () = watched.reached(Phase::Flushing) => store.close().await,
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
