//! The end of accepting: nobody whose connection was made is turned away.
//!
//! A listening socket that is closed resets the connections in its queue, and their peers may
//! have sent a request by then. So the peers are first kept from opening new ones: the kernel drops
//! [handshakes](super::handshakes), which the peer repeats after a second, to be refused. Those under
//! way are finished and served. Where the system takes no filter, the queue is emptied all the same,
//! and a connection made in the instant of closing is reset.

use super::handshakes::drop_all;
use std::{net::SocketAddr, pin::pin, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep_until},
};

/// How long handshakes under way have to be finished: a round trip round the world.
const LAST_CALL: Duration = Duration::from_millis(200);

/// Takes what was connected before now, and keeps others from connecting; no longer than `most`, nor
/// than twice [`LAST_CALL`].
pub(super) async fn last_call(
    listener: &TcpListener,
    most: Duration,
    admit: impl FnMut((TcpStream, SocketAddr)),
) {
    if let Err(error) = drop_all(listener) {
        tracing::debug!(%error, "cannot keep new connections away before the listener closes");
    }
    empty(|| super::accept(listener), most, admit).await;
}

/// Takes what comes until nothing is there and the time is over.
async fn empty<F: Future>(next: impl Fn() -> F, most: Duration, mut admit: impl FnMut(F::Output)) {
    let start = Instant::now();
    // Where no filter keeps others away there may always be a next.
    let latest = start + most.min(2 * LAST_CALL);
    let mut over = pin!(sleep_until(start + most.min(LAST_CALL)));
    while Instant::now() < latest {
        tokio::select! {
            // First, so that the queue was empty when the time was over.
            biased;
            came = next() => admit(came),
            () = &mut over => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn a_queue_that_never_empties_is_left_when_the_time_is_over() {
        let mut admitted = 0_u64;
        let most = Duration::from_millis(20);
        empty(|| ready(()), most, |()| admitted += 1).await;
        assert!(admitted > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_queue_is_waited_for_once() {
        let start = Instant::now();
        empty(pending::<()>, Duration::from_secs(10), |()| {}).await;
        assert_eq!(start.elapsed(), LAST_CALL);
    }
}
