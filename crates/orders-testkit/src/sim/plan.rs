//! What a seed means: the weather of a run, and what every client will do.

mod script;
mod weather;

use std::time::Duration;

use jiff::SignedDuration;
use orders::{domain::IdempotencyKey, usecase::Policy};

use crate::{BusFaults, BusMode, Faults, GatewayFaults, GatewayMode, Stream, Webhooks};

/// The streams that plans are drawn from.
const PLAN: u64 = 10;
const MONEY: u64 = 11;
const BUS: u64 = 12;

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
    pub(super) provider: Provider,
    /// Nothing where nobody publishes the feed.
    pub(super) bus: Option<Bus>,
    /// The workers of each process.
    pub(super) processes: Vec<Vec<Worker>>,
    pub(super) heals: Heals,
    pub(super) scripts: Vec<Vec<Step>>,
    /// What happens when, in order.
    pub(super) chaos: Vec<(Duration, Chaos)>,
    pub(super) readers: Vec<Reader>,
}

/// The weather at the payment provider.
#[derive(Clone, Debug)]
pub(super) struct Provider {
    pub(super) faults: GatewayFaults,
    pub(super) webhooks: Webhooks,
    /// How long it knows a key, and how far inside of that the service stays.
    pub(super) window: SignedDuration,
    pub(super) margin: SignedDuration,
}

/// The weather at the bus, and who publishes to it.
#[derive(Clone, Debug)]
pub(super) struct Bus {
    pub(super) faults: BusFaults,
    pub(super) partitions: usize,
    /// Spread over the processes.
    pub(super) couriers: Vec<Courier>,
}

/// Somebody who carries the feed out when nobody else does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Courier {
    /// How many events a round publishes at most.
    pub(super) page: usize,
    /// How long a round may take.
    pub(super) patience: Duration,
}

/// Somebody who takes tasks and carries them on, one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worker {
    /// How many it takes at a time; it holds their leases while they wait for their turn.
    pub(super) batch: usize,
    pub(super) pause: Duration,
    /// How long one task may take.
    pub(super) patience: Duration,
}

/// What gets well after the clients are done, and what stays broken for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heals {
    /// Else it stays as it is until all that is owed is done, if the provider heals.
    pub(super) store: bool,
    /// Else it stays like this.
    pub(super) provider: Option<GatewayMode>,
    /// And likewise the bus.
    pub(super) bus: Option<BusMode>,
}

/// Something that happens to a process, to its clock or to the provider.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chaos {
    /// A process ends without notice and a new one starts.
    Crash(usize),
    /// The wall clock jumps.
    Jump(SignedDuration),
    /// What is past its time is forgotten.
    Forget,
    /// From now on the provider is like this.
    Provider(GatewayMode),
    /// From now on the bus is like this.
    Bus(BusMode),
    /// Whoever carries the feed out stands still, and hears only some time after it goes on that another
    /// may have taken over.
    Stop { stands: Duration, unaware: Duration },
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
    /// Waits a while for what came of the payments of the client's newest order.
    Await,
    /// Two verbs on one order at once.
    Race(Verb, Verb, Manner),
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

/// What is done to one of the orders that the tenant knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verb {
    pub(super) target: Target,
    pub(super) action: Action,
    /// Which of the ways to say it: the reason or the text, the instrument, the amount.
    pub(super) words: u32,
    pub(super) key: Option<u32>,
    pub(super) condition: Condition,
}

/// An order, counted from the newest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// Of those that the tenant knows.
    Known(usize),
    /// Of those that the client made itself.
    Own(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Confirm,
    Cancel,
    Note,
    Pay,
    Capture,
    Refund,
    RefundPiece,
    Record,
    Fulfill,
    CancelPiece,
    Return,
}

/// From these words on a cancel and a refund are of pieces: one, and one more with each.
pub(super) const ONE_PIECE: u32 = 100;

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
        let mut money = Stream::new(seed, MONEY);
        let mut carry = Stream::new(seed, BUS);
        let clients = 1 + draw.index(16);
        let chaotic = draw.chance(700);
        let millis = Duration::from_millis;
        let (faults, heals) = (weather::store(&mut draw), weather::heals(&mut money));
        let bus = weather::bus(&mut carry);
        let heals = Heals { bus: weather::bus_stays(&mut carry), ..heals };
        let policy = weather::policy(&mut draw, &mut money, heals);
        let number_space = draw.pick(&[1_u64 << 40, 1 << 40, 16, 6]);
        let deadline = millis(draw.pick(&[10_000, 2_000, 50, 10, 1]));
        let patience = millis(draw.pick(&[20_000, 2_000, 30, 4]));
        let readers = weather::readers(&mut draw);
        let provider = weather::provider(&mut money);
        let processes = weather::processes(&mut money, heals);
        let style = script::Style::new(&mut draw, &mut money);
        let mut chaos = if chaotic { weather::chaos(&mut draw) } else { Vec::new() };
        if style.pays() {
            chaos.extend(weather::outages(&mut money, style.pace(), processes.len()));
        }
        if let Some(bus) = &bus {
            chaos.extend(weather::at_the_bus(&mut carry, bus, style.pace()));
        }
        chaos.sort_by_key(|(at, _)| *at);
        let share = orders.div_ceil(clients);
        let scripts = (0..clients).map(|client| {
            let orders = share.min(orders.saturating_sub(client * share));
            script::write(&mut draw, &mut money, style, client, orders)
        });
        let scripts = scripts.collect();
        let number_space = number_space.saturating_mul(orders as u64);
        Self {
            seed,
            faults,
            policy,
            number_space,
            deadline,
            patience,
            provider,
            bus,
            processes,
            heals,
            scripts,
            chaos,
            readers,
        }
    }

    /// The plan, line by line; the scripts only when they are short.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { policy, number_space, deadline, patience, heals, .. } = self;
        let mut lines = vec![
            format!("store    {:?}", self.faults),
            format!("provider {:?}", self.provider),
            format!("bus      {:?}", self.bus),
            format!(
                "limits   {policy:?}, {number_space} numbers, deadline {deadline:?}, patience {patience:?}"
            ),
            format!("heals    {heals:?}"),
        ];
        let workers = self.processes.iter().enumerate();
        lines.extend(workers.map(|(at, workers)| format!("process  {at} {workers:?}")));
        lines.extend(self.readers.iter().map(|reader| format!("reader   {reader:?}")));
        lines.extend(self.chaos.iter().map(|(at, what)| format!("at {at:?} {what:?}")));
        for (client, steps) in self.scripts.iter().enumerate().filter(|(_, s)| !s.is_empty()) {
            lines.push(format!("client   {client}: {} steps", steps.len()));
            if self.steps() <= SHORT {
                lines.extend(steps.iter().map(|step| format!("         {step:?}")));
            }
        }
        lines
    }

    /// The couriers of a process, by number.
    pub(super) fn couriers(&self, process: usize) -> Vec<(usize, Courier)> {
        let couriers = self.bus.iter().flat_map(|bus| &bus.couriers).copied().enumerate();
        couriers.filter(|(number, _)| number % self.processes.len() == process).collect()
    }

    /// Whether the whole feed must be on the bus in the end.
    pub(super) const fn publishes_all(&self) -> bool {
        self.bus.is_some() && self.heals.bus.is_none()
    }

    /// How many things the clients do.
    pub(super) fn steps(&self) -> usize {
        self.scripts.iter().map(Vec::len).sum()
    }
}

/// The most steps that are worth reading.
const SHORT: usize = 60;
