//! What the run cost the service and the generator.

use crate::{process::Usage, record::ReadBack, tally::Tally};
use serde::Serialize;
use std::time::Duration;

const STRACE_NOTE: &str =
    "strace stopped the service at every fsync: times and rates of this run are too slow";

/// What was sampled around the run.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) before: (Usage, Option<Usage>),
    pub(crate) after: (Usage, Option<Usage>),
    pub(crate) fsyncs: Option<u64>,
    pub(crate) read_back: ReadBack,
}

#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) cpu_s: f64,
    pub(crate) cpu_us_per_request: f64,
    pub(crate) rss_kib: u64,
    /// Since the start of the process.
    pub(crate) rss_peak_kib: u64,
    pub(crate) write_bytes: Option<u64>,
    pub(crate) fsyncs: Option<u64>,
    pub(crate) fsyncs_per_order: Option<f64>,
    pub(crate) fsyncs_note: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Client {
    pub(crate) cpu_s: f64,
    /// 1 is a whole core. Near the number of its threads, the generator is the limit.
    pub(crate) cores_busy: f64,
    /// Of what it and the service used together.
    pub(crate) share_of_cpu: Option<f64>,
    pub(crate) saturated: bool,
}

impl Server {
    pub(crate) fn new(used: &Used, requests: u64, tally: &Tally) -> Option<Self> {
        let (before, after) = (used.before.1?, used.after.1?);
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        let orders = tally.acknowledged as f64;
        Some(Self {
            cpu_s: cpu,
            cpu_us_per_request: ratio(cpu * 1e6, requests as f64),
            rss_kib: after.rss_kib,
            rss_peak_kib: after.rss_peak_kib,
            write_bytes: after.write_bytes.zip(before.write_bytes).map(|(b, a)| b - a),
            fsyncs: used.fsyncs,
            fsyncs_per_order: used.fsyncs.map(|fsyncs| ratio(fsyncs as f64, orders)),
            fsyncs_note: used.fsyncs.map(|_| STRACE_NOTE),
        })
    }
}

impl Client {
    pub(crate) fn new(used: &Used, elapsed: Duration, threads: usize) -> Self {
        let spent = |before: Usage, after: Usage| after.cpu.saturating_sub(before.cpu);
        let own = spent(used.before.0, used.after.0).as_secs_f64();
        let server = used.before.1.zip(used.after.1).map(|(before, after)| spent(before, after));
        let cores_busy = ratio(own, elapsed.as_secs_f64());
        Self {
            cpu_s: own,
            cores_busy,
            share_of_cpu: server.map(|server| ratio(own, own + server.as_secs_f64())),
            saturated: cores_busy > 0.85 * threads as f64,
        }
    }
}

/// Zero over zero is zero here: nothing was measured.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
