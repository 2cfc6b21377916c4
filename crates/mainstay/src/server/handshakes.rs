//! Which new connections the kernel turns away before anybody works on them.
//!
//! A filter on a listening socket drops the first packet of a handshake (SYN). The peer repeats it
//! after a second, so whoever is let in again by then is only late. Handshakes under way are
//! finished. Where the system takes no such filter, both ways of refusing below still have the
//! slower one behind them: to accept, and to close.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep_until},
};

/// How long an address is barred.
const FOR: Duration = Duration::from_secs(1);

/// How many addresses are barred at a time; of more, the others are refused when accepted.
const MOST: usize = 64;

/// Addresses as [seats](super::seats) count them, that may not connect for now.
#[derive(Debug)]
pub(super) struct Barred {
    addresses: Vec<(IpAddr, Instant)>,
    most: usize,
}

impl Default for Barred {
    fn default() -> Self {
        Self { addresses: Vec::new(), most: MOST }
    }
}

impl Barred {
    /// Bars no address, ever.
    pub(super) fn nobody() -> Self {
        Self { addresses: Vec::new(), most: 0 }
    }

    /// Keeps `address` from connecting for a second.
    pub(super) fn add(&mut self, listener: &TcpListener, address: IpAddr) {
        let known = self.addresses.iter().any(|(barred, _)| *barred == address);
        if known || self.addresses.len() >= self.most {
            return;
        }
        self.addresses.push((address, Instant::now() + FOR));
        self.apply(listener);
    }

    /// Waits until the first of them may connect again; for ever if there is none.
    pub(super) async fn over(&self) {
        match self.addresses.first() {
            Some((_, until)) => sleep_until(*until).await,
            None => std::future::pending().await,
        }
    }

    /// Lets those connect again whose time is over.
    pub(super) fn relent(&mut self, listener: &TcpListener) {
        let now = Instant::now();
        self.addresses.retain(|(_, until)| *until > now);
        self.apply(listener);
    }

    fn apply(&self, listener: &TcpListener) {
        let addresses: Vec<IpAddr> = self.addresses.iter().map(|(address, _)| *address).collect();
        if let Err(error) = drop_from(listener, &addresses) {
            tracing::debug!(%error, "cannot bar addresses that flood before they connect");
        }
    }
}

/// Drops every new handshake.
pub(super) fn drop_all(listener: &TcpListener) -> io::Result<()> {
    attach(listener, &[SYNS.as_slice(), &[DROP]].concat())
}

/// Drops new handshakes of these addresses, and of no others.
fn drop_from(listener: &TcpListener, addresses: &[IpAddr]) -> io::Result<()> {
    if addresses.is_empty() {
        return detach(listener);
    }
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.extend(unless(NETWORK + 12, address.to_bits(), &[DROP])),
            IpAddr::V6(address) => {
                let [high, low] = first_half(*address);
                v6.extend(unless(NETWORK + 8, high, &unless(NETWORK + 12, low, &[DROP])));
            }
        }
    }
    v4.push(PASS);
    v6.push(PASS);
    // The version of the IP header is in its first four bits.
    let by_version = [
        (LOAD_BYTE, 0, 0, NETWORK),
        (AND, 0, 0, 0xf0),
        (JUMP_IF_EQUAL, 1, 0, 0x40),
        skip(v4.len()),
    ];
    attach(listener, &[SYNS.as_slice(), &by_version, &v4, &v6].concat())
}

/// A step of a classic BPF program: what to do, how many steps to skip if a test holds and if not,
/// and the operand. Offsets are from the TCP header, or from the IP header behind [`NETWORK`].
type Step = (u16, u8, u8, u32);

const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const NETWORK: u32 = 0xfff0_0000;
const DROP: Step = (RETURN, 0, 0, 0);
const PASS: Step = (RETURN, 0, 0, u32::MAX);

/// Lets pass what does not begin a handshake: byte 13 of the TCP header holds the flags, of which
/// SYN is 2 and ACK 16.
const SYNS: [Step; 4] =
    [(LOAD_BYTE, 0, 0, 13), (AND, 0, 0, 0x12), (JUMP_IF_EQUAL, 1, 0, 0x02), PASS];

/// Takes `steps` when the word at `offset` is `value`; at most 255 of them.
fn unless(offset: u32, value: u32, steps: &[Step]) -> Vec<Step> {
    let count = u8::try_from(steps.len()).unwrap_or(u8::MAX);
    [&[(LOAD_WORD, 0, 0, offset), (JUMP_IF_EQUAL, 0, count, value)], steps].concat()
}

fn skip(steps: usize) -> Step {
    (JUMP, 0, 0, u32::try_from(steps).unwrap_or(u32::MAX))
}

fn first_half(address: Ipv6Addr) -> [u32; 2] {
    let word = |shift: u32| u32::try_from(address.to_bits() >> shift & 0xffff_ffff).unwrap_or(0);
    [word(96), word(64)]
}

#[cfg(target_os = "linux")]
fn attach(listener: &TcpListener, program: &[Step]) -> io::Result<()> {
    let steps: Vec<_> = program
        .iter()
        .map(|&(code, held, not, operand)| socket2::SockFilter::new(code, held, not, operand))
        .collect();
    socket2::SockRef::from(listener).attach_filter(&steps)
}

#[cfg(target_os = "linux")]
fn detach(listener: &TcpListener) -> io::Result<()> {
    socket2::SockRef::from(listener).detach_filter()
}

#[cfg(not(target_os = "linux"))]
fn attach(_listener: &TcpListener, _program: &[Step]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn detach(_listener: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use tokio::{net::TcpStream, time::timeout};

    async fn connects(listener: &TcpListener) -> bool {
        let connecting = async { TcpStream::connect(listener.local_addr()?).await };
        timeout(Duration::from_millis(300), connecting)
            .await
            .is_ok_and(|connected| connected.is_ok())
    }

    #[tokio::test]
    async fn a_barred_address_cannot_connect_until_its_time_is_over() {
        let v4 = ["192.0.2.1", "127.0.0.1"];
        let v6 = ["2001:db8::", "::"];
        for (local, [stranger, own]) in [("127.0.0.1:0", v4), ("[::1]:0", v6)] {
            let listener = TcpListener::bind(local).await.unwrap();
            let mut barred = Barred::default();
            barred.add(&listener, stranger.parse().unwrap());
            assert!(connects(&listener).await, "{local}: barred instead of {stranger}");
            barred.add(&listener, own.parse().unwrap());
            assert!(!connects(&listener).await, "{local}");
            while !barred.addresses.is_empty() {
                barred.over().await;
                barred.relent(&listener);
            }
            assert!(connects(&listener).await, "{local}");
        }
    }

    #[tokio::test]
    async fn no_more_addresses_are_barred_than_the_filter_holds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut barred = Barred::default();
        for last in 0..200_u8 {
            barred.add(&listener, IpAddr::from([192, 0, 2, last]));
        }
        assert_eq!(barred.addresses.len(), MOST);
        drop_from(
            &listener,
            &barred.addresses.iter().map(|(address, _)| *address).collect::<Vec<_>>(),
        )
        .unwrap();
    }
}
