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
    time::sleep,
};

/// How long handshakes under way have to be finished: a round trip round the world.
const LAST_CALL: Duration = Duration::from_millis(200);

/// Takes what was connected before now, and keeps others from connecting; no longer than `most`.
pub(super) async fn last_call(
    listener: &TcpListener,
    most: Duration,
    mut admit: impl FnMut((TcpStream, SocketAddr)),
) {
    if let Err(error) = drop_all(listener) {
        tracing::debug!(%error, "cannot keep new connections away before the listener closes");
    }
    let mut over = pin!(sleep(LAST_CALL.min(most)));
    loop {
        tokio::select! {
            // First, so that the queue was empty when the time was over.
            biased;
            accepted = super::accept(listener) => admit(accepted),
            () = &mut over => return,
        }
    }
}
