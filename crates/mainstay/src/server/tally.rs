//! Why connections ended, and how many are open.

use super::seats::Seat;
use crate::metrics::{Counter, Gauge, Metrics};

/// Why a connection ended, or did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Refused: the server has no more seats.
    Full,
    /// Refused: its address has no more seats.
    Address,
    /// Refused: its address has just abused several others.
    Abuse,
    /// Nothing came for the first byte's time.
    FirstByte,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// A request's header took too long.
    Header,
    /// Nothing came of a request's body, on HTTP/1.
    Body,
    /// The peer took nothing of an answer.
    Stall,
    /// It was not used.
    Idle,
    /// The peer sent too many frames that do no work.
    Flood,
    /// It was old enough, or the certificate of its client was.
    Age,
    /// It had carried enough requests.
    Requests,
    /// By the peer, or by either side after an answer.
    Done,
    /// It broke, or did not speak HTTP.
    Error,
    /// It broke on HTTP/2 because h2 refused what it was sent, or after much that did no work.
    Protocol,
    /// It was aborted: the drain's budget was spent, or its task panicked.
    Cut,
}

impl Ended {
    /// Whether the peer made work for nothing.
    pub(super) const fn is_abuse(self) -> bool {
        matches!(self, Self::Flood | Self::Protocol)
    }

    /// The value of the label `reason`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Address => "address",
            Self::Abuse => "abuse",
            Self::FirstByte => "first-byte",
            Self::Handshake => "handshake",
            Self::Header => "header",
            Self::Body => "body",
            Self::Stall => "stall",
            Self::Idle => "idle",
            Self::Flood => "flood",
            Self::Age => "age",
            Self::Requests => "requests",
            Self::Done => "done",
            Self::Error => "error",
            Self::Protocol => "protocol",
            Self::Cut => "cut",
        }
    }
}

/// What a server tells of its connections.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    open: Gauge,
    ended: Counter,
}

impl Tally {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            open: metrics.gauge("http_connections", "Connections that are open", &[]),
            ended: metrics.counter(
                "http_connections_ended_total",
                "Connections that ended, or were refused (full, address, abuse), by reason",
                &["reason"],
            ),
        }
    }

    pub(super) fn refused(&self, reason: Ended) {
        self.ended.inc(&[reason.as_str()]);
    }
}

/// An open connection: counted, and in its seat, until it is dropped in whatever way.
pub(super) struct Open {
    tally: Option<Tally>,
    seat: Seat,
    ended: Ended,
}

impl Open {
    pub(super) fn new(seat: Seat, tally: Option<Tally>) -> Self {
        if let Some(tally) = &tally {
            tally.open.add(1.0, &[]);
        }
        Self { tally, seat, ended: Ended::Cut }
    }

    /// Counts it against its address for as long as it is open, unless its seat counts by no
    /// address; returns whether it does.
    pub(super) fn abused(&mut self) -> bool {
        self.seat.abused()
    }

    /// It ended by itself.
    pub(super) fn close(mut self, why: Ended) {
        self.ended = why;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(tally) = &self.tally {
            tally.open.add(-1.0, &[]);
            tally.ended.inc(&[self.ended.as_str()]);
        }
    }
}
