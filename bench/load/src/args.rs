//! The command line, which is also part of the record.

use crate::client::Target;
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use http::Uri;
use jiff::SignedDuration;
use serde::{Serialize, Serializer};
use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

/// Drives `POST /v1/orders` (and reads) on a running order service and checks every answer.
#[derive(Debug, Parser, Serialize)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

/// How requests come.
#[derive(Debug, Serialize, Subcommand)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// Each caller sends its next request when the last one is answered.
    Closed(Closed),
    /// Requests follow a schedule, whether or not the service keeps up.
    Open(Open),
}

#[derive(Debug, Group, Serialize)]
pub(crate) struct Closed {
    /// Callers, each with one connection
    #[arg(long, default_value_t = 64, value_parser = parse_count)]
    pub(crate) callers: usize,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Group, Serialize)]
pub(crate) struct Open {
    /// Requests per second
    #[arg(long, default_value_t = 1000.0, value_parser = parse_rate)]
    pub(crate) rate: f64,
    /// How the arrivals are spread
    #[arg(long, value_enum, default_value_t = Spread::Poisson)]
    pub(crate) arrivals: Spread,
    /// Most requests in flight, each on a connection of its own; later arrivals start late
    #[arg(long, default_value_t = 256, value_parser = parse_count)]
    pub(crate) in_flight: usize,
    /// An arrival that could not start within this time is never sent, and counted
    #[arg(long, default_value = "10s")]
    pub(crate) max_lag: Span,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spread {
    Poisson,
    Uniform,
}

#[derive(Debug, Group, Serialize)]
pub(crate) struct Common {
    /// Where the service listens
    #[arg(long, default_value = "http://127.0.0.1:8080", value_parser = parse_url)]
    #[serde(serialize_with = "displayed")]
    pub(crate) url: Uri,
    /// API key, sent as a bearer token
    #[arg(long)]
    #[serde(skip)]
    pub(crate) key: Option<ApiKey>,
    /// NDJSON file of baskets, as made by bench/data
    #[arg(long, required_unless_present = "synthetic", conflicts_with = "synthetic")]
    pub(crate) baskets: Option<PathBuf>,
    /// Use small made-up baskets
    #[arg(long)]
    pub(crate) synthetic: bool,
    /// Most baskets to keep in memory; they are sent in turn
    #[arg(long, default_value_t = 10_000, value_parser = parse_count)]
    pub(crate) limit: usize,
    /// Also send baskets without `expected_total`; a 422 for one of those is no error
    #[arg(long)]
    pub(crate) all_baskets: bool,
    /// Send the external references of the file; a basket sent twice is then refused
    #[arg(long)]
    pub(crate) keep_references: bool,
    /// Length of the measured part
    #[arg(long, default_value = "30s")]
    pub(crate) duration: Span,
    /// Length of the part before it, which is checked but not measured
    #[arg(long, default_value = "3s")]
    pub(crate) warmup: Span,
    /// Longest wait for one connection or answer
    #[arg(long, default_value = "10s")]
    pub(crate) timeout: Span,
    /// Threads of the generator
    #[arg(long, default_value_t = 1, value_parser = parse_count)]
    pub(crate) threads: usize,
    /// Seed of arrivals, mix and samples
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Part of every idempotency key and reference; new for each run unless given
    #[arg(long, value_parser = parse_run_id)]
    pub(crate) run_id: Option<String>,
    /// Share of requests that read an order made by this run
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) read_percent: u8,
    /// Share of creates that are sent a second time with the same key
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) replay_percent: u8,
    /// Orders kept at random to be read: by the read mix, and all of them at the end
    #[arg(long, default_value_t = 1000)]
    pub(crate) sample: usize,
    /// Count 429 and 503 as refusals instead of errors
    #[arg(long)]
    pub(crate) allow_overload: bool,
    /// Process of the service, to sample its CPU, memory and writes
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub(crate) pid: Option<u32>,
    /// Count the service's fsyncs with strace, which slows the service
    #[arg(long, requires = "pid")]
    pub(crate) count_fsyncs: bool,
    /// Write the record here
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Commit of the service for the record; taken from git in the current directory unless given
    #[arg(long)]
    pub(crate) commit: Option<String>,
}

impl Args {
    pub(crate) fn common(&self) -> &Common {
        match &self.mode {
            Mode::Closed(closed) => &closed.common,
            Mode::Open(open) => &open.common,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.mode, Mode::Open(_))
    }
}

/// A length of time as people write it: `30s`, `500ms`, `1m 30s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let signed: SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
        let span =
            Duration::try_from(signed).map_err(|_| "a time cannot be negative".to_owned())?;
        if span > Duration::from_hours(24) {
            return Err("more than a day".to_owned());
        }
        Ok(Self(span))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:?}", self.0))
    }
}

/// A secret: neither the record nor `Debug` shows it.
#[derive(Clone)]
pub(crate) struct ApiKey(pub(crate) String);

impl FromStr for ApiKey {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

fn displayed<S: Serializer>(url: &Uri, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    Target::check(&url)?;
    Ok(url)
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.001..=10_000_000.0).contains(&rate) { Ok(rate) } else { Err("not a rate".to_owned()) }
}

/// The key built from it must stay within 16–128 visible ASCII characters.
fn parse_run_id(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if plain && (1..=64).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err("1 to 64 letters, digits and dashes".to_owned())
}
