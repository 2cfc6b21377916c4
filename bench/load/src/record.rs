//! What a run found: the JSON record, and the source of the table.

use crate::{
    args::Args,
    costs::{Client, Server, Used, ratio},
    machine::Machine,
    plan::Plan,
    tally::{Fault, Measured},
};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

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
    /// Right answers that came within `--within`; all of them without it.
    pub(crate) in_time: u64,
    pub(crate) refused: u64,
    /// Errors of the whole run.
    pub(crate) failed: u64,
    pub(crate) unsent: u64,
    pub(crate) reconnects: u64,
    /// Right answers, replays and reads included.
    pub(crate) throughput_per_s: f64,
    /// Those in time by the length of the measured part: by when they were due, not by when they came.
    pub(crate) in_time_per_s: f64,
    pub(crate) operations: BTreeMap<&'static str, Operation>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) groups: BTreeMap<String, Operation>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) refusals: BTreeMap<String, Refusals>,
    pub(crate) starts: Starts,
    pub(crate) server: Option<Server>,
    pub(crate) client: Client,
    pub(crate) read_back: ReadBack,
    pub(crate) errors: BTreeMap<String, Fault>,
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
    pub(crate) in_time: u64,
    pub(crate) refused: u64,
    pub(crate) latency_us: Spread,
    pub(crate) service_time_us: Spread,
}

/// Of one code, and how long they took from sending.
#[derive(Debug, Serialize)]
pub(crate) struct Refusals {
    pub(crate) count: u64,
    pub(crate) time_us: Spread,
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
        let in_time = sum(|part| part.in_time);
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
            in_time,
            refused: sum(|part| part.refused),
            failed: tally.errors.values().map(|fault| fault.count).sum(),
            unsent: tally.unsent,
            reconnects: tally.reconnects,
            throughput_per_s: ratio(ok as f64, elapsed.as_secs_f64()),
            in_time_per_s: ratio(in_time as f64, args.common().duration.0.as_secs_f64()),
            operations: parts
                .into_iter()
                .filter(|(_, part)| part.requests > 0)
                .map(|(name, part)| (name, Operation::new(part)))
                .collect(),
            groups: tally
                .groups
                .iter()
                .map(|(group, part)| (group.clone(), Operation::new(part)))
                .collect(),
            refusals: tally
                .refusals
                .iter()
                .map(|(code, times)| (code.clone(), Refusals::new(times)))
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
            in_time: measured.in_time,
            refused: measured.refused,
            latency_us: (&measured.latency).into(),
            service_time_us: (&measured.service).into(),
        }
    }
}

impl Refusals {
    fn new(times: &Histogram<u64>) -> Self {
        Self { count: times.len(), time_us: times.into() }
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
