//! What is counted during a run.

use crate::{
    args::Common,
    check::{Placed, Wrong},
    client::Lost,
    rng::Rng,
};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Display, time::Duration};
use tokio::time::Instant;

/// Above it a start had to wait for a connection, or the generator was behind.
const LATE: Duration = Duration::from_millis(1);

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Read,
    /// A create sent again with the same key, right after its answer.
    Replay,
}

/// What a request was for, and whose it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) operation: Operation,
    pub(crate) group: &'a str,
}

/// When a request was due, left, and ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) intended: Instant,
    pub(crate) sent: Instant,
    pub(crate) done: Instant,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum End {
    Right,
    /// Not done, as the arguments allow; by its code.
    Refused(String),
    Wrong(Wrong),
    Lost(Lost),
}

/// One operation, or one group of tenants, within the measured part.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) requests: u64,
    pub(crate) ok: u64,
    /// Of these, those that came soon enough.
    pub(crate) in_time: u64,
    pub(crate) refused: u64,
    /// From the intended start, so a stall counts for all who had to wait behind it. Right answers and timeouts.
    pub(crate) latency: Histogram<u64>,
    /// From the actual start: what a generator would see that waits for the service.
    pub(crate) service: Histogram<u64>,
}

/// One kind of error.
#[derive(Debug, Serialize)]
pub(crate) struct Fault {
    pub(crate) count: u64,
    pub(crate) example: String,
}

/// Orders kept at random: every acknowledged order is in it with the same probability.
#[derive(Debug)]
pub(crate) struct Reservoir {
    pub(crate) kept: Vec<Placed>,
    capacity: usize,
    seen: u64,
    rng: Rng,
}

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) measured_from: Instant,
    pub(crate) last_done: Instant,
    pub(crate) create: Measured,
    pub(crate) read: Measured,
    pub(crate) replay: Measured,
    /// The same requests, by the groups of their tenants.
    pub(crate) groups: BTreeMap<String, Measured>,
    /// From the actual start, by code: they count for no latency.
    pub(crate) refusals: BTreeMap<String, Histogram<u64>>,
    within: Option<Duration>,
    /// Actual less intended start.
    pub(crate) lateness: Histogram<u64>,
    pub(crate) late: u64,
    /// Arrivals that could not start in time and were never sent.
    pub(crate) unsent: u64,
    pub(crate) reconnects: u64,
    /// Of the whole run, the warm-up and the reading back included.
    pub(crate) errors: BTreeMap<String, Fault>,
    /// Of the whole run.
    pub(crate) acknowledged: u64,
    /// Number and id of every order acknowledged, where the arguments ask for them.
    pub(crate) named: Option<Vec<(u64, String)>>,
    pub(crate) orders: Reservoir,
}

impl Tally {
    pub(crate) fn new(common: &Common, measured_from: Instant, rng: Rng) -> Self {
        let orders = Reservoir { kept: Vec::new(), capacity: common.sample, seen: 0, rng };
        let groups = common.tenants.iter().map(|tenant| (tenant.group.clone(), Measured::new()));
        Self {
            measured_from,
            last_done: measured_from,
            create: Measured::new(),
            read: Measured::new(),
            replay: Measured::new(),
            groups: groups.collect(),
            refusals: BTreeMap::new(),
            within: common.within.map(|span| span.0),
            lateness: histogram(),
            late: 0,
            unsent: 0,
            reconnects: 0,
            errors: BTreeMap::new(),
            acknowledged: 0,
            named: common.acknowledged.as_ref().map(|_| Vec::new()),
            orders,
        }
    }

    /// Counts a request and how it ended; `about` names it in the example of an error.
    pub(crate) fn count(&mut self, asked: Asked<'_>, times: Times, end: End, about: &dyn Display) {
        if times.intended >= self.measured_from {
            self.measure(asked, times, &end);
        }
        match end {
            End::Right | End::Refused(_) => {}
            End::Wrong(wrong) => self.error(&wrong.kind, || format!("{about}: {}", wrong.detail)),
            End::Lost(lost) => self.error(lost.kind(), || format!("{about}: {}", lost.detail())),
        }
    }

    pub(crate) fn error(&mut self, kind: &str, example: impl FnOnce() -> String) {
        if let Some(fault) = self.errors.get_mut(kind) {
            fault.count += 1;
        } else {
            self.errors.insert(kind.to_owned(), Fault { count: 1, example: example() });
        }
    }

    pub(crate) fn unsent(&mut self, intended: Instant) {
        self.unsent += u64::from(intended >= self.measured_from);
    }

    pub(crate) fn acknowledge(&mut self, placed: Placed) {
        self.acknowledged += 1;
        if let Some(named) = &mut self.named {
            named.push((placed.sequence, placed.id.clone()));
        }
        self.orders.offer(placed);
    }

    fn measure(&mut self, asked: Asked<'_>, times: Times, end: &End) {
        if asked.operation != Operation::Replay {
            let late = times.sent.saturating_duration_since(times.intended);
            self.lateness.saturating_record(micros(late));
            self.late += u64::from(late > LATE);
        }
        self.last_done = self.last_done.max(times.done);
        let measured = match asked.operation {
            Operation::Create => &mut self.create,
            Operation::Read => &mut self.read,
            Operation::Replay => &mut self.replay,
        };
        measured.add(times, end, self.within);
        if let Some(group) = self.groups.get_mut(asked.group) {
            group.add(times, end, self.within);
        }
        if let End::Refused(code) = end {
            let refused = self.refusals.entry(code.clone()).or_insert_with(histogram);
            refused.saturating_record(micros(times.done - times.sent));
        }
    }
}

impl Measured {
    fn new() -> Self {
        let (latency, service) = (histogram(), histogram());
        Self { requests: 0, ok: 0, in_time: 0, refused: 0, latency, service }
    }

    fn add(&mut self, times: Times, end: &End, within: Option<Duration>) {
        let latency = times.done - times.intended;
        let right = matches!(end, End::Right);
        self.requests += 1;
        self.ok += u64::from(right);
        self.in_time += u64::from(right && within.is_none_or(|within| latency <= within));
        self.refused += u64::from(matches!(end, End::Refused(_)));
        // An early refusal or error would flatter the percentiles; leaving out timeouts would too.
        if matches!(end, End::Right | End::Lost(Lost::Timeout(_))) {
            self.latency.saturating_record(micros(latency));
            self.service.saturating_record(micros(times.done - times.sent));
        }
    }
}

impl Reservoir {
    /// One of the orders kept, by a number at will.
    pub(crate) fn pick(&self, rng: &mut Rng) -> Option<Placed> {
        let count = u64::try_from(self.kept.len()).ok().filter(|&count| count > 0)?;
        self.kept.get(usize::try_from(rng.below(count)).ok()?).cloned()
    }

    /// Algorithm R (Vitter, 1985).
    fn offer(&mut self, placed: Placed) {
        self.seen += 1;
        if self.kept.len() < self.capacity {
            self.kept.push(placed);
        } else if let Some(old) = self.kept.get_mut(self.rng.below(self.seen) as usize) {
            *old = placed;
        }
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// Three digits from a microsecond to ten minutes.
fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants that the crate accepts")]
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("valid bounds")
}
