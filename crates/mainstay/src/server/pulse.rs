//! What one connection last did, and when that was too long ago.

use super::Config;
use crate::body;
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A write on HTTP/2 of no more bytes than this says nothing about an answer: pings, which go to
/// an idle peer too, and acknowledgements fit in it.
const HTTP2_CONTROL: usize = 64;

/// The activity of one connection, shared by its socket, its requests and its task.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    protocol: Protocol,
    in_flight: usize,
    /// When the connection was accepted, last became free of requests, or last took a part of an
    /// answer: hyper lets go of a body while most of it may still wait for the peer.
    idle_since: Instant,
    /// When the unfinished request header began, if one has.
    header_since: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Protocol {
    /// All bytes so far, this many, are those of the HTTP/2 preface.
    Undecided(usize),
    Http1,
    Http2,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            protocol: Protocol::Undecided(0),
            in_flight: 0,
            idle_since: Instant::now(),
            header_since: None,
        })))
    }

    /// Whether a limit of `config` has passed at `now`.
    pub(super) fn expired(&self, config: &Config, now: Instant) -> bool {
        let state = self.state();
        let waits = |since, limit: Duration| now.duration_since(since) >= limit;
        match (state.in_flight, state.header_since, &state.protocol) {
            // A request in flight has a deadline of its own.
            (1.., _, _) => false,
            (0, Some(since), _) => waits(since, config.header_timeout),
            (0, None, Protocol::Undecided(_)) => waits(state.idle_since, config.first_byte_timeout),
            (0, None, Protocol::Http1 | Protocol::Http2) => {
                waits(state.idle_since, config.idle_timeout)
            }
        }
    }

    /// Counts a request until the answer is dropped.
    pub(super) fn begin_request(&self) -> InFlight {
        let mut state = self.state();
        state.in_flight += 1;
        state.header_since = None;
        InFlight(self.clone())
    }

    fn received(&self, bytes: &[u8]) {
        let mut state = self.state();
        if bytes.is_empty() {
            return;
        }
        if let Protocol::Undecided(seen) = state.protocol {
            state.protocol = match HTTP2_PREFACE[seen..].strip_prefix(bytes) {
                Some([_, ..]) => Protocol::Undecided(seen + bytes.len()),
                None if !bytes.starts_with(&HTTP2_PREFACE[seen..]) => Protocol::Http1,
                Some([]) | None => Protocol::Http2,
            };
        }
        if state.protocol == Protocol::Http2 {
            // Frames between requests are not the beginning of one.
            state.header_since = None;
        } else if state.in_flight == 0 {
            state.header_since.get_or_insert_with(Instant::now);
        }
    }

    /// The socket took this many bytes.
    fn sent(&self, count: usize) {
        let mut state = self.state();
        let control = if state.protocol == Protocol::Http2 { HTTP2_CONTROL } else { 0 };
        if count > control {
            state.idle_since = Instant::now();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose answer is not finished.
#[derive(Debug)]
pub(super) struct InFlight(Pulse);

impl body::Observer for InFlight {}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_flight -= 1;
        state.idle_since = Instant::now();
    }
}

pin_project_lite::pin_project! {
    /// A socket whose reads and writes are felt by a pulse.
    pub(super) struct Felt<S> {
        #[pin]
        pub(super) socket: S,
        pub(super) pulse: Pulse,
    }
}

impl<S: AsyncRead> AsyncRead for Felt<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        ready!(this.socket.poll_read(task, buf))?;
        this.pulse.received(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite> AsyncWrite for Felt<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let count = ready!(this.socket.poll_write(task, bytes))?;
        this.pulse.sent(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let count = ready!(this.socket.poll_write_vectored(task, parts))?;
        this.pulse.sent(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().socket.poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().socket.poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn expired(pulse: &Pulse) -> bool {
        pulse.expired(&Config::default(), Instant::now())
    }

    async fn seconds(count: u64) {
        advance(Duration::from_secs(count)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_first_byte_limit() {
        let pulse = Pulse::new();
        seconds(4).await;
        assert!(!expired(&pulse));
        seconds(1).await;
        assert!(expired(&pulse));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dripped_header_ends_at_the_header_limit() {
        let pulse = Pulse::new();
        for byte in b"GET / HTTP" {
            assert!(!expired(&pulse));
            pulse.received(&[*byte]);
            seconds(1).await;
        }
        assert!(expired(&pulse));
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_preface_ends_at_the_header_limit() {
        let pulse = Pulse::new();
        pulse.received(&HTTP2_PREFACE[..12]);
        seconds(9).await;
        assert!(!expired(&pulse));
        seconds(1).await;
        assert!(expired(&pulse));
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_preface_makes_the_connection_idle() {
        let pulse = Pulse::new();
        pulse.received(&HTTP2_PREFACE[..12]);
        pulse.received(&[&HTTP2_PREFACE[12..], b"settings"].concat());
        seconds(60).await;
        assert!(!expired(&pulse));
        seconds(60).await;
        assert!(expired(&pulse));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_never_expires_and_starts_the_idle_time_anew() {
        let pulse = Pulse::new();
        pulse.received(b"GET / HTTP/1.1\r\n\r\n");
        let request = pulse.begin_request();
        seconds(1_000).await;
        assert!(!expired(&pulse));
        drop(request);
        seconds(119).await;
        assert!(!expired(&pulse));
        seconds(1).await;
        assert!(expired(&pulse));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_still_being_sent_is_not_idleness() {
        for hello in [&b"GET / HTTP/1.1\r\n\r\n"[..], HTTP2_PREFACE] {
            let pulse = Pulse::new();
            pulse.received(hello);
            drop(pulse.begin_request());
            for _ in 0..10 {
                seconds(100).await;
                assert!(!expired(&pulse));
                pulse.sent(16 << 10);
            }
            seconds(119).await;
            assert!(!expired(&pulse));
            seconds(1).await;
            assert!(expired(&pulse), "the peer stopped reading");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pings_do_not_keep_an_idle_connection() {
        let pulse = Pulse::new();
        pulse.received(HTTP2_PREFACE);
        for _ in 0..6 {
            assert!(!expired(&pulse));
            seconds(20).await;
            pulse.sent(17);
        }
        assert!(expired(&pulse));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_header_has_the_header_limit_too() {
        let pulse = Pulse::new();
        pulse.received(b"GET / HTTP/1.1\r\n\r\n");
        drop(pulse.begin_request());
        seconds(20).await;
        pulse.received(b"GET");
        seconds(10).await;
        assert!(expired(&pulse));
    }
}
