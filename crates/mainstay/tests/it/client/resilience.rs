//! What stands before the connections: breaker, budget, permits.

use super::{MS, Peer, ask, at, client, context, get, hang_after_the_request};
use crate::support::{serve, soon, until};
use axum::{Router, routing::get as on_get};
use futures_util::future::join_all;
use http::StatusCode;
use mainstay::{
    client::http::{Breaker, Config, Error, NotSent, Safety},
    metrics::{Format, Metrics},
    server,
    tasks::Tasks,
};
use mainstay_resilience::breaker::Forced;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::TcpStream, time::Instant};

/// A service that is well or ill, and counts its calls.
struct Patient {
    addr: SocketAddr,
    well: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    _tasks: Tasks,
}

impl Patient {
    async fn start() -> Self {
        let (well, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_well, counted) = (Arc::clone(&well), Arc::clone(&calls));
        let answer = async move || {
            counted.fetch_add(1, SeqCst);
            if is_well.load(SeqCst) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
        };
        let app = Router::new().route("/", on_get(answer));
        let (addr, tasks) = serve(app, server::Config::default(), &Metrics::new("server")).await;
        Self { addr, well, calls, _tasks: tasks }
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

fn is_refused(error: &Error) -> bool {
    matches!(error, Error::NotSent(NotSent::BreakerOpen { .. }))
}

#[tokio::test]
async fn the_breaker_opens_on_failures_and_recovers_by_itself() {
    let patient = Patient::start().await;
    let quick = Breaker { open_least: 50 * MS, probes: 1, ..Breaker::default() };
    let (client, metrics) = client(&Config { tries: 1, breaker: quick, ..at(patient.addr) });
    for _ in 0..5 {
        let answer = ask(&client, Safety::Safe, "/").await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    let error = ask(&client, Safety::Safe, "/").await.unwrap_err();
    assert!(is_refused(&error) && error.retry_in() <= Some(100 * MS), "{error:?}");
    assert_eq!((patient.calls(), client.status().breaker), (5, "open"));
    let text = metrics.render(Format::Text);
    assert!(text.contains("test_client_breaker_state{dependency=\"shop\"} 2.0\n"), "{text}");

    patient.well.store(true, SeqCst);
    let recovered = async {
        while ask(&client, Safety::Safe, "/").await.is_err() {
            tokio::time::sleep(5 * MS).await;
        }
    };
    soon(recovered).await;
    assert_eq!((patient.calls(), client.status().breaker), (6, "closed"));
    let text = metrics.render(Format::Text);
    assert!(text.contains("test_client_breaker_state{dependency=\"shop\"} 0.0\n"), "{text}");
}

#[tokio::test]
async fn an_operator_can_close_the_way_to_a_service() {
    let patient = Patient::start().await;
    let (client, _) = client(&at(patient.addr));
    client.breaker().force(Some(Forced::Open), Instant::now().into_std());
    assert!(is_refused(&ask(&client, Safety::Safe, "/").await.unwrap_err()));
    assert_eq!((patient.calls(), client.status().forced), (0, true));
}

#[tokio::test]
async fn an_outage_gets_a_fifth_more_calls_and_no_more() {
    let patient = Patient::start().await;
    // Otherwise the breaker would be what keeps calls away.
    let never = Breaker {
        consecutive_failures: 0,
        failure_ratio: 2.0,
        slow_ratio: 2.0,
        ..Breaker::default()
    };
    let config = Config { retry_floor: 0, breaker: never, ..at(patient.addr) };
    let (client, metrics) = client(&config);
    for _ in 0..20 {
        join_all((0..10).map(|_| ask(&client, Safety::Safe, "/"))).await;
    }
    let made = patient.calls();
    assert!((200 + 1..=240).contains(&made), "{made} calls for 200");
    let text = metrics.render(Format::Text);
    let retries = format!("test_client_retries_total{{dependency=\"shop\"}} {}\n", made - 200);
    assert!(text.contains(&retries), "{text}");
    assert!(text.contains("test_client_retries_denied_total{dependency=\"shop\"}"), "{text}");
}

#[tokio::test]
async fn one_call_too_many_is_not_sent() {
    let peer = Peer::start(hang_after_the_request).await;
    let config = Config { max_in_flight: 1, max_queue: 1, max_wait: 50 * MS, ..at(peer.addr) };
    let (client, _) = client(&config);
    let cx = context();
    let first = client.call(&cx, Safety::Safe, get("/"));
    let others = async {
        until(|| peer.accepted() == 1).await;
        let start = Instant::now();
        let waits = ask(&client, Safety::Safe, "/");
        let (waited, refused) = tokio::join!(waits, ask(&client, Safety::Safe, "/"));
        for error in [waited.unwrap_err(), refused.unwrap_err()] {
            assert!(matches!(error, Error::NotSent(NotSent::Full(_))), "{error:?}");
        }
        assert!(start.elapsed() >= 50 * MS);
    };
    tokio::select! {
        result = first => panic!("{result:?}"),
        () = soon(others) => {}
    }
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_its_permit_back_and_closes_its_connection() {
    let closed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&closed);
    let peer = Peer::start(move |mut stream: TcpStream| {
        let counted = Arc::clone(&counted);
        async move {
            let mut all = Vec::new();
            let _end = stream.read_to_end(&mut all).await;
            counted.fetch_add(1, SeqCst);
        }
    });
    let peer = peer.await;
    let (client, metrics) = client(&Config { max_in_flight: 1, ..at(peer.addr) });
    for calls in 1..=5 {
        let cx = context();
        tokio::select! {
            result = client.call(&cx, Safety::Safe, get("/")) => panic!("{result:?}"),
            () = until(|| peer.accepted() == calls && client.status().in_flight == 1) => {}
        }
        let status = client.status();
        assert_eq!((status.in_flight, status.waiting, status.idle_connections), (0, 0, 0));
        until(|| closed.load(SeqCst) == calls).await;
    }
    let text = metrics.render(Format::Text);
    assert!(text.contains("outcome=\"dropped\"} 5\n"), "{text}");
    assert!(text.contains("test_client_requests_in_flight{dependency=\"shop\"} 0.0\n"), "{text}");
}

#[tokio::test]
async fn a_call_dropped_at_any_poll_holds_nothing() {
    let patient = Patient::start().await;
    patient.well.store(true, SeqCst);
    let (client, metrics) = client(&Config { max_in_flight: 1, max_queue: 0, ..at(patient.addr) });
    let cx = context();
    let mut most = 0;
    loop {
        let mut call = Box::pin(client.call(&cx, Safety::Safe, get("/")));
        let mut polls = 0;
        let ended = std::future::poll_fn(|task| {
            polls += 1;
            let answered = call.as_mut().poll(task).map(|result| result.is_ok());
            // Dropped while it waits, after one poll more than the last time.
            if answered.is_pending() && polls > most {
                return std::task::Poll::Ready(false);
            }
            answered
        });
        let ended = soon(ended).await;
        drop(call);
        let status = client.status();
        assert_eq!((status.in_flight, status.waiting), (0, 0), "after {polls} polls");
        if ended {
            break;
        }
        most += 1;
    }
    assert!(most > 0, "it never waited");
    assert!(ask(&client, Safety::Once, "/").await.is_ok());
    let text = metrics.render(Format::Text);
    assert!(text.contains("test_client_requests_in_flight{dependency=\"shop\"} 0.0\n"), "{text}");
}

#[tokio::test]
async fn a_hang_opens_the_breaker_and_then_nobody_waits_for_it() {
    let peer = Peer::start(hang_after_the_request).await;
    let (client, _) = client(&Config { tries: 1, try_timeout: 50 * MS, ..at(peer.addr) });
    for _ in 0..5 {
        assert!(!ask(&client, Safety::Safe, "/").await.unwrap_err().is_not_sent());
    }
    let start = Instant::now();
    assert!(is_refused(&ask(&client, Safety::Safe, "/").await.unwrap_err()));
    assert!(start.elapsed() < Duration::from_millis(40), "{:?}", start.elapsed());
}
