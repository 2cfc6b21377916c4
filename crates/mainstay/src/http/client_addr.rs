//! Who is at the other end, behind the proxies that are trusted.

use crate::server::{Network, household};
use http::{HeaderMap, HeaderName};
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the client, in the extensions of every request that came through
/// [`Server`](crate::server::Server).
///
/// It is the peer's own, unless that is a trusted proxy: then `X-Forwarded-For` is read from its end,
/// where the nearest proxy wrote, as long as those named there are trusted too. So whatever a client
/// writes there itself is never believed. Where it ends or cannot be read, the client is the last
/// proxy that was trusted.
///
/// `Forwarded` is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr {
    address: IpAddr,
    is_trusted: bool,
}

impl ClientAddr {
    /// The client of a request with these headers that came from `peer`.
    pub fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
        let mut address = peer.to_canonical();
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut hops = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',').rev());
        while is_trusted(address) {
            let Some(next) = hops.next().and_then(read) else { break };
            address = next;
        }
        Self { address, is_trusted: is_trusted(address) }
    }

    /// The address.
    pub const fn ip(self) -> IpAddr {
        self.address
    }

    /// What it counts as where addresses are counted: itself, or its /64 of IPv6; nothing if it is a
    /// trusted proxy that speaks for itself.
    pub fn counted(self) -> Option<IpAddr> {
        (!self.is_trusted).then(|| household(self.address))
    }
}

/// An address as proxies write it; some add the port.
fn read(hop: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(hop).ok()?.trim();
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare().or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client of a request from `peer` with these lines, behind 10.0.0.0/8 and loopback.
    fn client(peer: &str, lines: &[&str]) -> (String, Option<String>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let mut trusted = Network::loopback();
        trusted.push("10.0.0.0/8".parse().unwrap());
        let client = ClientAddr::of(peer.parse().unwrap(), &headers, &trusted);
        (client.ip().to_string(), client.counted().map(|address| address.to_string()))
    }

    #[track_caller]
    fn is(peer: &str, lines: &[&str], expected: &str) {
        let counted = Some(expected.to_owned());
        assert_eq!(client(peer, lines), (expected.to_owned(), counted), "{peer} {lines:?}");
    }

    #[test]
    fn who_is_no_proxy_is_believed_nothing() {
        is("203.0.113.9", &[], "203.0.113.9");
        is("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        is("::ffff:203.0.113.9", &["10.0.0.1"], "203.0.113.9");
    }

    #[test]
    fn what_proxies_wrote_is_read_from_the_end() {
        is("10.0.0.1", &["203.0.113.9"], "203.0.113.9");
        is("10.0.0.1", &["198.51.100.1, 203.0.113.9"], "203.0.113.9");
        is("10.0.0.1", &["198.51.100.1, 203.0.113.9 , 10.0.0.2,10.9.9.9"], "203.0.113.9");
        is("10.0.0.1", &["198.51.100.1", "203.0.113.9, 10.0.0.2", "127.0.0.1"], "203.0.113.9");
        is("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9");
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        is("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9");
        for written in ["2001:db8:0:7::", "[2001:db8:0:7::]:4711", "[2001:db8:0:7::]"] {
            is("10.0.0.1", &[written], "2001:db8:0:7::");
        }
    }

    #[test]
    fn where_nothing_can_be_read_it_is_the_last_trusted_proxy() {
        for lines in [&[][..], &[""], &["unknown"], &["203.0.113.9, "], &["203.0.113.9, x y"]] {
            assert_eq!(client("10.0.0.1", lines), ("10.0.0.1".to_owned(), None), "{lines:?}");
        }
        let lines = ["203.0.113.9, x, 10.0.0.2"];
        assert_eq!(client("10.0.0.1", &lines), ("10.0.0.2".to_owned(), None));
    }

    #[test]
    fn addresses_of_one_64_count_as_one() {
        let told = client("2001:db8:0:1:ffff::2", &[]);
        assert_eq!(told, ("2001:db8:0:1:ffff::2".to_owned(), Some("2001:db8:0:1::".to_owned())));
    }
}
