//! What a seed means: the weather of a run, and what every client will do.

use std::time::Duration;

use jiff::SignedDuration;
use orders::{domain::IdempotencyKey, usecase::Policy};

use crate::{Faults, Stream};

/// The stream that plans are drawn from.
const PLAN: u64 = 10;

/// One run, decided before it starts.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) faults: Faults,
    pub(super) policy: Policy,
    pub(super) number_space: u64,
    /// How long a request may take, and how long its client waits for it.
    pub(super) deadline: Duration,
    pub(super) patience: Duration,
    pub(super) scripts: Vec<Vec<Step>>,
    pub(super) chaos: Vec<(Duration, Chaos)>,
    pub(super) readers: Vec<Reader>,
}

/// Something that happens to the process or to its clock.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chaos {
    /// It ends without notice and a new one starts.
    Crash,
    /// The wall clock jumps.
    Jump(SignedDuration),
    /// What is past its time is forgotten.
    Forget,
}

/// Somebody who follows the feed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    pub(super) tenant: usize,
    pub(super) limit: usize,
    pub(super) starts: Duration,
    pub(super) pause: Duration,
}

/// One thing a client does.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Create(Create, Manner),
    Verb(Verb, Manner),
    /// The client's last verb again; with other words when told so.
    VerbAgain {
        other: bool,
        manner: Manner,
    },
    Get {
        target: usize,
    },
    History {
        target: usize,
    },
    Foreign {
        target: usize,
    },
    List {
        limit: usize,
    },
    Pause(Duration),
}

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Create {
    pub(super) key: u32,
    pub(super) customer: u32,
    pub(super) reference: Option<u32>,
}

/// What is done to one of the orders that the tenant knows, counted from the newest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verb {
    pub(super) target: usize,
    pub(super) action: Action,
    pub(super) words: u32,
    pub(super) key: Option<u32>,
    pub(super) condition: Condition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Confirm,
    Cancel,
    Note,
}

/// What `If-Match` says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition {
    None,
    Known,
    Stale,
}

/// How a request is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// How often it is tried while its outcome is open.
    pub(super) tries: u32,
    /// Whether it is sent twice at once.
    pub(super) twin: bool,
    /// By which credential.
    pub(super) principal: usize,
}

/// The key of this number. The tenants share the numbers, and so do the operations.
pub(super) fn key(number: u32) -> IdempotencyKey {
    format!("key-{number:012}").parse().expect("a key")
}

impl Plan {
    /// The plan of a seed with about this many orders.
    pub(super) fn new(seed: u64, orders: usize) -> Self {
        let mut draw = Stream::new(seed, PLAN);
        let clients = 1 + draw.index(16);
        let chaotic = draw.chance(700);
        let millis = Duration::from_millis;
        let remember = [7 * 86_400_000, 200, 60, 20, 5][[0, 0, 0, 1, 2, 3, 4][draw.index(7)]];
        let keep = [90 * 86_400_000, 90 * 86_400_000, 100, 20][draw.index(4)];
        let policy = Policy {
            remember_keys: SignedDuration::from_millis(remember),
            keep_events: SignedDuration::from_millis(keep),
            ..Policy::default()
        };
        let (faults, number_space) = (faults(&mut draw), draw.pick(&[1_u64 << 40, 1 << 40, 16, 6]));
        let deadline = millis(draw.pick(&[10_000, 2_000, 50, 10, 1]));
        let patience = millis(draw.pick(&[20_000, 2_000, 30, 4]));
        let readers = readers(&mut draw);
        let chaos = if chaotic { chaos(&mut draw) } else { Vec::new() };
        let references = draw.pick(&[0, 0, 3, 40, 1_000]);
        let share = orders.div_ceil(clients);
        let scripts = (0..clients).map(|client| {
            let mut writer = Writer { draw: &mut draw, client, references, steps: Vec::new() };
            writer.script(share.min(orders.saturating_sub(client * share)));
            writer.steps
        });
        let scripts = scripts.collect();
        let number_space = number_space.saturating_mul(orders as u64);
        Self { seed, faults, policy, number_space, deadline, patience, scripts, chaos, readers }
    }
}

impl Plan {
    /// The plan in a line, without its scripts.
    pub(super) fn weather(&self) -> String {
        let Self { faults, policy, number_space, deadline, patience, readers, chaos, .. } = self;
        format!(
            "{} clients, {faults:?}, {policy:?}, {number_space} numbers, deadline {deadline:?}, \
             patience {patience:?}, {readers:?}, {chaos:?}",
            self.scripts.len()
        )
    }
}

fn faults(draw: &mut Stream) -> Faults {
    let latency = Duration::from_micros(draw.pick(&[0, 500, 3_000, 3_000, 20_000]));
    if draw.chance(150) {
        return Faults { latency, ..Faults::default() };
    }
    let mut rate = |most: u64| if draw.chance(500) { draw.below(most) } else { 0 };
    Faults {
        latency,
        busy: rate(150),
        unavailable: rate(150),
        full: rate(60),
        lost: rate(300),
        late: rate(150),
        reads: rate(150),
    }
}

fn readers(draw: &mut Stream) -> Vec<Reader> {
    let count = 2 + draw.index(2);
    let reader = |index: usize| Reader {
        tenant: index % 2,
        limit: draw.pick(&[1, 3, 50]),
        starts: Duration::from_millis(draw.pick(&[0, 0, 40, 150])),
        pause: Duration::from_millis(draw.pick(&[1, 5, 30])),
    };
    (0..count).map(reader).collect()
}

fn chaos(draw: &mut Stream) -> Vec<(Duration, Chaos)> {
    let count = draw.index(7);
    let within = draw.pick(&[30, 100, 400]);
    let happens = |_| {
        let after = Duration::from_millis(draw.below(within));
        let far = draw.pick(&[5, 50, 1_000, 3_600_000, 315_360_000_000]);
        let far = SignedDuration::from_millis(far);
        let what = match draw.below(6) {
            0..3 => Chaos::Crash,
            3 => Chaos::Forget,
            4 => Chaos::Jump(far),
            _ if draw.chance(500) => Chaos::Jump(-far),
            _ => Chaos::Forget,
        };
        (after, what)
    };
    (0..count).map(happens).collect()
}

/// Writes a client's script.
struct Writer<'a> {
    draw: &'a mut Stream,
    client: usize,
    references: u64,
    steps: Vec<Step>,
}

impl Writer<'_> {
    fn script(&mut self, orders: usize) {
        let mut placed: Vec<Create> = Vec::with_capacity(orders);
        for index in 0..orders {
            // Neighbours are of different tenants and use the same keys.
            let key = u32::try_from((self.client / 2) * 10_000 + index).unwrap_or(0);
            let refers = self.references > 0 && self.draw.chance(600);
            let create = Create {
                key,
                customer: u32::try_from(self.draw.below(50)).unwrap_or(0),
                reference: refers.then(|| self.number(self.references)),
            };
            placed.push(create);
            let manner = self.manner();
            self.steps.push(Step::Create(create, manner));
            if self.draw.chance(250) {
                let again = placed[self.draw.index(placed.len())];
                let other = self.draw.chance(350);
                let again =
                    if other { Create { customer: again.customer + 50, ..again } } else { again };
                let manner = self.manner();
                self.steps.push(Step::Create(again, manner));
            }
            for _ in 0..self.draw.below(3) {
                self.verb(key);
            }
            self.look();
        }
    }

    fn verb(&mut self, key: u32) {
        let own = self.number(3);
        let verb = Verb {
            target: if self.draw.chance(700) { self.draw.index(3) } else { self.draw.index(30) },
            action: self.draw.pick(&[Action::Confirm, Action::Cancel, Action::Note, Action::Note]),
            words: self.number(3),
            // Sometimes one that a create used, or one of a verb of before.
            key: self.draw.chance(600).then_some(key.saturating_sub(own)),
            condition: match self.draw.below(10) {
                0..2 => Condition::Known,
                2 => Condition::Stale,
                _ => Condition::None,
            },
        };
        let manner = self.manner();
        self.steps.push(Step::Verb(verb, manner));
        if self.draw.chance(250) {
            let (other, manner) = (self.draw.chance(250), self.manner());
            self.steps.push(Step::VerbAgain { other, manner });
        }
    }

    fn look(&mut self) {
        let target = self.draw.index(30);
        match self.draw.below(40) {
            0..6 => self.steps.push(Step::Get { target }),
            6..9 => self.steps.push(Step::History { target }),
            9..12 => self.steps.push(Step::Foreign { target }),
            12 => self.steps.push(Step::List { limit: 1 + target }),
            13..20 => self.steps.push(Step::Pause(Duration::from_millis(1 + target as u64 / 2))),
            _ => {}
        }
    }

    fn manner(&mut self) -> Manner {
        Manner {
            tries: 1 + self.number(5),
            twin: self.draw.chance(120),
            principal: self.draw.index(2),
        }
    }

    fn number(&mut self, below: u64) -> u32 {
        u32::try_from(self.draw.below(below)).unwrap_or(0)
    }
}
