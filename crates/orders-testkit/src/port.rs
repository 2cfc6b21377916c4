//! Ports of 127.0.0.1.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

/// One on which nothing listens, below those that outgoing connections get: a server that is down
/// for a while finds it free again.
pub(crate) fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run at once look in different places.
    let start = process::id().wrapping_mul(211);
    (0..COUNT)
        .filter_map(|_| {
            let turn = NEXT.fetch_add(1, Ordering::Relaxed);
            u16::try_from(FIRST + start.wrapping_add(turn) % COUNT).ok()
        })
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}

/// Whether something takes connections there.
pub(crate) fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}
