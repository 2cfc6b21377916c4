use crate::support::{Client, Service, get, soon, until};
use axum::{Router, routing::get as on_get};
use mainstay::{
    admin::Admin,
    lifecycle::{Config, End, Lifecycle, Phase, Report},
    metrics::Metrics,
    server::{self, Server},
};
use serde_json::json;
use std::{
    future::pending,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::task::JoinSet;

fn hello() -> Router {
    Router::new().route("/", on_get(async || "hello"))
}

#[tokio::test]
async fn a_lame_duck_is_unready_but_serves_and_says_close() {
    let service = Service::start(hello(), 60_000, 1_000).await;
    let mut client = Client::connect(service.addr).await;
    assert_eq!(client.get("/", "").await.header("connection"), None);
    assert_eq!(get(service.admin, "/readyz", "").await.status(), 200);

    service.lifecycle.stop();
    soon(service.lifecycle.reached(Phase::LameDuck)).await;

    let ready = get(service.admin, "/readyz", "").await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json()["reasons"][0], "phase: lame-duck");
    assert_eq!(get(service.admin, "/livez", "").await.status(), 200);
    until(|| service.lifecycle.phase() == Phase::LameDuck).await;
    let last = client.get("/", "").await;
    assert_eq!((last.status(), last.header("connection")), (200, Some("close")));
    assert_eq!(get(service.addr, "/", "").await.body, "hello", "new connections are taken");

    service.lifecycle.stop();
    assert_eq!(service.report().await.end, End::Forced, "the second stop does not wait");
}

#[tokio::test]
async fn an_orderly_stop_passes_every_phase() {
    let service = Service::start(hello(), 10, 1_000).await;
    let lifecycle = service.lifecycle.clone();
    let (flushing, flushed) = (lifecycle.clone(), Arc::new(AtomicBool::new(false)));
    let done = Arc::clone(&flushed);
    lifecycle.tasks().spawn("relay", async move {
        flushing.reached(Phase::Flushing).await;
        done.store(true, SeqCst);
    });

    lifecycle.stop();
    let report = service.report().await;

    assert_eq!(report.end, End::Stopped);
    let phases: Vec<_> = report.phases.iter().map(|(phase, _)| *phase).collect();
    assert_eq!(phases, [Phase::LameDuck, Phase::Draining, Phase::Flushing]);
    assert_eq!((report.connections_cut, report.tasks_cut), (0, vec![]));
    assert!(flushed.load(SeqCst));
    assert_eq!(lifecycle.phase(), Phase::Stopped);
}

/// A process that serves nothing, with this long a drain, and work that ends with it: once it is
/// draining, and `take` more has passed. What is returned last is the phase in which it ended.
fn worker(drain: Duration, take: Duration) -> (Lifecycle, JoinSet<Report>, Arc<OnceLock<Phase>>) {
    let flush = Duration::from_millis(200);
    let lifecycle = Lifecycle::new(Config { lame_duck: Duration::ZERO, drain, flush });
    let (watched, ended) = (lifecycle.clone(), Arc::new(OnceLock::new()));
    let end = Arc::clone(&ended);
    lifecycle.spawn_work("worker", async move {
        watched.reached(Phase::Draining).await;
        tokio::time::sleep(take).await;
        end.set(watched.phase()).unwrap();
    });
    let (runs, mut running) = (lifecycle.clone(), JoinSet::new());
    running.spawn(async move { runs.run_tasks().await });
    (lifecycle, running, ended)
}

#[tokio::test]
async fn without_a_server_the_drain_lasts_until_the_work_in_hand_has_ended() {
    let (lifecycle, mut running, ended) =
        worker(Duration::from_mins(1), Duration::from_millis(300));
    let (watched, store) = (lifecycle.clone(), Arc::clone(&ended));
    lifecycle.tasks().spawn("store", async move {
        watched.reached(Phase::Flushing).await;
        assert!(store.get().is_some(), "closed under the work");
    });
    until(|| lifecycle.phase() == Phase::Ready).await;
    lifecycle.stop();
    let report = soon(running.join_next()).await.unwrap().unwrap();
    assert_eq!((report.end, report.tasks_cut), (End::Stopped, vec![]));
    assert_eq!(ended.get(), Some(&Phase::Draining));
    assert_eq!(lifecycle.tasks().panics(), 0);
}

#[tokio::test]
async fn work_that_outlasts_the_drain_gets_the_flush_and_is_cut_and_named() {
    let (lifecycle, mut running, ended) = worker(Duration::from_millis(50), Duration::from_mins(1));
    until(|| lifecycle.phase() == Phase::Ready).await;
    lifecycle.stop();
    let report = soon(running.join_next()).await.unwrap().unwrap();
    assert_eq!((report.end, report.tasks_cut), (End::Stopped, vec!["worker"]));
    assert_eq!(ended.get(), None);
}

#[tokio::test]
async fn with_a_server_too_the_drain_waits_for_the_work_in_hand() {
    let service = Service::start(hello(), 0, 60_000).await;
    let (watched, ended) = (service.lifecycle.clone(), Arc::new(OnceLock::new()));
    let end = Arc::clone(&ended);
    service.lifecycle.spawn_work("worker", async move {
        watched.reached(Phase::Draining).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        end.set(watched.phase()).unwrap();
    });
    service.lifecycle.stop();
    assert_eq!(service.report().await.tasks_cut, [""; 0]);
    assert_eq!(ended.get(), Some(&Phase::Draining));
}

#[tokio::test]
async fn a_task_that_does_not_end_is_cut_and_named() {
    let service = Service::start(hello(), 0, 1_000).await;
    service.lifecycle.tasks().spawn("stuck", pending());
    service.lifecycle.stop();
    assert_eq!(service.report().await.tasks_cut, ["stuck"]);
}

#[tokio::test]
async fn a_failed_part_ends_the_process_within_about_a_second() {
    let stuck = Router::new().route("/", on_get(pending::<()>));
    let service = Service::start(stuck, 60_000, 60_000).await;
    let mut client = Client::connect(service.addr).await;
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
    service.lifecycle.tasks().spawn("stuck", pending());

    let started = tokio::time::Instant::now();
    service.lifecycle.fail("the disk is gone");
    assert!(service.lifecycle.unready_reasons().contains(&"failed: the disk is gone".to_owned()));
    let report = service.report().await;

    assert_eq!(report.end, End::Failed("the disk is gone".to_owned()));
    assert!(started.elapsed() < Duration::from_secs(5), "{report:?}");
}

#[tokio::test]
async fn a_failure_ends_a_drain_that_has_begun() {
    let stuck = Router::new().route("/", on_get(pending::<()>));
    let service = Service::start(stuck, 0, 60_000).await;
    let mut client = Client::connect(service.addr).await;
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
    service.lifecycle.stop();
    soon(service.lifecycle.reached(Phase::Draining)).await;
    service.lifecycle.fail("the disk is gone");
    assert_eq!(service.report().await.end, End::Failed("the disk is gone".to_owned()));
}

#[tokio::test]
async fn readiness_depends_on_its_checks_and_startup_does_not() {
    let service = Service::start(hello(), 0, 1_000).await;
    let open = Arc::new(AtomicBool::new(false));
    let check = Arc::clone(&open);
    let message = || "the store is not open".to_owned();
    let check = move || check.load(SeqCst).then_some(()).ok_or_else(message);
    service.lifecycle.add_readiness_check("store", Arc::new(check));

    let ready = get(service.admin, "/readyz", "").await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json()["reasons"][0], "store: the store is not open");
    assert_eq!(get(service.admin, "/startupz", "").await.status(), 200);

    open.store(true, SeqCst);
    assert_eq!(get(service.admin, "/readyz", "").await.json()["ready"], true);
}

#[tokio::test]
async fn the_admin_listener_answers_while_the_process_starts() {
    let lifecycle = Lifecycle::new(Config::default());
    let server = Server::bind("127.0.0.1:0", server::Config::default()).await.unwrap();
    let addr = server.local_addr().unwrap();
    lifecycle.serve_admin(server, Admin::new(&lifecycle, &Metrics::new("test")).router());
    assert_eq!(get(addr, "/startupz", "").await.status(), 503);
    assert_eq!(get(addr, "/livez", "").await.status(), 200);
    let ready = get(addr, "/readyz", "").await;
    assert_eq!((ready.status(), &ready.json()["reasons"][0]), (503, &json!("phase: starting")));
}

#[tokio::test]
async fn the_scraper_gets_the_format_it_accepts() {
    let service = Service::start(hello(), 0, 1_000).await;
    let text = get(service.admin, "/metrics", "").await;
    assert!(text.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let open = get(service.admin, "/metrics", "accept: application/openmetrics-text\r\n").await;
    assert!(open.body.ends_with("# EOF\n"), "{open:?}");
}
