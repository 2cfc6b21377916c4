//! One connection of HTTP/2, shared by all calls, and whether one of them left over it.

use super::{Error, NotSent, Unknown, body::Outgoing};
use crate::{
    client::dial::{Stream, Traffic, Watched},
    tasks::Tasks,
};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http2},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    error::Error as _,
    io, iter,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// How often the peer is asked whether it is there, while calls are open.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer that come before somebody reads them.
const STREAM_WINDOW: u32 = 1 << 20;
/// The same of all answers together: so many that those which nobody reads leave room for the others.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// The most bytes of an answer's headers, and of its trailers.
const HEADER_LIMIT: u32 = 64 << 10;

/// A connection; clones are the same one, which ends with the last of them.
#[derive(Clone)]
pub(super) struct Connection {
    sender: http2::SendRequest<Outgoing>,
    traffic: Arc<Traffic>,
    retired: Arc<AtomicBool>,
    /// Those that move the bytes.
    tasks: Arc<Owned>,
}

/// Tasks that end with their owner.
#[derive(Default)]
pub(super) struct Owned(pub(super) Tasks);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

/// Where hyper puts its own tasks.
#[derive(Clone)]
struct Spawn(Tasks);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawn {
    fn execute(&self, work: F) {
        self.0.spawn("call of gRPC", work);
    }
}

/// A request without an answer; and itself, where the connection has not taken it.
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) unsent: Option<Box<Request<Outgoing>>>,
}

impl Connection {
    pub(super) async fn begin(stream: Stream) -> io::Result<Self> {
        let tasks = Arc::new(Owned::default());
        let (io, traffic) = Watched::new(stream);
        let mut builder = http2::Builder::new(Spawn(tasks.0.clone()));
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_LIMIT);
        let handshake = builder.handshake(TokioIo::new(io)).await;
        let (sender, driver): (http2::SendRequest<Outgoing>, _) =
            handshake.map_err(io::Error::other)?;
        tasks.0.spawn("connection of gRPC", async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection of gRPC ended");
            }
        });
        Ok(Self { sender, traffic, retired: Arc::default(), tasks })
    }

    /// Whether it can take a call, as far as this side has heard.
    pub(super) fn is_usable(&self) -> bool {
        !self.retired.load(Relaxed) && !self.sender.is_closed()
    }

    /// Whether it carries nothing: whoever does has a clone of it.
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.tasks) == 1
    }

    /// Takes no more calls; those that it carries go on.
    pub(super) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    /// How often something came so far.
    pub(super) fn heard(&self) -> u64 {
        self.traffic.read()
    }

    /// Sends a request and waits for the head of its answer. Dropped before, it resets the stream.
    pub(super) async fn send(
        &self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Failed> {
        let before = self.traffic.written();
        let sent = self.sender.clone().try_send_request(request).await;
        sent.map_err(|failed| self.told(failed, before))
    }

    /// What became of a request without an answer.
    fn told(&self, mut failed: TrySendError<Request<Outgoing>>, before: u64) -> Failed {
        let unsent = failed.take_message().map(Box::new);
        let error = failed.into_error();
        let h2 = h2_error(&error);
        // What is wrong with one stream leaves the others as they are.
        if unsent.is_some() || h2.is_none_or(|error| error.is_go_away() || error.is_io()) {
            self.retire();
        }
        let not_sent =
            unsent.is_some() || h2.is_some_and(was_not_begun) || self.traffic.written() == before;
        let error = if not_sent {
            Error::NotSent(NotSent::Unwritten(error.into()))
        } else {
            Error::Unknown(Unknown::Lost(error.into()))
        };
        Failed { error, unsent }
    }
}

/// Whether the peer says that it did not begin with a stream: it refused it, or ends the connection and
/// names an earlier one as the last. h2 fails others than those with something else.
fn was_not_begun(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    iter::successors(error.source(), |&error| error.source()).find_map(|error| error.downcast_ref())
}
