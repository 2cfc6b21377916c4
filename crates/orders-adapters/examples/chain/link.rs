//! One service of the chain, on mainstay.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::State, routing::get};
use futures_util::{StreamExt as _, stream};
use http::{Request, StatusCode, Uri};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use mainstay::{
    admin,
    http::{Cx, Stack, inbound, propagate},
    lifecycle::{self, Lifecycle},
    metrics::Metrics,
    server::{self, Server},
    telemetry,
};
use orders::{
    Orders,
    ports::{Filter, Page, Ports, ReadError, Store as _},
    usecase::Policy,
};
use orders_adapters::{
    SystemClock, SystemIds,
    gateway::Configured,
    sqlite::{self, Sqlite},
};
use orders_testkit::builders;
use serde_json::json;
use tokio::{runtime::Handle, time::Instant};

use crate::{HttpClient, Options};

const TENANT: &str = "shop";
/// Threads that read: more than reads overlap at the rates of the check.
const READERS: usize = 4;

pub(crate) async fn serve(options: &Options) -> ExitCode {
    let log = telemetry::Config { level: "warn".to_owned(), ..telemetry::Config::default() };
    let _telemetry = telemetry::init("chain", &log).unwrap();
    let metrics = Metrics::new("chain");
    let lifecycle = Lifecycle::new(lifecycle::Config {
        lame_duck: Duration::ZERO,
        ..lifecycle::Config::default()
    });
    let stack = Stack::new(&metrics);
    measure(&metrics, &stack, &lifecycle);
    let (routes, whole_read) = match options.text("next") {
        Some(next) => (middle(next.to_owned()), None),
        None => last(options, &metrics).await,
    };
    let bind = async || Server::bind("127.0.0.1:0", server::Config::default()).await.unwrap();
    let (server, admin) = (bind().await, bind().await);
    println!(
        "{}",
        json!({
            "listen": server.local_addr().unwrap(),
            "admin": admin.local_addr().unwrap(),
            "whole_read_ms": whole_read.map(|time| time.as_secs_f64() * 1_000.0),
        })
    );
    lifecycle.serve_admin(admin, admin::Admin::new(&lifecycle, &metrics).router());
    lifecycle.run(server, inbound(routes, &stack)).await.exit_code()
}

/// What must be as before once the load is over.
fn measure(metrics: &Metrics, stack: &Stack, lifecycle: &Lifecycle) {
    let (runtime, lifecycle) = (Handle::current(), lifecycle.clone());
    let in_flight = stack.in_flight();
    gauge(metrics, "tokio_tasks_alive", move || runtime.metrics().num_alive_tasks());
    gauge(metrics, "tasks_alive", move || lifecycle.tasks().alive());
    gauge(metrics, "requests_listed", move || in_flight.list().len());
    gauge(metrics, "open_sockets", open_sockets);
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats; 2^53 is far away")]
fn gauge(metrics: &Metrics, name: &str, read: impl Fn() -> usize + Send + Sync + 'static) {
    metrics.gauge_fn(name, "See examples/chain/link.rs", move || read() as f64);
}

/// Sockets of this process, as the kernel has them.
fn open_sockets() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// A link that asks the next one.
fn middle(next: String) -> Router {
    let client: HttpClient = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(1))
        .pool_timer(TokioTimer::new())
        .build_http();
    Router::new().fallback(get(pass_on)).with_state((client, next))
}

async fn pass_on(
    State((client, next)): State<(HttpClient, String)>,
    Cx(cx): Cx,
    asked: Uri,
) -> StatusCode {
    let mut call = Request::get(next + asked.path()).body(Body::empty()).unwrap();
    if propagate(&cx, Instant::now().into_std(), call.headers_mut()).is_err() {
        return StatusCode::GATEWAY_TIMEOUT;
    }
    match client.request(call).await {
        Ok(answer) => answer.status(),
        Err(_) => StatusCode::BAD_GATEWAY,
    }
}

/// The link that reads, and how long its read takes when nothing stops it.
async fn last(options: &Options, metrics: &Metrics) -> (Router, Option<Duration>) {
    let path = Path::new(options.text("store").unwrap());
    let store = filled(path, options.number("orders", 300_000)).await;
    let start = Instant::now();
    whole_list(&store, &builders::context(TENANT)).await.unwrap();
    let whole_read = start.elapsed();
    for (name, read) in [
        ("reads_finished", (|store| store.counters().reads.finished) as fn(&Sqlite) -> u64),
        ("reads_interrupted", |store| store.counters().reads.interrupted),
        ("reads_expired", |store| store.counters().reads.expired),
    ] {
        let store = Arc::clone(&store);
        gauge(metrics, name, move || usize::try_from(read(&store)).unwrap());
    }
    let queue = Arc::clone(&store);
    gauge(metrics, "read_queue_depth", move || queue.read_queue_depth());
    let burn = Duration::from_millis(options.number("burn-ms", 25));
    let routes = Router::new()
        .route("/read", get(read))
        .route("/wait", get(std::future::pending::<StatusCode>))
        .with_state((store, burn));
    (routes, Some(whole_read))
}

/// Waits as if for others until only `burn` is left, so that a machine can bear many of these, and
/// then reads for longer than that.
async fn read(State((store, burn)): State<(Arc<Sqlite>, Duration)>, Cx(cx): Cx) -> StatusCode {
    let left = cx.remaining(Instant::now().into_std()).unwrap_or_default();
    tokio::time::sleep(left.saturating_sub(burn)).await;
    match whole_list(&store, &cx).await {
        Ok(()) => StatusCode::OK,
        Err(ReadError::Expired) => StatusCode::GATEWAY_TIMEOUT,
        Err(ReadError::Busy | ReadError::CursorTooOld { .. } | ReadError::Unavailable(_)) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// Every order of the tenant, which is more than anybody can wait for.
async fn whole_list(store: &Sqlite, cx: &mainstay_context::Context) -> Result<(), ReadError> {
    let all = Page { after: None, limit: usize::MAX };
    store.list(cx, &TENANT.parse().unwrap(), &Filter::default(), all).await.map(drop)
}

/// The real ports over a store.
struct Real(Sqlite);

impl Ports for Real {
    type Store = Sqlite;
    type Clock = SystemClock;
    type Ids = SystemIds;
    type Gateway = Configured;

    fn store(&self) -> &Sqlite {
        &self.0
    }

    fn clock(&self) -> &SystemClock {
        &SystemClock
    }

    fn ids(&self) -> &SystemIds {
        &SystemIds
    }

    fn gateway(&self) -> &Configured {
        const { &Configured::none() }
    }
}

/// A new store with so many orders.
async fn filled(path: &Path, count: u64) -> Arc<Sqlite> {
    let config = sqlite::Config { readers: READERS, durable: false, ..sqlite::Config::at(path) };
    let orders = Orders::new(Real(Sqlite::open(&config).unwrap()), Policy::default());
    let create = |n: u64| {
        let orders = &orders;
        async move {
            let key = builders::key(&format!("order-{n}-"));
            orders.create(&builders::context(TENANT), builders::draft(), key).await.unwrap();
        }
    };
    stream::iter(0..count).for_each_concurrent(256, create).await;
    Arc::new(orders.into_ports().0)
}
