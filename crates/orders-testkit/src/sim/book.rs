//! What the clients were told, in the order in which they were told it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use orders::{
    Error, Refusal,
    domain::{OrderId, TenantId, Version},
    ports::{Event, Leased, Operation, TaskId},
    usecase::Done,
};

/// The most violations that one run reports.
const MAX_VIOLATIONS: usize = 20;

/// Everything the clients of one run know.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) tenants: [TenantId; 2],
    pub(super) tries: Vec<Try>,
    /// Per tenant, the orders that were acknowledged, oldest first.
    pub(super) known: [Vec<OrderId>; 2],
    /// The highest version of each order that was acknowledged.
    pub(super) acknowledged: BTreeMap<OrderId, Version>,
    /// When forgetting took place, by the wall clock.
    pub(super) forgets: Vec<Timestamp>,
    pub(super) feeds: Vec<Feed>,
    pub(super) violations: Vec<String>,
    pub(super) crashes: u64,
    /// The newest lease of each task, and since when it says that it may have been sent.
    pub(super) leases: BTreeMap<TaskId, (u64, Option<Timestamp>)>,
    epochs: BTreeSet<(TaskId, u64)>,
    /// Where the wall clock was before it was last moved, at the furthest.
    pub(super) furthest: Timestamp,
    /// Attempts that wait for a person at the end.
    pub(super) parked: u64,
    /// Events on the bus, how often one came there again, and orders whose last state there is not
    /// their newest one.
    pub(super) published: u64,
    pub(super) repeats: u64,
    /// Whether the wall clock was ever turned back.
    pub(super) turned_back: bool,
    /// What happened, when somebody wants to read it.
    pub(super) log: Option<Vec<String>>,
    hash: u64,
    tick: u64,
}

/// One request, sent once.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) asked: Asked,
    pub(super) started: u64,
    pub(super) ended: u64,
    /// The wall clock's bounds while it ran; unknown when the clock was moved meanwhile.
    pub(super) wall: Option<(Timestamp, Timestamp)>,
    pub(super) outcome: Outcome,
}

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) tenant: usize,
    pub(super) principal: usize,
    pub(super) operation: Operation,
    pub(super) key: Option<u32>,
    pub(super) content: Content,
    pub(super) if_match: Option<Version>,
}

/// The part of a request that its fingerprint tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Create { customer: u32, reference: Option<u32> },
    Verb { order: OrderId, words: u32 },
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done {
        order: OrderId,
        version: Version,
        replayed: bool,
    },
    Refused {
        refusal: Refusal,
        replayed: bool,
    },
    KeyReused,
    KeyExpired(OrderId),
    Mismatch(Version),
    NotFound,
    /// Surely not written, for a reason that passes.
    NotWritten,
    /// The service does not know.
    Unknown,
    /// The client does not know: the process crashed, or the client hung up.
    Gone,
    /// Something that cannot be.
    Absurd,
}

impl Outcome {
    /// Whether a client with a key tries again.
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Self::NotWritten | Self::Unknown | Self::Gone)
    }

    /// Whether a decision was made, now or before.
    pub(super) const fn is_decided(self) -> bool {
        matches!(self, Self::Done { .. } | Self::Refused { .. })
    }

    fn code(self) -> u64 {
        match self {
            Self::Done { order, version, replayed } => {
                low(order) ^ (version.get() << 8) ^ u64::from(replayed)
            }
            Self::Refused { refusal, replayed } => (kind(refusal) << 8) ^ (2 + u64::from(replayed)),
            Self::KeyReused => 50,
            Self::KeyExpired(order) => 0x51 ^ low(order),
            Self::Mismatch(current) => 0x52 ^ (current.get() << 8),
            Self::NotFound => 53,
            Self::NotWritten => 54,
            Self::Unknown => 55,
            Self::Gone => 56,
            Self::Absurd => 57,
        }
    }
}

/// One of these, counted from the newest; the oldest when there are not as many.
pub(super) fn nth_back(orders: &[OrderId], back: usize) -> Option<OrderId> {
    orders.get((orders.len().checked_sub(1)?).saturating_sub(back)).copied()
}

pub(super) fn low(order: OrderId) -> u64 {
    order.0.as_u64_pair().1
}

fn kind(refusal: Refusal) -> u64 {
    match refusal {
        Refusal::IllegalTransition { .. } => 0,
        Refusal::NotesFull => 1,
        Refusal::ExternalReferenceTaken { order } => low(order),
        Refusal::PaymentInProgress => 2,
        Refusal::PaymentInDoubt => 3,
        Refusal::AmountNotLeft { left } => left.minor.unsigned_abs().rotate_left(8),
        Refusal::NoSuchPayment => 4,
        Refusal::TooManyPayments => 5,
        Refusal::NotParked => 6,
        Refusal::HandedOver => 7,
        Refusal::NoSuchLine { line } => 8 + u64::from(line).rotate_left(8),
        Refusal::PiecesNotLeft { line, left } => {
            9 + u64::from(line).rotate_left(8) + u64::from(left).rotate_left(24)
        }
        Refusal::MovedElsewhere => 10,
    }
}

impl From<Result<Done, Error>> for Outcome {
    fn from(result: Result<Done, Error>) -> Self {
        match result {
            Ok(Done { record, replayed }) => {
                Self::Done { order: record.order.id, version: record.order.version, replayed }
            }
            Err(Error::Refused { refusal, replayed }) => Self::Refused { refusal, replayed },
            Err(Error::KeyReused) => Self::KeyReused,
            Err(Error::KeyExpired { order }) => Self::KeyExpired(order),
            Err(Error::VersionMismatch { current }) => Self::Mismatch(current),
            Err(Error::NotFound) => Self::NotFound,
            Err(
                Error::NotWritten(_)
                | Error::DeadlineExceeded
                | Error::Unavailable(_)
                | Error::Contended,
            ) => Self::NotWritten,
            Err(Error::OutcomeUnknown) => Self::Unknown,
            Err(
                Error::Unauthenticated
                | Error::Invalid(_)
                | Error::TotalMismatch { .. }
                | Error::CursorTooOld { .. },
            ) => Self::Absurd,
        }
    }
}

/// What one reader saw of the feed.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) tenant: usize,
    pub(super) seen: Vec<Event>,
    /// Positions it was told that it missed: after the first, before the second.
    pub(super) gaps: Vec<(u64, u64)>,
    /// Up to where it looked.
    pub(super) next: u64,
}

impl Book {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            tenants: ["acme", "rival"].map(|name| name.parse().expect("a tenant id")),
            tries: Vec::new(),
            known: [Vec::new(), Vec::new()],
            acknowledged: BTreeMap::new(),
            forgets: Vec::new(),
            feeds: Vec::new(),
            violations: Vec::new(),
            crashes: 0,
            leases: BTreeMap::new(),
            epochs: BTreeSet::new(),
            furthest: Timestamp::MIN,
            parked: 0,
            published: 0,
            repeats: 0,
            turned_back: false,
            log: None,
            hash: seed,
            tick: 0,
        }
    }

    pub(super) fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    pub(super) fn violation(&mut self, what: String) {
        // What stays wrong is seen wrong at each step.
        if self.violations.len() < MAX_VIOLATIONS && !self.violations.contains(&what) {
            self.violations.push(what);
        }
    }

    /// Notes a lease that was handed out; none is handed out twice. Answers may overtake each other.
    pub(super) fn leased(&mut self, leased: &Leased) {
        let Leased { task, epoch } = leased;
        self.mix(task.id.0.as_u64_pair().1 ^ epoch);
        let (newest, sent) = self.leases.entry(task.id).or_default();
        if *epoch > *newest {
            (*newest, *sent) = (*epoch, task.progress.sent);
        }
        if !self.epochs.insert((task.id, *epoch)) {
            self.violation(format!("{}: lease {epoch} was handed out twice", task.order));
        }
    }

    /// Whether somebody else was given the task since.
    pub(super) fn is_outdated(&self, leased: &Leased) -> bool {
        self.leases.get(&leased.task.id).is_some_and(|(newest, _)| *newest > leased.epoch)
    }

    /// Notes a request that is being sent; the answer is its number, which is its request id.
    pub(super) fn send(&mut self, asked: Asked, now: Timestamp) -> usize {
        let started = self.tick();
        let wall = Some((now, now));
        let outcome = Outcome::Gone;
        self.tries.push(Try { asked, started, ended: u64::MAX, wall, outcome });
        self.tries.len() - 1
    }

    /// Notes its outcome. `now` is nothing when the clock was moved meanwhile.
    pub(super) fn answer(&mut self, request: usize, now: Option<Timestamp>, outcome: Outcome) {
        let ended = self.tick();
        self.mix(request as u64);
        self.mix(outcome.code());
        self.mix(now.map_or(0, |now| now.as_microsecond().unsigned_abs()));
        let sent = &mut self.tries[request];
        sent.ended = ended;
        sent.outcome = outcome;
        sent.wall = now.and_then(|now| sent.wall.map(|(from, _)| (from, now.max(from))));
        let asked = sent.asked;
        if let Outcome::Done { order, version, .. } = outcome {
            self.acknowledge(asked.tenant, order, version);
        }
    }

    fn acknowledge(&mut self, tenant: usize, order: OrderId, version: Version) {
        if let Some(highest) = self.acknowledged.get_mut(&order) {
            *highest = (*highest).max(version);
            return;
        }
        self.acknowledged.insert(order, version);
        self.known[tenant].push(order);
    }

    /// An order that the tenant knows, counted from the newest.
    pub(super) fn target(&self, tenant: usize, back: usize) -> Option<OrderId> {
        nth_back(&self.known[tenant], back)
    }

    pub(super) fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x100_0000_01b3).rotate_left(23);
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }
}
