//! The limits of a server.

use super::Network;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The limits of a [`Server`](super::Server).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The time from accepting a connection to the end of its TLS handshake, and from there to
    /// its first byte. Default 5 s.
    #[serde(with = "crate::config::duration::Text")]
    pub first_byte_timeout: Duration,
    /// The time from the first byte of a request's header to its last. Default 10 s.
    #[serde(with = "crate::config::duration::Text")]
    pub header_timeout: Duration,
    /// How long nothing may come of a request's body while it is waited for. Default 5 s.
    #[serde(with = "crate::config::duration::Text")]
    pub body_idle_timeout: Duration,
    /// How long a peer may take nothing of an answer that waits for it. Default 20 s.
    #[serde(with = "crate::config::duration::Text")]
    pub write_timeout: Duration,
    /// How long a connection may carry no request and take nothing of an answer. Default 120 s.
    #[serde(with = "crate::config::duration::Text")]
    pub idle_timeout: Duration,
    /// How old a connection becomes before it takes no more requests, within 10 % either way, so
    /// that connections made together do not end together. Default 30 min.
    #[serde(with = "crate::config::duration::Text")]
    pub max_age: Duration,
    /// The most requests of one connection. Default 10,000.
    pub max_requests: u64,
    /// The most connections at a time; one more is closed as soon as it is accepted. Default
    /// 10,000; never more than half of the process's limit of open files.
    pub max_connections: usize,
    /// The most connections at a time from one address, or from one /64 of IPv6. Default 256.
    pub max_connections_per_address: usize,
    /// Where connections come from that speak for many clients, and which therefore do not count
    /// by address: whom they speak for is read from `X-Forwarded-For`, where each of them has to add
    /// the address it was called from, or to set it anew. Default loopback, `127.0.0.0/8` and
    /// `::1/128`.
    pub trusted_proxies: Vec<Network>,
    /// The most concurrent requests on one HTTP/2 connection. Default 100.
    pub max_streams: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            first_byte_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_mins(2),
            max_age: Duration::from_mins(30),
            max_requests: 10_000,
            max_connections: 10_000,
            max_connections_per_address: 256,
            trusted_proxies: Network::loopback(),
            max_streams: 100,
        }
    }
}

impl Config {
    /// The names of the limits that are 0, which would let nothing pass.
    pub fn zeros(&self) -> Vec<&'static str> {
        let times = [
            ("first_byte_timeout", self.first_byte_timeout),
            ("header_timeout", self.header_timeout),
            ("body_idle_timeout", self.body_idle_timeout),
            ("write_timeout", self.write_timeout),
            ("idle_timeout", self.idle_timeout),
            ("max_age", self.max_age),
        ];
        let counts = [
            ("max_requests", self.max_requests == 0),
            ("max_connections", self.max_connections == 0),
            ("max_connections_per_address", self.max_connections_per_address == 0),
            ("max_streams", self.max_streams == 0),
        ];
        let times = times.into_iter().map(|(name, time)| (name, time.is_zero()));
        times.chain(counts).filter_map(|(name, zero)| zero.then_some(name)).collect()
    }

    /// The most connections that this process can afford.
    pub(super) fn seats(&self) -> usize {
        let files = open_files_limit().unwrap_or(usize::MAX);
        self.max_connections.min(files / 2)
    }

    /// Often enough to close a connection within a second of its limit.
    pub(super) fn check_period(&self) -> Duration {
        let connection = self.first_byte_timeout.min(self.header_timeout).min(self.max_age);
        let shortest = connection.min(self.write_timeout).min(self.idle_timeout);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_millis(800))
    }
}

/// The soft limit of open files; `None` where `/proc` does not tell.
pub(crate) fn open_files_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}
