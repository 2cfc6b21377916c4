//! Requests that wait in their socket: when they came, and which are refused before the router sees them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, response::IntoResponse, routing::get as on_get};
use http::{StatusCode, request::Parts};
use mainstay::{
    server::{Config, Server},
    tasks::Tasks,
};
use mainstay_context::Context;
use tokio::task::spawn_blocking;

/// What each request had waited for before it was read, in turn.
#[derive(Clone, Default)]
struct Waits(Arc<Mutex<Vec<Duration>>>);

/// Serves `app` on this thread. Under `/late` every request is refused before the router sees it.
async fn serve(app: Router) -> (SocketAddr, Waits, Tasks) {
    let server = Server::bind("127.0.0.1:0", Config::default()).await.unwrap();
    let (addr, waits, tasks) = (server.local_addr().unwrap(), Waits::default(), Tasks::new());
    let noted = waits.clone();
    let decide = move |head: &Parts, waited| {
        noted.0.lock().unwrap().push(waited);
        head.uri.path().starts_with("/late").then_some(Duration::from_secs(7))
    };
    let server = server.with_shedding(decide, |_head: &Parts, cx: &Context, retry: Duration| {
        let told = format!("{} {}", cx.request_id().as_str(), retry.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, told).into_response()
    });
    tasks.spawn("server", async move {
        server.run(app, std::future::pending()).await;
    });
    (addr, waits, tasks)
}

fn hello() -> Router {
    Router::new().route("/", on_get(async || "hello"))
}

fn connect(addr: SocketAddr) -> TcpStream {
    let peer = TcpStream::connect(addr).unwrap();
    peer.set_nodelay(true).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    peer
}

fn ask(mut peer: &TcpStream, path: &str) {
    let header = "host: test\r\nx-request-id: it-1\r\n\r\n";
    peer.write_all(format!("GET {path} HTTP/1.1\r\n{header}").as_bytes()).unwrap();
}

/// The next `count` answers.
async fn answers(mut peer: TcpStream, count: usize) -> (TcpStream, String) {
    spawn_blocking(move || {
        let (mut told, mut room) = (String::new(), [0; 4 << 10]);
        while whole(&told) < count {
            let read = peer.read(&mut room).unwrap();
            assert!(read > 0, "{told}");
            told.push_str(std::str::from_utf8(&room[..read]).unwrap());
        }
        (peer, told)
    })
    .await
    .unwrap()
}

/// How many answers this is, to their ends.
fn whole(mut told: &str) -> usize {
    let mut count = 0;
    while let Some((head, rest)) = told.split_once("\r\n\r\n") {
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let Some(rest) = rest.get(length.parse::<usize>().unwrap()..) else { break };
        (told, count) = (rest, count + 1);
    }
    count
}

#[tokio::test]
async fn what_is_refused_before_the_router_is_answered_with_its_ids_and_the_connection_goes_on() {
    let (addr, _waits, _tasks) = serve(hello()).await;
    let peer = connect(addr);
    ask(&peer, "/late");
    let (peer, told) = answers(peer, 1).await;
    assert!(told.starts_with("HTTP/1.1 503") && told.ends_with("it-1 7"), "{told}");
    assert!(told.contains("x-request-id: it-1\r\n") && told.contains("traceparent: 00-"), "{told}");
    ask(&peer, "/");
    let (_, told) = answers(peer, 1).await;
    assert!(told.ends_with("hello"), "{told}");
}

/// Only Linux tells when bytes came.
#[cfg(target_os = "linux")]
mod waiting {
    use super::*;
    use crate::support::soon;
    use axum::extract::Request;
    use mainstay::{
        http::{Cx, Stack, inbound},
        metrics::Metrics,
        server::Arrived,
    };
    use mainstay_context::Activity;
    use std::thread;
    use tokio::time::{Instant, sleep};

    /// How long the only thread that serves does something else.
    const BUSY: Duration = Duration::from_millis(200);
    /// By how much the clock of the kernel and that of sleeping may differ.
    const LEEWAY: Duration = Duration::from_millis(10);
    const LEAST: Duration = BUSY.checked_sub(LEEWAY).unwrap();

    #[expect(clippy::disallowed_methods, reason = "nothing is to be read meanwhile")]
    fn hold_up(time: Duration) {
        thread::sleep(time);
    }

    impl Waits {
        fn take(&self) -> Vec<Duration> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    /// A connection on which the kernel tells: it begins to a little after it is asked to.
    async fn told(addr: SocketAddr, waits: &Waits) -> TcpStream {
        soon(async {
            let mut peer = connect(addr);
            loop {
                ask(&peer, "/");
                hold_up(2 * LEEWAY);
                peer = answers(peer, 1).await.0;
                if waits.take()[0] >= LEEWAY {
                    return peer;
                }
            }
        })
        .await
    }

    #[tokio::test]
    async fn a_request_is_told_when_it_came_and_its_time_runs_from_then() {
        let handler = async |Cx(cx): Cx, request: Request| {
            let now = Instant::now();
            let came = request.extensions().get().map(|Arrived(at)| now - *at).unwrap();
            let left = cx.remaining(now.into_std()).unwrap();
            let queued = cx.spent(Activity::Queued, now.into_std());
            format!("{} {} {}", came.as_millis(), queued.as_millis(), left.as_millis())
        };
        let app = Router::new().route("/", on_get(handler));
        let (addr, waits, _tasks) = serve(inbound(app, &Stack::new(&Metrics::new("test")))).await;
        let peer = told(addr, &waits).await;
        ask(&peer, "/");
        hold_up(BUSY);
        let (_, told) = answers(peer, 1).await;
        let figures = told.rsplit("\r\n").next().unwrap().split(' ');
        let figures: Vec<u128> = figures.map(|figure| figure.parse().unwrap()).collect();
        let [came, queued, left] = figures[..] else { panic!("{told}") };
        let least = LEAST.as_millis();
        assert!(came >= least && queued >= least && left <= 2_000 - least, "{told}");
        assert!(waits.take()[0] >= LEAST);
    }

    #[tokio::test]
    async fn the_wait_for_being_accepted_counts() {
        let (addr, waits, _tasks) = serve(hello()).await;
        let _keeps_the_kernel_telling = told(addr, &waits).await;
        let peer = connect(addr);
        ask(&peer, "/");
        hold_up(BUSY);
        answers(peer, 1).await;
        assert!(waits.take()[0] >= LEAST);
    }

    #[tokio::test]
    async fn of_requests_that_come_together_the_first_has_waited() {
        let (addr, waits, _tasks) = serve(hello()).await;
        let peer = told(addr, &waits).await;
        ask(&peer, "/");
        ask(&peer, "/");
        hold_up(BUSY);
        answers(peer, 2).await;
        let waits = waits.take();
        assert!(waits[0] >= LEAST && waits[1] < BUSY / 2, "{waits:?}");
    }

    #[tokio::test]
    async fn a_request_behind_a_slow_one_on_its_connection_has_not_waited_to_be_read() {
        let slow = async || {
            sleep(3 * BUSY).await;
            "slow"
        };
        let (addr, waits, _tasks) = serve(hello().route("/slow", on_get(slow))).await;
        let peer = told(addr, &waits).await;
        ask(&peer, "/slow");
        sleep(BUSY).await;
        ask(&peer, "/");
        answers(peer, 2).await;
        let waits = waits.take();
        assert!(waits[1] < BUSY, "{waits:?}");
    }
}
