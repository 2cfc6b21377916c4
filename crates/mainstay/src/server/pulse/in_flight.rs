//! A request and how far the peer has taken its answer.

use super::{Pulse, State};
use crate::{body, server::stream::Stall};
use std::time::Duration;
use tokio::time::Instant;

/// A request whose answer is not finished.
#[derive(Debug)]
pub(in crate::server) struct InFlight {
    pulse: Pulse,
    /// Which request of the connection it is.
    number: u64,
    /// Ends its stream, if it has one of its own.
    stall: Option<Stall>,
}

/// An answer that has more than the connection has taken.
#[derive(Debug)]
pub(super) struct Waiting {
    number: u64,
    /// Since when, and how long for the size of what waits.
    since: Instant,
    stall: Option<Stall>,
}

impl Waiting {
    /// Ends the answer's stream if it has waited for `limit`.
    pub(super) fn end_after(&self, limit: Duration, now: Instant) {
        if let Some(stall) = self.stall.as_ref().filter(|_| now >= self.since + limit) {
            stall.end();
        }
    }
}

/// The least that a peer takes of one of several answers, in bytes per second: a part that was
/// handed on waits this much longer than the limit, because it is not seen how much of it is gone.
const LEAST_RATE: usize = 1 << 10;

impl InFlight {
    pub(super) fn new(pulse: Pulse, number: u64) -> Self {
        Self { pulse, number, stall: Stall::of_this_stream() }
    }

    /// The answer begins: it is there, and waits to be taken.
    pub(in crate::server) fn answered(&mut self) {
        let mut state = self.pulse.state();
        state.patience.answered();
        self.wait(&mut state, 0);
    }

    fn wait(&self, state: &mut State, count: usize) {
        self.wait_no_more(state);
        let now = Instant::now();
        state.idle_since = now;
        let since = now + Duration::from_secs((count / LEAST_RATE) as u64);
        let (number, stall) = (self.number, self.stall.clone());
        state.waiting.push(Waiting { number, since, stall });
    }

    /// Returns whether it did wait.
    fn wait_no_more(&self, state: &mut State) -> bool {
        let at = state.waiting.iter().position(|waiting| waiting.number == self.number);
        at.map(|at| state.waiting.swap_remove(at)).is_some()
    }
}

impl body::Observer for InFlight {
    fn asked(&mut self) {
        let mut state = self.pulse.state();
        if self.wait_no_more(&mut state) {
            state.idle_since = Instant::now();
        }
    }

    fn bytes(&mut self, count: usize) {
        let mut state = self.pulse.state();
        state.patience.sent(count);
        self.wait(&mut state, count);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.pulse.state();
        state.in_flight -= 1;
        self.wait_no_more(&mut state);
        state.idle_since = Instant::now();
    }
}
