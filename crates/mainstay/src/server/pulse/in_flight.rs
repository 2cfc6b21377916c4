//! A request and how far the peer has taken its answer.

use super::Pulse;
use crate::body;
use tokio::time::Instant;

/// A request whose answer is not finished.
#[derive(Debug)]
pub(in crate::server) struct InFlight {
    pulse: Pulse,
    /// Whether its answer has more than the connection has taken.
    waiting: bool,
}

impl InFlight {
    pub(super) fn new(pulse: Pulse) -> Self {
        Self { pulse, waiting: false }
    }

    /// The answer begins: it is there, and waits to be taken.
    pub(in crate::server) fn answered(&mut self) {
        let mut state = self.pulse.state();
        state.patience.answered();
        state.waiting += 1;
        state.idle_since = Instant::now();
        self.waiting = true;
    }
}

impl body::Observer for InFlight {
    fn asked(&mut self) {
        if std::mem::take(&mut self.waiting) {
            let mut state = self.pulse.state();
            state.waiting -= 1;
            state.idle_since = Instant::now();
        }
    }

    fn bytes(&mut self, count: usize) {
        let mut state = self.pulse.state();
        state.patience.sent(count);
        if !std::mem::replace(&mut self.waiting, true) {
            state.waiting += 1;
            state.idle_since = Instant::now();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.pulse.state();
        state.in_flight -= 1;
        state.waiting -= usize::from(self.waiting);
        state.idle_since = Instant::now();
    }
}
