//! One connection's part in a drain.
//!
//! What was asked is answered, and what is being asked may be finished: a new connection's first
//! request may be on its way, and a header that has begun may go on for as long as more of it comes.
//! Then the peer is told to go, and gone it is: on HTTP/2 it needs no say in that once it has no
//! request. Each connection keeps to the drain's budget by itself, so that it can tell whether
//! anything was cut with it.

use super::{connection::Mode, pulse::Pulse, tally::Ended};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

/// How long after a connection was made its first request is waited for.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// A header of which nothing comes for this long does not go on: a lost packet is repeated sooner.
const HEADER_PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked whether a header is whole by now.
const LOOK: Duration = Duration::from_millis(20);

/// How long an HTTP/2 peer has to go once it has no request: one that it sent before it was told to
/// go arrives by then.
const UNUSED: Duration = Duration::from_secs(1);

/// How long the server waits for connections that end by themselves at the end of the budget.
pub(super) const NOTICE: Duration = Duration::from_millis(50);

/// Waits for the drain, sees the connection of `pulse` through it, and tells when and how it must end,
/// if it does not end by itself before.
pub(super) async fn drain(
    mut modes: watch::Receiver<Mode>,
    accepted: Instant,
    pulse: Pulse,
) -> Ended {
    let budget = Mode::draining(&mut modes).await;
    match timeout(budget, finish(accepted, &pulse)).await {
        Ok(ended) => ended,
        Err(_elapsed) if pulse.owes() => Ended::Cut,
        Err(_elapsed) => Ended::Done,
    }
}

async fn finish(accepted: Instant, pulse: &Pulse) -> Ended {
    sleep_until(accepted + FIRST_REQUEST).await;
    if pulse.is_silent() {
        return Ended::Done;
    }
    while let Some(pause) = pulse.header_pause() {
        if pause >= HEADER_PAUSE {
            return Ended::Cut;
        }
        sleep(LOOK).await;
    }
    pulse.finish();
    sleep(UNUSED).await;
    while !pulse.is_http2_unused_for(UNUSED) {
        sleep(UNUSED / 4).await;
    }
    Ended::Done
}

/// Waits until a connection that has not begun to ask may end.
pub(super) async fn unasked(modes: &mut watch::Receiver<Mode>, accepted: Instant) {
    let budget = Mode::draining(modes).await;
    sleep_until((accepted + FIRST_REQUEST).min(Instant::now() + budget)).await;
}
