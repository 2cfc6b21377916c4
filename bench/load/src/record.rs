//! What a run found: the JSON record, and the source of the table.

use crate::{
    args::Args,
    machine::Machine,
    plan::Plan,
    process::Usage,
    tally::{Fault, Measured, Tally},
};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

const STRACE_NOTE: &str =
    "strace stopped the service at every fsync: times and rates of this run are too slow";

/// Rates and times are of the measured part; errors and fsyncs of the whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    pub(crate) at: String,
    pub(crate) run_id: String,
    pub(crate) commit: Option<String>,
    pub(crate) machine: Machine,
    pub(crate) arguments: &'a Args,
    pub(crate) seed: u64,
    pub(crate) baskets: Basis,
    pub(crate) elapsed_s: f64,
    pub(crate) requests: u64,
    pub(crate) ok: u64,
    pub(crate) refused: u64,
    /// Errors of the whole run.
    pub(crate) failed: u64,
    pub(crate) unsent: u64,
    pub(crate) reconnects: u64,
    /// Right answers, replays and reads included.
    pub(crate) throughput_per_s: f64,
    pub(crate) operations: BTreeMap<&'static str, Operation>,
    pub(crate) starts: Starts,
    pub(crate) server: Option<Server>,
    pub(crate) client: Client,
    pub(crate) read_back: ReadBack,
    pub(crate) errors: BTreeMap<String, Fault>,
}

/// What was sampled around the run.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) before: (Usage, Option<Usage>),
    pub(crate) after: (Usage, Option<Usage>),
    pub(crate) fsyncs: Option<u64>,
    pub(crate) read_back: ReadBack,
}

#[derive(Debug, Serialize)]
pub(crate) struct Basis {
    pub(crate) count: usize,
    pub(crate) skipped: usize,
    pub(crate) mean_bytes: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Operation {
    pub(crate) requests: u64,
    pub(crate) ok: u64,
    pub(crate) refused: u64,
    pub(crate) latency_us: Spread,
    pub(crate) service_time_us: Spread,
}

#[derive(Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// How far behind their time requests started.
#[derive(Debug, Serialize)]
pub(crate) struct Starts {
    pub(crate) late_by_over_1ms: u64,
    pub(crate) lateness_us: Spread,
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

#[derive(Debug, Serialize)]
pub(crate) struct ReadBack {
    pub(crate) sampled: usize,
    pub(crate) matched: usize,
}

impl<'a> Record<'a> {
    pub(crate) fn new(
        args: &'a Args,
        at: Timestamp,
        commit: Option<String>,
        plan: &Plan,
        used: Used,
    ) -> Self {
        let mut tally = plan.tally();
        let elapsed = tally.last_done - tally.measured_from;
        let parts = [("create", &tally.create), ("read", &tally.read), ("replay", &tally.replay)];
        let sum = |of: fn(&Measured) -> u64| parts.iter().map(|(_, part)| of(part)).sum::<u64>();
        let (requests, ok) = (sum(|part| part.requests), sum(|part| part.ok));
        let server = Server::new(&used, requests, &tally);
        Self {
            at: at.to_string(),
            run_id: plan.run_id.clone(),
            commit,
            machine: Machine::this(),
            arguments: args,
            seed: args.common().seed,
            baskets: Basis {
                count: plan.baskets.all.len(),
                skipped: plan.baskets.skipped,
                mean_bytes: plan.baskets.mean_bytes(),
            },
            elapsed_s: elapsed.as_secs_f64(),
            requests,
            ok,
            refused: sum(|part| part.refused),
            failed: tally.errors.values().map(|fault| fault.count).sum(),
            unsent: tally.unsent,
            reconnects: tally.reconnects,
            throughput_per_s: ratio(ok as f64, elapsed.as_secs_f64()),
            operations: parts
                .into_iter()
                .filter(|(_, part)| part.requests > 0)
                .map(|(name, part)| (name, Operation::new(part)))
                .collect(),
            starts: Starts { late_by_over_1ms: tally.late, lateness_us: (&tally.lateness).into() },
            client: Client::new(&used, elapsed, args.common().threads),
            server,
            read_back: used.read_back,
            errors: std::mem::take(&mut tally.errors),
        }
    }

    /// Every answer was there and right.
    pub(crate) fn clean(&self) -> bool {
        self.errors.is_empty() && self.ok > 0
    }
}

impl Operation {
    fn new(measured: &Measured) -> Self {
        Self {
            requests: measured.requests,
            ok: measured.ok,
            refused: measured.refused,
            latency_us: (&measured.latency).into(),
            service_time_us: (&measured.service).into(),
        }
    }
}

impl From<&Histogram<u64>> for Spread {
    fn from(times: &Histogram<u64>) -> Self {
        let at = |quantile| times.value_at_quantile(quantile);
        Self {
            mean: times.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: times.max(),
        }
    }
}

impl Server {
    fn new(used: &Used, requests: u64, tally: &Tally) -> Option<Self> {
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
    fn new(used: &Used, elapsed: Duration, threads: usize) -> Self {
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
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
