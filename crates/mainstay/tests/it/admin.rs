//! What operators see and change, while the process is well and while it is not.

use crate::support::{Answer, Client, Service, get, soon};
use axum::Router;
use mainstay::{
    admin::{Admin, Config, Error},
    config::Secret,
    http::InFlightRequest,
    lifecycle,
};
use serde_json::json;
use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    sync::{Arc, Barrier, Mutex, mpsc},
    time::Duration,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// An admin listener with everything a service may give it.
async fn full(token: Option<&str>) -> Service {
    let level = Arc::new(Mutex::new("info".to_owned()));
    let changed = Arc::clone(&level);
    let set = move |wanted: &str| -> Result<(), String> {
        let known = ["info", "debug", "warn,shop=debug"].contains(&wanted);
        if !known {
            return Err(format!("{wanted:?} is no level"));
        }
        wanted.clone_into(&mut changed.lock().unwrap());
        Ok(())
    };
    let request = InFlightRequest {
        request_id: "r-1".to_owned(),
        method: "GET".to_owned(),
        route: "/orders/{id}".to_owned(),
        principal: Some("<acme>".to_owned()),
        age: Duration::from_millis(1_500),
        activity: "queued",
        remaining: Some(Duration::from_millis(500)),
    };
    let token = token.map(|token| Secret::new(token.to_owned()));
    Service::start_admin(Router::new(), |lifecycle, metrics| {
        metrics.build_info(&[("version", "1.2.3")]);
        Admin::new(lifecycle, metrics)
            .section("store", || json!({ "queue_depth": 7 }))
            .in_flight(move || vec![request.clone()])
            .log_level(move || level.lock().unwrap().clone(), set)
            .config("port = 8080  # default\n")
            .token(token)
    })
    .await
}

async fn send(addr: SocketAddr, method: &str, headers: &str, body: &str) -> Answer {
    let mut client = Client::connect(addr).await;
    let length = body.len();
    client
        .send(&format!(
            "{method} /log-level HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\
             {headers}\r\n{body}"
        ))
        .await;
    client.answer().await
}

#[tokio::test]
async fn the_status_tells_everything_at_once() {
    let service = full(None).await;
    service.lifecycle.tasks().spawn("relay", std::future::pending());
    service.lifecycle.add_readiness_check("disk", Arc::new(|| Err("full".to_owned())));
    let status = get(service.admin, "/status", "").await.json();
    assert_eq!(status["service"], "test");
    assert_eq!(status["build"], json!({ "version": "1.2.3" }));
    assert_eq!((&status["phase"], &status["ready"]), (&json!("ready"), &json!(false)));
    assert_eq!(status["reasons"], json!(["disk: full"]));
    assert!(status["uptime_seconds"].as_f64() >= status["phase_seconds"].as_f64());
    assert_eq!(status["store"], json!({ "queue_depth": 7 }));
    assert_eq!(status["tasks"], json!({ "relay": 1 }));
    assert_eq!(status["log_level"], "info");
    assert_eq!(status["config"], "port = 8080  # default\n");
    let request = json!({
        "request_id": "r-1", "method": "GET", "route": "/orders/{id}", "principal": "<acme>",
        "activity": "queued", "age_ms": 1500, "remaining_ms": 500,
    });
    assert_eq!(status["in_flight"], json!([request]));
    let by_accept = get(service.admin, "/", "accept: application/json\r\n").await.json();
    assert_eq!(by_accept["in_flight"], status["in_flight"]);
}

#[tokio::test]
async fn the_page_shows_it_to_people_without_anything_from_elsewhere() {
    let service = full(None).await;
    let page = get(service.admin, "/", "accept: text/html,*/*\r\n").await;
    assert_eq!(page.status(), 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    for shown in ["1.2.3", "queue_depth", "/orders/{id}", "&lt;acme&gt;", "port = 8080", "ready"] {
        assert!(page.body.contains(shown), "{shown}\n{}", page.body);
    }
    assert!(page.body.contains("<form method=\"post\" action=\"/log-level\">"));
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.body.contains(outside), "{outside}");
    }
    let policy = page.header("content-security-policy").unwrap();
    let nonce = policy.split("style-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert_eq!(nonce.len(), 16, "{policy}");
    assert!(page.body.contains(&format!("<script nonce=\"{nonce}\">")));
}

#[tokio::test]
async fn the_log_level_is_changed_and_a_malformed_one_is_refused_with_the_reason() {
    let service = full(None).await;
    let changed = send(service.admin, "PUT", "", "warn,shop=debug\n").await;
    assert_eq!((changed.status(), changed.body.as_str()), (200, "warn,shop=debug\n"));
    let refused = send(service.admin, "PUT", "", "loud").await;
    assert_eq!((refused.status(), refused.body.as_str()), (400, "\"loud\" is no level\n"));
    assert_eq!(get(service.admin, "/log-level", "").await.body, "warn,shop=debug\n");

    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let own = format!("{form}origin: http://localhost\r\nsec-fetch-site: same-origin\r\n");
    let changed = send(service.admin, "POST", &own, "level=debug").await;
    assert_eq!((changed.status(), changed.header("location")), (303, Some("/")));
    assert_eq!(get(service.admin, "/log-level", "").await.body, "debug\n");
}

#[tokio::test]
async fn a_page_of_another_site_can_neither_change_nor_read() {
    let service = full(None).await;
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for foreign in ["sec-fetch-site: cross-site\r\n", "origin: https://evil.example\r\n"] {
        let answer = send(service.admin, "POST", &format!("{form}{foreign}"), "level=debug").await;
        assert_eq!(answer.status(), 403, "{foreign}");
        assert_eq!(send(service.admin, "PUT", foreign, "debug").await.status(), 403, "{foreign}");
    }
    assert_eq!(get(service.admin, "/log-level", "").await.body, "info\n");
    let mut rebound = Client::connect(service.admin).await;
    rebound.send("GET /status HTTP/1.1\r\nhost: evil.example:9090\r\n\r\n").await;
    assert_eq!(rebound.answer().await.status(), 421);
}

#[tokio::test]
async fn with_a_token_only_probes_are_for_everybody() {
    let service = full(Some(TOKEN)).await;
    let right = format!("authorization: Bearer {TOKEN}\r\n");
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(get(service.admin, path, "").await.status(), 200, "{path}");
    }
    for path in ["/", "/status", "/metrics", "/log-level"] {
        let refused = get(service.admin, path, "authorization: Bearer guess\r\n").await;
        assert_eq!((refused.status(), refused.header("www-authenticate")), (401, Some("bearer")));
        assert_eq!(get(service.admin, path, &right).await.status(), 200, "{path}");
    }
    let mut client = Client::connect(service.admin).await;
    client.send("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
    let asked = client.rest().await;
    assert!(asked.contains("\r\nwww-authenticate: Basic realm="), "a browser asks: {asked}");
    assert_eq!(send(service.admin, "PUT", "", "debug").await.status(), 401);
    assert_eq!(send(service.admin, "PUT", &right, "debug").await.status(), 200);
}

#[test]
fn a_listener_that_others_reach_needs_a_token_that_cannot_be_guessed() {
    let open = Config { listen: ([0, 0, 0, 0], 9090).into(), ..Config::default() };
    assert!(open.check_reach().unwrap_err().to_string().contains("openssl rand -hex 32"));
    assert!(Config::default().check_reach().is_ok());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let config = Config { token_file: Some(path.clone()), ..open };
    assert!(config.check_reach().is_ok());
    assert!(matches!(config.token(), Err(Error::Unreadable(..))));
    for weak in ["", "short", &" ".repeat(64)] {
        fs::write(&path, weak).unwrap();
        assert!(matches!(config.token(), Err(Error::Weak(_))), "{weak:?}");
    }
    fs::write(&path, format!("{TOKEN}\n")).unwrap();
    assert_eq!(config.token().unwrap().unwrap().expose(), TOKEN);
}

#[tokio::test]
async fn a_section_that_hangs_takes_nothing_else_along() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let service = Service::start_admin(Router::new(), |lifecycle, metrics| {
        Admin::new(lifecycle, metrics)
            .section("stuck", move || json!(held.lock().unwrap().recv().is_ok()))
            .section("well", || json!(1))
            .section("faulty", || panic!("on purpose"))
    })
    .await;
    let status = get(service.admin, "/status", "").await.json();
    assert_eq!(status["stuck"], "gave no answer within 1 s");
    assert_eq!(status["faulty"], "gave no answer within 1 s");
    assert_eq!(status["well"], 1);
    assert_eq!(get(service.admin, "/livez", "").await.status(), 200);
    service.lifecycle.stop();
    assert_eq!(service.report().await.end, lifecycle::End::Stopped, "nor the end");
    drop(release);
}

#[tokio::test]
async fn sections_that_hang_are_asked_once_and_probes_and_metrics_go_on() {
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let service = Service::start_admin(Router::new(), |lifecycle, metrics| {
        let hang = move || json!(held.lock().unwrap().recv().is_ok());
        Admin::new(lifecycle, metrics).section("stuck", hang)
    })
    .await;
    // More than there were places for all sections together.
    for _ in 0..10 {
        let status = get(service.admin, "/status", "").await.json();
        assert_eq!(status["stuck"], "gave no answer within 1 s");
    }
    assert_eq!(get(service.admin, "/readyz", "").await.status(), 200);
    assert_eq!(get(service.admin, "/metrics", "").await.status(), 200);
    drop(release);
}

#[tokio::test]
async fn a_metric_that_hangs_holds_up_no_probe_and_no_status() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let service = Service::start_admin(Router::new(), |lifecycle, metrics| {
        let hang = move || f64::from(u8::from(held.lock().unwrap().recv().is_ok()));
        metrics.gauge_fn("stuck", "Never told", hang);
        Admin::new(lifecycle, metrics)
    })
    .await;
    assert_eq!(get(service.admin, "/metrics", "").await.status(), 503);
    for path in ["/status", "/readyz", "/livez"] {
        assert_eq!(get(service.admin, path, "").await.status(), 200, "{path}");
    }
    drop(release);
}

#[test]
fn it_answers_while_every_worker_of_the_main_runtime_is_blocked() {
    const WORKERS: usize = 2;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .unwrap();
    let service = runtime.block_on(full(None));
    assert_eq!(blocking_get(service.admin, "/livez"), "HTTP/1.1 200 OK", "it has begun");
    // Workers wait on channels whose ends here are dropped at the end of the test, however it ends.
    let met = Arc::new(Barrier::new(WORKERS + 1));
    let mut held = Vec::new();
    for _ in 0..WORKERS {
        let _inside = runtime.enter();
        let (release, released) = mpsc::channel::<()>();
        held.push(release);
        let met = Arc::clone(&met);
        service.lifecycle.tasks().spawn("blocked", async move {
            met.wait();
            assert!(released.recv().is_err(), "nothing is sent");
        });
    }
    met.wait();
    for path in ["/livez", "/readyz", "/status", "/metrics"] {
        assert_eq!(blocking_get(service.admin, path), "HTTP/1.1 200 OK", "{path}");
    }
    drop(held);
    service.lifecycle.stop();
    let report = runtime.block_on(async { soon(service.report()).await });
    assert_eq!(report.end, lifecycle::End::Stopped);
}

/// The first line of the answer, without a runtime.
fn blocking_get(addr: SocketAddr, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}
