//! The end of accepting: nobody whose connection was made is turned away.
//!
//! A listening socket that is closed resets the connections in its queue, and their peers may
//! have sent a request by then. So the peers are first kept from opening new ones: a filter on the
//! socket drops the first packet of a handshake (SYN), which the peer repeats after a second, to be
//! refused. Handshakes under way are finished and served. Where the system takes no filter, the
//! queue is emptied all the same, and a connection made in the instant of closing is reset.

use socket2::{SockFilter, SockRef};
use std::{io, net::SocketAddr, pin::pin, time::Duration};
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
    if let Err(error) = drop_handshakes(listener) {
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

/// A classic BPF program over the TCP header, whose byte 13 holds the flags: a packet with SYN and
/// without ACK is dropped, any other passes.
fn drop_handshakes(listener: &TcpListener) -> io::Result<()> {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}
