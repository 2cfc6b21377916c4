//! Requests that wait in their socket: when they came, and which are refused before the router sees them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use axum::{Router, extract::Request, response::IntoResponse, routing::get as on_get};
use http::{StatusCode, request::Parts};
use mainstay::{
    http::{Cx, Stack, inbound},
    metrics::Metrics,
    server::{Arrived, Config, Server},
    tasks::Tasks,
};
use mainstay_context::{Activity, Context};
use tokio::{task::spawn_blocking, time::Instant};

/// How long the only thread that serves does something else.
const BUSY: Duration = Duration::from_millis(200);

type Waits = Arc<Mutex<Vec<Duration>>>;

/// Serves `app` on this thread; what `/late` waited for before it is read is noted, and it is refused.
async fn serve(app: Router, waits: &Waits) -> (TcpStream, Tasks) {
    let server = Server::bind("127.0.0.1:0", Config::default()).await.unwrap();
    let waits = Arc::clone(waits);
    let decide = move |head: &Parts, waited| {
        waits.lock().unwrap().push(waited);
        head.uri.path().starts_with("/late").then_some(Duration::from_secs(7))
    };
    let server = server.with_shedding(decide, |_head: &Parts, cx: &Context, retry: Duration| {
        let told = format!("{} {}", cx.request_id().as_str(), retry.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, told).into_response()
    });
    let peer = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    peer.set_nodelay(true).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let tasks = Tasks::new();
    tasks.spawn("server", async move {
        server.run(app, std::future::pending()).await;
    });
    // Once something was read, the system notes when bytes come.
    let (peer, first) = answer(ask(peer, "/")).await;
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    (peer, tasks)
}

fn ask(mut peer: TcpStream, path: &str) -> TcpStream {
    let header = "host: test\r\nx-request-id: it-1\r\n\r\n";
    peer.write_all(format!("GET {path} HTTP/1.1\r\n{header}").as_bytes()).unwrap();
    peer
}

/// What comes of an answer at once.
async fn answer(mut peer: TcpStream) -> (TcpStream, String) {
    spawn_blocking(move || {
        let mut room = [0; 4 << 10];
        let count = peer.read(&mut room).unwrap();
        (peer, String::from_utf8(room[..count].to_vec()).unwrap())
    })
    .await
    .unwrap()
}

#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "nothing is to be read meanwhile")]
fn hold_up() {
    thread::sleep(BUSY);
}

fn waited(waits: &Waits) -> Vec<Duration> {
    std::mem::take(&mut waits.lock().unwrap())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_request_is_told_when_it_came_and_its_time_runs_from_then() {
    let handler = async |Cx(cx): Cx, request: Request| {
        let came = request.extensions().get().map(|Arrived(at)| at.elapsed());
        let left = cx.remaining(Instant::now().into_std());
        let queued = cx.spent(Activity::Queued, Instant::now().into_std());
        format!(
            "{} {}",
            came == Some(queued) || came > Some(BUSY),
            queued > BUSY && left < Some(Duration::from_millis(1_800))
        )
    };
    let app = Router::new().route("/", on_get(handler));
    let app = inbound(app, &Stack::new(&Metrics::new("test")));
    let waits = Waits::default();
    let (peer, _tasks) = serve(app, &waits).await;
    let peer = ask(peer, "/");
    let _first = waited(&waits);
    hold_up();
    let (_, told) = answer(peer).await;
    assert!(told.ends_with("true true"), "{told}");
    let waits = waited(&waits);
    assert!(waits.len() == 1 && waits[0] >= BUSY, "{waits:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn of_requests_that_come_together_the_first_has_waited() {
    let waits = Waits::default();
    let (peer, _tasks) = serve(Router::new().route("/", on_get(async || "hello")), &waits).await;
    let peer = ask(ask(peer, "/"), "/");
    let _first = waited(&waits);
    hold_up();
    let _answers = answer(peer).await;
    crate::support::until(|| waits.lock().unwrap().len() == 2).await;
    let waits = waited(&waits);
    assert!(waits[0] >= BUSY && waits[1] < BUSY, "{waits:?}");
}

#[tokio::test]
async fn what_is_refused_before_the_router_is_answered_with_its_ids_and_the_connection_goes_on() {
    let waits = Waits::default();
    let (peer, _tasks) = serve(Router::new().route("/", on_get(async || "hello")), &waits).await;
    let (peer, told) = answer(ask(peer, "/late")).await;
    assert!(told.starts_with("HTTP/1.1 503") && told.ends_with("it-1 7"), "{told}");
    assert!(told.contains("x-request-id: it-1\r\n") && told.contains("traceparent: 00-"), "{told}");
    let (_, told) = answer(ask(peer, "/")).await;
    assert!(told.ends_with("hello"), "{told}");
}
