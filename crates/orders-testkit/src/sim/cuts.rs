//! What is left out of a plan, so that a run that fails can be told in few words.
//!
//! A cut names a part of the plan that the seed makes: the same seed with the same cuts is always the
//! same run.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use super::plan::{Bus, Plan};
use crate::{Faults, GatewayFaults, Webhooks};

/// Everything that is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts(pub(super) BTreeSet<Cut>);

/// One thing that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    /// A kind of fault or limit, by its place in [`FEATURES`].
    Feature(usize),
    /// A client.
    Client(usize),
    /// Something that happens to a process, the clock or the provider.
    Chaos(usize),
    /// A reader of the feed.
    Reader(usize),
    /// A worker of a process.
    Worker(usize, usize),
    /// A step of a client.
    Step(usize, usize),
}

/// How a plan is made without a kind of fault.
type Calm = fn(&mut Plan);

/// What can be left out by name.
const FEATURES: [(&str, Calm); 17] = [
    ("store-faults", |plan| {
        plan.faults = Faults { latency: plan.faults.latency, ..Faults::default() };
    }),
    ("store-lost", |plan| (plan.faults.lost, plan.faults.late) = (0, 0)),
    ("store-refuses", |plan| {
        (plan.faults.busy, plan.faults.unavailable, plan.faults.full) = (0, 0, 0);
    }),
    ("store-reads", |plan| plan.faults.reads = 0),
    ("store-latency", |plan| plan.faults.latency = Duration::ZERO),
    ("provider-faults", |plan| {
        let latency = plan.provider.faults.latency;
        plan.provider.faults = GatewayFaults { latency, ..GatewayFaults::default() };
    }),
    ("provider-lost", |plan| (plan.provider.faults.lost, plan.provider.faults.hang) = (0, 0)),
    ("provider-away", |plan| {
        (plan.provider.faults.not_sent, plan.provider.faults.look_ups) = (0, 0);
    }),
    ("provider-declines", |plan| {
        (plan.provider.faults.declined, plan.provider.faults.declined_later) = (0, 0);
    }),
    ("provider-latency", |plan| plan.provider.faults.latency = Duration::ZERO),
    ("webhooks", |plan| plan.provider.webhooks = Webhooks::default()),
    ("broken-for-ever", |plan| {
        (plan.heals.store, plan.heals.provider, plan.heals.bus) = (true, None, None);
    }),
    ("bus", |plan| plan.bus = None),
    ("bus-lost", |plan| {
        on_the_bus(plan, |bus| (bus.faults.lost, bus.faults.late, bus.faults.slow) = (0, 0, 0));
    }),
    ("bus-fails", |plan| on_the_bus(plan, |bus| (bus.faults.failed, bus.faults.fatal) = (0, 0))),
    ("bus-latency", |plan| on_the_bus(plan, |bus| bus.faults.latency = Duration::ZERO)),
    ("bus-relays", |plan| on_the_bus(plan, |bus| bus.couriers.truncate(1))),
];

fn on_the_bus(plan: &mut Plan, cut: fn(&mut Bus)) {
    if let Some(bus) = &mut plan.bus {
        cut(bus);
    }
}

impl Cuts {
    /// The plan without what is left out.
    pub(super) fn apply(&self, mut plan: Plan) -> Plan {
        for cut in &self.0 {
            if let Cut::Feature(at) = cut {
                FEATURES[*at].1(&mut plan);
            }
        }
        for (client, steps) in plan.scripts.iter_mut().enumerate() {
            let gone = self.0.contains(&Cut::Client(client));
            keep(steps, |step| !gone && !self.0.contains(&Cut::Step(client, step)));
        }
        for (process, workers) in plan.processes.iter_mut().enumerate() {
            keep(workers, |worker| !self.0.contains(&Cut::Worker(process, worker)));
        }
        keep(&mut plan.chaos, |at| !self.0.contains(&Cut::Chaos(at)));
        keep(&mut plan.readers, |at| !self.0.contains(&Cut::Reader(at)));
        plan
    }

    pub(super) fn and(&self, more: &[Cut]) -> Self {
        Self(self.0.iter().chain(more).copied().collect())
    }

    /// Everything of a plan that can be left out, in groups, the coarse ones first.
    pub(super) fn all(plan: &Plan) -> [Vec<Cut>; 5] {
        let workers = plan.processes.iter().enumerate();
        let workers =
            workers.flat_map(|(at, workers)| (0..workers.len()).map(move |w| Cut::Worker(at, w)));
        let steps = plan.scripts.iter().enumerate();
        let steps = steps.flat_map(|(at, steps)| (0..steps.len()).map(move |s| Cut::Step(at, s)));
        let readers = (0..plan.readers.len()).map(Cut::Reader);
        [
            (0..FEATURES.len()).map(Cut::Feature).collect(),
            (0..plan.scripts.len()).map(Cut::Client).collect(),
            (0..plan.chaos.len()).map(Cut::Chaos).collect(),
            readers.chain(workers).collect(),
            steps.collect(),
        ]
    }
}

/// Keeps what is at these places.
fn keep<T>(list: &mut Vec<T>, wanted: impl Fn(usize) -> bool) {
    let mut at = 0..;
    list.retain(|_| at.next().is_some_and(&wanted));
}

/// `store-lost,c1-3,x0,r1,w0.1,s2.0-17`: features by name, and places of clients, chaos, readers,
/// workers and steps, with neighbours as ranges.
impl fmt::Display for Cuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<(String, usize, usize)> = Vec::new();
        for cut in &self.0 {
            let (name, at) = match *cut {
                Cut::Feature(at) => (FEATURES[at].0.to_owned(), usize::MAX),
                Cut::Client(at) => ("c".to_owned(), at),
                Cut::Chaos(at) => ("x".to_owned(), at),
                Cut::Reader(at) => ("r".to_owned(), at),
                Cut::Worker(process, at) => (format!("w{process}."), at),
                Cut::Step(client, at) => (format!("s{client}."), at),
            };
            match words.last_mut() {
                Some((last, _, to)) if *last == name && *to + 1 == at => *to = at,
                _ => words.push((name, at, at)),
            }
        }
        for (place, (name, from, to)) in words.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match (*from, *to) {
                (usize::MAX, _) => write!(f, "{comma}{name}")?,
                (from, to) if from == to => write!(f, "{comma}{name}{from}")?,
                (from, to) => write!(f, "{comma}{name}{from}-{to}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Cuts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cuts = BTreeSet::new();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            if let Some(at) = FEATURES.iter().position(|(name, _)| *name == word) {
                cuts.insert(Cut::Feature(at));
                continue;
            }
            cuts.extend(places(word).ok_or_else(|| format!("{word} names nothing of a plan"))?);
        }
        Ok(Self(cuts))
    }
}

fn places(word: &str) -> Option<Vec<Cut>> {
    let kind = word.chars().next()?;
    let rest = word.get(1..)?;
    let (of, range) = rest.split_once('.').unwrap_or(("0", rest));
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    let (of, from, to): (usize, usize, usize) =
        (of.parse().ok()?, from.parse().ok()?, to.parse().ok()?);
    let cut = |at| match kind {
        'c' => Some(Cut::Client(at)),
        'x' => Some(Cut::Chaos(at)),
        'r' => Some(Cut::Reader(at)),
        'w' => Some(Cut::Worker(of, at)),
        's' => Some(Cut::Step(of, at)),
        _ => None,
    };
    (from..=to).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_can_be_written_down_and_read_back() {
        let text = "store-lost,webhooks,c1-3,c7,x0,r1,w0.1,s2.0-17,s3.4";
        let cuts: Cuts = text.parse().unwrap();
        assert_eq!(cuts.to_string(), text);
        assert!("store-last".parse::<Cuts>().is_err());
        assert!("s2.x".parse::<Cuts>().is_err());
    }

    #[test]
    fn cuts_take_away_what_they_name_and_nothing_else() {
        let plan = Plan::new(7, 30);
        let whole = Cuts::default().apply(plan.clone());
        assert_eq!(format!("{plan:?}"), format!("{whole:?}"));
        let cut = "s0.1,x0".parse::<Cuts>().unwrap().apply(plan.clone());
        assert_eq!(cut.scripts[0].len() + 1, plan.scripts[0].len());
        assert_eq!(format!("{:?}", cut.scripts[0][1]), format!("{:?}", plan.scripts[0][2]));
        assert_eq!(cut.chaos.len() + 1, plan.chaos.len());
        for group in Cuts::all(&plan) {
            let cuts = Cuts(group.into_iter().collect());
            assert_eq!(cuts.to_string().parse::<Cuts>().unwrap(), cuts);
        }
    }
}
