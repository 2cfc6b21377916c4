//! The command line, which is also part of the record.

use crate::{
    tenants::Tenant,
    values::{ApiKey, Span, displayed, parse_count, parse_rate, parse_run_id, parse_url},
};
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use http::Uri;
use serde::Serialize;
use std::path::PathBuf;

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

#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
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
    /// A tenant's part of the requests; give one for each. The record adds up each group
    #[arg(long = "tenant", value_name = "GROUP:WEIGHT:KEY", conflicts_with = "key")]
    pub(crate) tenants: Vec<Tenant>,
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
    /// Sent with each request, in milliseconds, as the time that its answer is wanted in
    #[arg(long)]
    pub(crate) deadline: Option<Span>,
    /// A right answer that comes later than this after it was due does not count as in time
    #[arg(long)]
    pub(crate) within: Option<Span>,
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
    /// Count 429, 503 and 504 as refusals, by their codes, instead of errors
    #[arg(long)]
    pub(crate) allow_overload: bool,
    /// Process of the service, to sample its CPU, memory and writes
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub(crate) pid: Option<u32>,
    /// Count the service's fsyncs with strace, which slows the service
    #[arg(long, requires = "pid")]
    pub(crate) count_fsyncs: bool,
    /// Write the key and the id of every acknowledged order here, one a line
    #[arg(long)]
    pub(crate) acknowledged: Option<PathBuf>,
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
