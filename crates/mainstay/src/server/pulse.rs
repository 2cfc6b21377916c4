//! What one connection last did, and when that was too long ago.

mod in_flight;

pub(super) use self::in_flight::InFlight;

use self::in_flight::Waiting;
use super::{
    Config,
    patience::Patience,
    protocol::{Header, Protocol},
    tally::Ended,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// A write on HTTP/2 of no more bytes than this says nothing about an answer: pings, which go to
/// an idle peer too, and acknowledgements fit in it.
const HTTP2_CONTROL: usize = 64;

/// How long after a flood its connection lives: enough to tell the peer to go away.
const FLOOD_GRACE: Duration = Duration::from_millis(100);

/// The activity of one connection, shared by its socket, its requests and its task.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told once the connection is to take no more requests.
    leave: Notify,
}

#[derive(Debug)]
struct State {
    protocol: Protocol,
    requests: u64,
    in_flight: usize,
    /// Those requests in flight that have more of an answer than the connection has taken.
    waiting: Vec<Waiting>,
    /// When the connection was accepted, last became free of requests, or last took a part of an
    /// answer: hyper lets go of a body while most of it may still wait for the peer.
    idle_since: Instant,
    /// When something last came.
    heard_at: Instant,
    /// When the unfinished request header began, if one has.
    header_since: Option<Instant>,
    /// Since when the socket has taken nothing of what it was given, if it has not.
    stalled_since: Option<Instant>,
    /// When the peer's patience budget ran out, if it has.
    flooded_at: Option<Instant>,
    /// Why the connection takes no more requests, if it does not.
    leaving: Option<Ended>,
    patience: Patience,
}

impl Pulse {
    pub(super) fn new() -> Self {
        let state = State {
            protocol: Protocol::Undecided(0),
            requests: 0,
            in_flight: 0,
            waiting: Vec::new(),
            idle_since: Instant::now(),
            heard_at: Instant::now(),
            header_since: None,
            stalled_since: None,
            flooded_at: None,
            leaving: None,
            patience: Patience::new(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), leave: Notify::new() }))
    }

    /// The limit of `config` that has passed at `now`, if one has.
    pub(super) fn expired(&self, config: &Config, now: Instant) -> Option<Ended> {
        let state = self.state();
        let late = |since: Instant, limit: Duration| now.duration_since(since) >= limit;
        let late_if = |since: Option<Instant>, limit| since.is_some_and(|since| late(since, limit));
        // Every answer has more to send than the peer has taken, and so it has been for long.
        let untaken = state.in_flight > 0 && state.waiting.len() == state.in_flight;
        let idle = state.in_flight == 0 && state.header_since.is_none();
        let silent = matches!(state.protocol, Protocol::Undecided(_));
        if late_if(state.flooded_at, FLOOD_GRACE) {
            Some(Ended::Flood)
        } else if late_if(state.header_since, config.header_timeout) {
            Some(Ended::Header)
        } else if late_if(state.stalled_since, config.write_timeout)
            || (untaken && late(state.idle_since, config.write_timeout))
        {
            Some(Ended::Stall)
        } else if idle && silent && late(state.idle_since, config.first_byte_timeout) {
            Some(Ended::FirstByte)
        } else if idle && !silent && late(state.idle_since, config.idle_timeout) {
            Some(Ended::Idle)
        } else {
            None
        }
    }

    /// Counts a request until its answer is dropped; the last of `most` lets the connection go.
    pub(super) fn begin_request(&self, most: u64) -> InFlight {
        let mut state = self.state();
        state.in_flight += 1;
        state.requests += 1;
        if state.protocol == Protocol::Http1 {
            state.header_since = None;
        }
        let number = state.requests;
        drop(state);
        if number >= most {
            self.leave(Ended::Requests);
        }
        InFlight::new(self.clone(), number)
    }

    /// Since when the connection could take another request, if it had one before.
    pub(super) fn free_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.requests > 0).then_some(state.idle_since)
    }

    /// Ends the streams of answers that have waited too long, though others go on.
    pub(super) fn end_stalled(&self, config: &Config, now: Instant) {
        for waiting in &self.state().waiting {
            waiting.end_after(config.write_timeout, now);
        }
    }

    /// Lets the connection take no more requests; the first reason stays.
    pub(super) fn leave(&self, why: Ended) {
        self.state().leaving.get_or_insert(why);
        self.0.leave.notify_one();
    }

    /// Why the connection takes no more requests, if it does not.
    pub(super) fn leaving(&self) -> Option<Ended> {
        self.state().leaving
    }

    /// Whether the peer has sent much that did no work.
    pub(super) fn is_strained(&self) -> bool {
        self.state().patience.is_strained()
    }

    /// Lets the connection end by itself, which is no reason for its end.
    pub(super) fn finish(&self) {
        self.0.leave.notify_one();
    }

    /// Whether nothing ever came.
    pub(super) fn is_silent(&self) -> bool {
        self.state().protocol == Protocol::Undecided(0)
    }

    /// Whether anything of a request is not done: its header is not whole, or its answer not sent.
    pub(super) fn owes(&self) -> bool {
        let state = self.state();
        state.in_flight > 0 || state.header_since.is_some()
    }

    /// How long nothing has come of an unfinished header, if it must be waited for: HTTP/2 knows which
    /// requests it still has to take.
    pub(super) fn header_pause(&self) -> Option<Duration> {
        let state = self.state();
        let http2 = matches!(state.protocol, Protocol::Http2(_));
        let unfinished = state.header_since.is_some() && !http2;
        unfinished.then(|| state.heard_at.elapsed())
    }

    /// Whether this is HTTP/2 and had no request, nor anything to send, for `time`.
    pub(super) fn is_http2_unused_for(&self, time: Duration) -> bool {
        let state = self.state();
        let http2 = matches!(state.protocol, Protocol::Http2(_));
        let used = state.in_flight > 0 || state.stalled_since.is_some();
        http2 && !used && state.header_since.is_none() && state.idle_since.elapsed() >= time
    }

    /// Waits for [`leave`](Self::leave) or [`finish`](Self::finish); there must be only one such
    /// waiter.
    pub(super) async fn left(&self) {
        self.0.leave.notified().await;
    }

    /// Takes in bytes from the peer; returns whether there may be more.
    pub(super) fn received(&self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let mut state = self.state();
        if state.received(bytes) {
            return true;
        }
        state.flooded_at = Some(Instant::now());
        state.leaving = Some(Ended::Flood);
        drop(state);
        self.0.leave.notify_one();
        false
    }

    /// The socket took this many bytes.
    pub(super) fn sent(&self, count: usize) {
        let mut state = self.state();
        state.stalled_since = None;
        let control = if matches!(state.protocol, Protocol::Http2(_)) { HTTP2_CONTROL } else { 0 };
        if count > control {
            state.idle_since = Instant::now();
        }
    }

    /// The socket takes nothing now of what it is given.
    pub(super) fn stuck(&self) {
        self.state().stalled_since.get_or_insert_with(Instant::now);
    }

    /// The socket holds nothing back.
    pub(super) fn flushed(&self) {
        self.state().stalled_since = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes in bytes; returns whether the peer may go on.
    fn received(&mut self, bytes: &[u8]) -> bool {
        let heard = self.protocol.received(bytes);
        self.heard_at = Instant::now();
        let in_body = self.protocol == Protocol::Http1 && self.in_flight > 0;
        match heard.header {
            Header::Whole => self.header_since = None,
            Header::Begins => self.header_since = Some(Instant::now()),
            Header::GoesOn if in_body => {}
            Header::GoesOn => {
                self.header_since.get_or_insert_with(Instant::now);
            }
        }
        self.patience.spend(heard.cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Observer as _;
    use tokio::time::advance;

    fn expired(pulse: &Pulse) -> Option<Ended> {
        pulse.expired(&Config::default(), Instant::now())
    }

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

    async fn seconds(count: u64) {
        advance(Duration::from_secs(count)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_first_byte_limit() {
        let pulse = Pulse::new();
        seconds(4).await;
        assert_eq!(expired(&pulse), None);
        seconds(1).await;
        assert_eq!(expired(&pulse), Some(Ended::FirstByte));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dripped_header_ends_at_the_header_limit() {
        let pulse = Pulse::new();
        for byte in b"GET / HTTP" {
            assert_eq!(expired(&pulse), None);
            pulse.received(&[*byte]);
            seconds(1).await;
        }
        assert_eq!(expired(&pulse), Some(Ended::Header));
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_preface_ends_at_the_header_limit() {
        let pulse = Pulse::new();
        pulse.received(&PREFACE[..12]);
        seconds(9).await;
        assert_eq!(expired(&pulse), None);
        seconds(1).await;
        assert_eq!(expired(&pulse), Some(Ended::Header));
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_preface_makes_the_connection_idle() {
        let pulse = Pulse::new();
        pulse.received(&PREFACE[..12]);
        pulse.received(&[&PREFACE[12..], SETTINGS].concat());
        seconds(60).await;
        assert_eq!(expired(&pulse), None);
        seconds(60).await;
        assert_eq!(expired(&pulse), Some(Ended::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_never_expires_and_starts_the_idle_time_anew() {
        let pulse = Pulse::new();
        pulse.received(b"GET / HTTP/1.1\r\n\r\n");
        let request = pulse.begin_request(u64::MAX);
        seconds(1_000).await;
        assert_eq!(expired(&pulse), None);
        drop(request);
        seconds(119).await;
        assert_eq!(expired(&pulse), None);
        seconds(1).await;
        assert_eq!(expired(&pulse), Some(Ended::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_still_being_sent_is_not_idleness() {
        for hello in [&b"GET / HTTP/1.1\r\n\r\n"[..], PREFACE] {
            let pulse = Pulse::new();
            pulse.received(hello);
            drop(pulse.begin_request(u64::MAX));
            for _ in 0..10 {
                seconds(100).await;
                assert_eq!(expired(&pulse), None);
                pulse.sent(16 << 10);
            }
            seconds(119).await;
            assert_eq!(expired(&pulse), None);
            seconds(1).await;
            assert_eq!(expired(&pulse), Some(Ended::Idle), "the peer stopped reading");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pings_do_not_keep_an_idle_connection() {
        let pulse = Pulse::new();
        pulse.received(PREFACE);
        for _ in 0..6 {
            assert_eq!(expired(&pulse), None);
            seconds(20).await;
            pulse.sent(17);
        }
        assert_eq!(expired(&pulse), Some(Ended::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_header_has_the_header_limit_too() {
        let pulse = Pulse::new();
        pulse.received(b"GET / HTTP/1.1\r\n\r\n");
        drop(pulse.begin_request(u64::MAX));
        seconds(20).await;
        pulse.received(b"GET");
        seconds(10).await;
        assert_eq!(expired(&pulse), Some(Ended::Header));
    }

    #[tokio::test(start_paused = true)]
    async fn unfinished_headers_end_at_the_header_limit_beside_a_request_in_flight() {
        let pulse = Pulse::new();
        pulse.received(PREFACE);
        let _request = pulse.begin_request(u64::MAX);
        // A frame of headers without their end, and then a continuation every second.
        pulse.received(&[0, 0, 1, 1, 0, 0, 0, 0, 3, 0x82]);
        for _ in 0..10 {
            assert_eq!(expired(&pulse), None);
            seconds(1).await;
            pulse.received(&[0, 0, 0, 9, 0, 0, 0, 0, 3]);
        }
        assert_eq!(expired(&pulse), Some(Ended::Header));
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_takes_nothing_ends_the_request_in_flight() {
        let pulse = Pulse::new();
        pulse.received(b"GET / HTTP/1.1\r\n\r\n");
        let _request = pulse.begin_request(u64::MAX);
        for _ in 0..5 {
            pulse.stuck();
            seconds(19).await;
            assert_eq!(expired(&pulse), None);
            pulse.sent(1);
        }
        pulse.stuck();
        seconds(20).await;
        assert_eq!(expired(&pulse), Some(Ended::Stall));
        pulse.flushed();
        assert_eq!(expired(&pulse), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_ends_though_the_socket_is_free() {
        let pulse = Pulse::new();
        pulse.received(PREFACE);
        let mut taken = pulse.begin_request(u64::MAX);
        taken.answered();
        taken.asked();
        let mut untaken = pulse.begin_request(u64::MAX);
        untaken.answered();
        seconds(60).await;
        assert_eq!(expired(&pulse), None, "one answer has nothing to send yet");
        taken.bytes(100);
        seconds(19).await;
        assert_eq!(expired(&pulse), None);
        seconds(1).await;
        assert_eq!(expired(&pulse), Some(Ended::Stall));
        taken.asked();
        assert_eq!(expired(&pulse), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_ends_at_once() {
        let pulse = Pulse::new();
        pulse.received(PREFACE);
        let settings = SETTINGS.repeat(100);
        assert!((0..10).all(|_| pulse.received(&settings)));
        assert!(!pulse.received(SETTINGS));
        assert_eq!(pulse.leaving(), Some(Ended::Flood));
        seconds(1).await;
        assert_eq!(expired(&pulse), Some(Ended::Flood));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_request_lets_the_connection_go() {
        let pulse = Pulse::new();
        drop(pulse.begin_request(2));
        assert_eq!(pulse.leaving(), None);
        let _last = pulse.begin_request(2);
        assert_eq!(pulse.leaving(), Some(Ended::Requests));
        pulse.left().await;
    }
}
