//! How calls end that one side or the other ends, or the network.

use super::{Code, Config, Error, MS, Safety, ask, at, channel, context, never, open};
use crate::{client::Peer, support::soon};
use bytes::Bytes;
use http::Response;
use mainstay::{
    client::grpc::{Unknown, unanswered},
    tasks::Tasks,
};
use mainstay_context::Cause;
use std::{
    future::{pending, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::Instant,
};

type Respond = h2::server::SendResponse<Bytes>;

/// Takes the calls of a connection, and hands each to `answer`.
async fn calls(stream: TcpStream, answer: impl Fn(Respond)) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((_request, respond))) = connection.accept().await {
        answer(respond);
    }
}

fn ok(mut respond: Respond) {
    let head = Response::builder().header("grpc-status", "0").body(()).unwrap();
    drop(respond.send_response(head, true).unwrap());
}

/// Reads until so many calls have begun.
async fn begun(stream: &mut TcpStream, mut calls: usize) {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    while calls > 0 {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.unwrap();
        // HEADERS.
        calls -= usize::from(head[3] == 1);
    }
}

/// Says that the connection ends, and that no call was begun with; but does not end it.
async fn go_away(mut stream: TcpStream) {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // The last stream is 0, and there is no error.
    let go_away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    stream.write_all(&[&settings[..], &go_away].concat()).await.unwrap();
    pending::<()>().await;
}

#[tokio::test]
async fn a_stream_that_is_refused_is_not_sent() {
    let came = Arc::new(AtomicUsize::new(0));
    let peer = Peer::start(move |stream| {
        let came = Arc::clone(&came);
        calls(stream, move |mut respond| {
            if came.fetch_add(1, SeqCst) == 0 {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                ok(respond);
            }
        })
    });
    let peer = peer.await;
    let (channel, _) = channel(&at(peer.addr));
    assert_eq!(ask(&channel, Safety::Once).await.unwrap(), Code::Ok);
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn a_stream_that_is_reset_otherwise_is_unknown_and_leaves_the_connection() {
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    let peer = Peer::start(move |stream| {
        let came = Arc::clone(&counted);
        calls(stream, move |mut respond| {
            came.fetch_add(1, SeqCst);
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
        })
    });
    let peer = peer.await;
    let (channel, _) = channel(&at(peer.addr));
    for calls in 1..=2 {
        let status = ask(&channel, Safety::Once).await.unwrap_err();
        let error = unanswered(&status).unwrap();
        assert!(matches!(error, Error::Unknown(Unknown::Lost(_))), "{error:?}");
        assert_eq!((came.load(SeqCst), peer.accepted()), (calls, 1));
    }
}

#[tokio::test]
async fn a_call_behind_the_last_stream_of_a_connection_is_made_over_another() {
    for early in [true, false] {
        let connections = AtomicUsize::new(0);
        let peer = Peer::start(move |mut stream: TcpStream| {
            let first = connections.fetch_add(1, SeqCst) == 0;
            async move {
                if !first {
                    return calls(stream, ok).await;
                }
                if !early {
                    begun(&mut stream, 1).await;
                }
                go_away(stream).await;
            }
        });
        let peer = peer.await;
        let (channel, _) = channel(&at(peer.addr));
        for _ in 0..2 {
            assert_eq!(ask(&channel, Safety::Once).await.unwrap(), Code::Ok, "early: {early}");
        }
        assert_eq!(peer.accepted(), 2, "early: {early}");
    }
}

#[tokio::test]
async fn a_connection_killed_under_calls_leaves_each_unknown() {
    let peer = Peer::start(async |mut stream: TcpStream| {
        begun(&mut stream, 2).await;
        // What is closed without lingering is reset.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let peer = peer.await;
    let (channel, _) = channel(&Config { breaker: never(), ..at(peer.addr) });
    let (one, other) = tokio::join!(ask(&channel, Safety::Once), ask(&channel, Safety::Once));
    for status in [one.unwrap_err(), other.unwrap_err()] {
        let error = unanswered(&status).unwrap();
        assert!(matches!(error, Error::Unknown(Unknown::Lost(_))), "{error:?}");
        assert_eq!(status.code(), Code::Unavailable);
    }
    assert_eq!(peer.accepted(), 1);
}

/// A peer that answers nothing; says when a call has come, and with what its stream was reset.
async fn silent() -> (Peer, mpsc::Receiver<()>, mpsc::Receiver<h2::Reason>, Tasks) {
    let ((came, calls_came), (reset, resets)) = (mpsc::channel(9), mpsc::channel(9));
    let tasks = Tasks::new();
    let waiting = tasks.clone();
    let peer = Peer::start(move |stream| {
        let (came, reset, waiting) = (came.clone(), reset.clone(), waiting.clone());
        calls(stream, move |mut respond| {
            came.try_send(()).unwrap();
            let reset = reset.clone();
            waiting.spawn("call", async move {
                let reason = poll_fn(|task| respond.poll_reset(task)).await.unwrap();
                reset.send(reason).await.unwrap();
            });
        })
    });
    (peer.await, calls_came, resets, tasks)
}

#[tokio::test]
async fn a_call_that_is_dropped_or_cancelled_or_late_resets_its_stream() {
    let (peer, mut came, mut resets, _tasks) = silent().await;
    let (channel, _) = channel(&at(peer.addr));
    let cx = context();
    for safety in [Some(Safety::Safe), None] {
        tokio::select! {
            answer = open(&channel, &cx, safety) => panic!("{answer:?}"),
            _came = soon(came.recv()) => {}
        }
        assert_eq!(soon(resets.recv()).await, Some(h2::Reason::CANCEL), "{safety:?}");

        let cancelled = context();
        let cancel = async {
            soon(came.recv()).await.unwrap();
            cancelled.cancel(Cause::CallerGone);
        };
        let (answer, ()) = tokio::join!(open(&channel, &cancelled, safety), cancel);
        assert_eq!(answer.unwrap_err().code(), Code::Cancelled, "{safety:?}");
        assert_eq!(soon(resets.recv()).await, Some(h2::Reason::CANCEL), "{safety:?}");

        let late = context().with_deadline((Instant::now() + 300 * MS).into_std());
        let status = open(&channel, &late, safety).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{safety:?}");
        soon(came.recv()).await.unwrap();
        assert_eq!(soon(resets.recv()).await, Some(h2::Reason::CANCEL), "{safety:?}");
    }
    assert_eq!(peer.accepted(), 1, "the others' connection goes on");
}

#[tokio::test]
async fn a_connection_that_was_silent_during_a_call_is_not_used_again() {
    let peer = Peer::start(async |_stream: TcpStream| pending().await).await;
    let limits = Config { connect_timeout: 100 * MS, try_timeout: 150 * MS, ..at(peer.addr) };
    let (channel, _) = channel(&Config { breaker: never(), ..limits });
    for calls in 1..=2 {
        let status = ask(&channel, Safety::Once).await.unwrap_err();
        let error = unanswered(&status).unwrap();
        assert!(matches!(error, Error::Unknown(Unknown::TimedOut { .. })), "{error:?}");
        assert_eq!(peer.accepted(), calls);
    }
}

#[tokio::test]
async fn a_connection_over_which_something_came_of_late_is_used_again() {
    let (came, tasks) = (Arc::new(AtomicUsize::new(0)), Tasks::new());
    let late = tasks.clone();
    let peer = Peer::start(move |stream| {
        let (came, late) = (Arc::clone(&came), late.clone());
        calls(stream, move |mut respond| {
            if came.fetch_add(1, SeqCst) > 0 {
                return ok(respond);
            }
            late.spawn("call", async move {
                tokio::time::sleep(600 * MS).await;
                let head = Response::builder().body(()).unwrap();
                // What comes behind the head never does.
                let _rest = respond.send_response(head, false).unwrap();
                pending::<()>().await;
            });
        })
    });
    let peer = peer.await;
    let limits = Config { connect_timeout: 500 * MS, try_timeout: 800 * MS, ..at(peer.addr) };
    let (channel, _) = channel(&Config { breaker: never(), ..limits });
    let status = ask(&channel, Safety::Once).await.unwrap_err();
    let error = unanswered(&status).unwrap();
    assert!(matches!(error, Error::Unknown(Unknown::TimedOut { .. })), "{error:?}");
    assert_eq!(ask(&channel, Safety::Once).await.unwrap(), Code::Ok);
    assert_eq!(peer.accepted(), 1);
}
