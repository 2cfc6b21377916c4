//! One sequence, played three times side by side: over HTTP, over gRPC, and over both in turn. Each has
//! a world of its own; all of them draw the same ids and stand at the same time. What is asked is the same,
//! and each is shown another credential of whoever asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::SignedDuration;
use mainstay_context::{Context, TraceContext};
use orders::{
    domain::Position,
    ports::{AuditSource as _, Dossier, Page, Store as _},
};
use orders_testkit::{Fault, GatewayFault, World};
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

use super::{
    asked::{Asked, Operation},
    bugs::Bug,
    grpc, http,
    known::Known,
    signed::Signed,
    steps::{By, Step, sequence},
};
use crate::{shop::Shop, who};

/// How often a sequence that fails is played again to make it shorter.
const SHRINKS: usize = 300;
/// More orders than a sequence makes.
const MANY: usize = 10_000;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    Http,
    Grpc,
}

impl Face {
    pub(super) async fn send(self, shop: &Shop, asked: &Asked) -> Value {
        match self {
            Self::Http => Box::pin(http::send(shop, asked)).await,
            Self::Grpc => Box::pin(grpc::send(shop, asked)).await,
        }
    }
}

/// What was played.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sequences: u64,
    /// For each operation how often it was done, and how often refused.
    pub(super) operations: BTreeMap<Operation, (u64, u64)>,
    /// How often each code was told.
    pub(super) codes: BTreeMap<String, u64>,
    pub(super) replays: u64,
}

impl Counts {
    fn add(&mut self, operation: Operation, answer: &Value) {
        let (done, refused) = self.operations.entry(operation).or_default();
        let code = answer["body"]["code"].as_str();
        *(if code.is_some() { refused } else { done }) += 1;
        if let Some(code) = code {
            *self.codes.entry(code.to_owned()).or_default() += 1;
        }
        self.replays += u64::from(answer["replayed"] == true);
    }

    fn extend(&mut self, more: Self) {
        self.sequences += 1;
        self.replays += more.replays;
        for (operation, (done, refused)) in more.operations {
            let sum = self.operations.entry(operation).or_default();
            *sum = (sum.0 + done, sum.1 + refused);
        }
        for (code, count) in more.codes {
            *self.codes.entry(code).or_default() += count;
        }
    }

    pub(super) fn report(&self) -> Value {
        let of = |(operation, (done, refused)): (&Operation, &(u64, u64))| {
            (operation.call().to_owned(), json!({ "done": done, "refused": refused }))
        };
        let operations: serde_json::Map<String, Value> = self.operations.iter().map(of).collect();
        let commands: u64 = self.operations.values().map(|(done, refused)| done + refused).sum();
        json!({
            "sequences": self.sequences,
            "commands": commands,
            "replays": self.replays,
            "operations": operations,
            "codes": self.codes,
        })
    }
}

/// A sequence on which the protocols differ.
#[derive(Debug)]
pub(super) struct Differs {
    pub(super) number: u64,
    pub(super) reason: String,
}

/// Plays these sequences, until the protocols differ on one.
pub(super) async fn sweep(
    (seed, first, sequences): (u64, u64, u64),
    steps: usize,
    bug: Option<Bug>,
) -> Result<Counts, Differs> {
    let mut counts = Counts::default();
    for number in first..first + sequences {
        let played = sequence(seed, number, steps).current();
        match Box::pin(play(&played, bug)).await {
            Ok(more) => counts.extend(more),
            Err(reason) => return Err(Differs { number, reason }),
        }
    }
    Ok(counts)
}

/// A sequence on which the protocols differ, as short as it could be made, and how long it was.
pub(super) async fn shrink(
    (seed, steps): (u64, usize),
    differs: Differs,
    bug: Option<Bug>,
) -> (Vec<Step>, usize, String) {
    let Differs { number, mut reason } = differs;
    let mut tree = sequence(seed, number, steps);
    let mut shortest = tree.current();
    let before = shortest.len();
    let mut goes_on = tree.simplify();
    for _ in 0..SHRINKS {
        if !goes_on {
            break;
        }
        let tried = tree.current();
        let played = Box::pin(play(&tried, bug)).await;
        goes_on = match played {
            Ok(_) => tree.complicate(),
            Err(why) => {
                (shortest, reason) = (tried, why);
                tree.simplify()
            }
        };
    }
    (shortest, before, reason)
}

/// Plays a sequence, and says where the protocols differ.
pub(super) async fn play(steps: &[Step], bug: Option<Bug>) -> Result<Counts, String> {
    let mut run = Run {
        shops: [(); 3].map(|()| who::shop()),
        signed: <[Signed; 3]>::default(),
        bug,
        known: Known::default(),
        counts: Counts::default(),
    };
    for (at, step) in steps.iter().enumerate() {
        for part in step.parts() {
            let played = Box::pin(run.part(&part)).await;
            played.map_err(|why| format!("step {at}, {part:?}: {why}"))?;
        }
    }
    Box::pin(run.ends_alike()).await?;
    Ok(run.counts)
}

struct Run {
    shops: [Shop; 3],
    /// What each of them told of who did what.
    signed: [Signed; 3],
    bug: Option<Bug>,
    known: Known,
    counts: Counts,
}

impl Run {
    async fn part(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Ask { by, what } => {
                let asked = self.known.asks(by.whose, what);
                self.ask(asked, *by).await
            }
            Step::Again { by, asked } => match self.known.asks_again(*asked) {
                Some(asked) => self.ask(asked, *by).await,
                None => Ok(()),
            },
            Step::Work
            | Step::ProviderFails(_)
            | Step::StoreFails(_)
            | Step::Hours(_)
            | Step::Forget
            | Step::Tale { .. } => {
                for shop in &self.shops {
                    befall(&shop.world, step).await;
                }
                Ok(())
            }
        }
    }

    /// Asks all three, and compares the answers.
    async fn ask(&mut self, asked: Asked, by: By) -> Result<(), String> {
        let in_turn = if by.grpc { Face::Grpc } else { Face::Http };
        let as_by = |at| Asked { credential: by.credential(asked.whose, at), ..asked.clone() };
        let http = self.send(0, Face::Http, as_by(0)).await;
        for (at, face) in [(1, Face::Grpc), (2, in_turn)] {
            let other = self.send(at, face, as_by(at)).await;
            if let Some(difference) = difference("", &http, &other) {
                let told = format!("over HTTP: {http:#}\nover {face:?}: {other:#}");
                return Err(format!("{difference}\n{asked:#?}\n{by:?}\n{told}"));
            }
        }
        self.counts.add(asked.operation, &http);
        self.known.learn(&asked, &http);
        Ok(())
    }

    /// The answer of one of them, without who did what.
    async fn send(&mut self, at: usize, face: Face, asked: Asked) -> Value {
        let shop = &self.shops[at];
        let mut answer = match self.bug.filter(|_| face == Face::Grpc) {
            Some(bug) => bug.hear(face.send(shop, &bug.ask(asked.clone())).await),
            None => face.send(shop, &asked).await,
        };
        self.signed[at].take(&asked, &mut answer);
        answer
    }

    /// Compares all that is stored, and all that the provider did.
    async fn ends_alike(&self) -> Result<(), String> {
        let [http, others @ ..] = &self.shops;
        let expected = self.stored(0).await?;
        for (at, (other, face)) in others.iter().zip(["gRPC", "both"]).enumerate() {
            let found = self.stored(at + 1).await?;
            for (expected, found) in expected.iter().zip(&found) {
                if !is_same(expected, found) {
                    return Err(format!("over HTTP {expected:#?}\nover {face} {found:#?}"));
                }
            }
            let counted = (http.world.census().await, other.world.census().await);
            let (expected, found) = (counted.0.expect("a census"), counted.1.expect("a census"));
            if expected != found {
                return Err(format!("over HTTP {expected:#?}\nover {face} {found:#?}"));
            }
            let (expected, found) = (http.world.charges(), other.world.charges());
            if expected != found {
                return Err(format!("over HTTP {expected:#?}\nover {face} {found:#?}"));
            }
        }
        Ok(())
    }

    /// All that one of them keeps about each order, without who did what: that must be as it was asked.
    async fn stored(&self, at: usize) -> Result<Vec<Dossier>, String> {
        placed(&self.shops[at].world);
        let mut all = stored(&self.shops[at].world).await;
        self.signed[at].check(&mut all).map_err(|why| format!("of service {at}: {why}"))?;
        Ok(all)
    }
}

/// Where two values differ first, if they do. What is absent is as if it were null.
fn difference(at: &str, one: &Value, other: &Value) -> Option<String> {
    static NULL: Value = Value::Null;
    if one == other {
        return None;
    }
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            names.into_iter().find_map(|name| {
                let (one, other) = (one.get(name), other.get(name));
                let (one, other) = (one.unwrap_or(&NULL), other.unwrap_or(&NULL));
                difference(&format!("{at}/{name}"), one, other)
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs.find_map(|(place, (one, other))| difference(&format!("{at}/{place}"), one, other))
        }
        (one, other) => Some(format!("{at} is {one}, and {other}")),
    }
}

/// Lets every event have its place in the feed. PostgreSQL gives them a moment after their commits, and
/// before it tells where the feed ends.
fn placed(world: &World) {
    let _looked = world.events_after(Position(0)).now_or_never();
}

/// All that is kept about each order. Spans are left out: every request draws its own; receipts stand in one
/// order, which not every store gives them.
async fn stored(world: &World) -> Vec<Dossier> {
    let mut all = world.dossiers(Page { after: None, limit: MANY }).await.expect("the dossiers");
    let spanless = |trace: TraceContext| trace.child_span([1; 8]);
    for dossier in &mut all {
        dossier.receipts.sort_by(|one, other| one.key.cmp(&other.key));
    }
    for told in all.iter_mut().flat_map(|dossier| dossier.history.iter_mut()) {
        told.entry.trace = spanless(told.entry.trace);
        if let Some(event) = &mut told.event {
            event.trace = spanless(event.trace);
        }
    }
    all
}

fn is_same(one: &Dossier, other: &Dossier) -> bool {
    let Dossier { id, record, derived, history, receipts, tasks, unreadable } = one;
    let told = history.iter().map(|told| (&told.entry, told.position, &told.event));
    *id == other.id
        && *record == other.record
        && *derived == other.derived
        && told.eq(other.history.iter().map(|told| (&told.entry, told.position, &told.event)))
        && *receipts == other.receipts
        && *tasks == other.tasks
        && *unreadable == other.unreadable
}

/// Lets a world meet what nobody asks for.
async fn befall(world: &World, step: &Step) {
    match step {
        Step::Work => work(world).await,
        Step::ProviderFails(how) => provider_fails(world, *how),
        Step::StoreFails(how) => store_fails(world, *how),
        Step::Hours(hours) => {
            let hours = [1, 25, 8 * 24, 92 * 24][usize::from(hours % 4)];
            world.clock().jump(SignedDuration::from_hours(hours));
        }
        Step::Forget => forget(world).await,
        Step::Ask { .. } | Step::Again { .. } | Step::Tale { .. } => {
            unreachable!("{step:?} asks for something")
        }
    }
}

fn worker() -> Context {
    Context::new("worker".parse().unwrap())
}

/// Does what is due, as far as the store lets it.
async fn work(world: &World) {
    let (orders, cx) = (world.orders(), worker());
    while let Ok(due) = orders.take_tasks(&cx, 100).await {
        if due.is_empty() {
            return;
        }
        for leased in due {
            drop(orders.carry_on(&cx, &leased).await);
        }
    }
}

async fn forget(world: &World) {
    // Only what has its place can be forgotten.
    placed(world);
    let (orders, cx) = (world.orders(), worker());
    while let Ok(forgotten) = orders.forget(&cx).await {
        if forgotten.events == 0 {
            return;
        }
    }
}

fn provider_fails(world: &World, how: u8) {
    let faults = [
        GatewayFault::Declined,
        GatewayFault::ReplyLost,
        GatewayFault::RequestLost,
        GatewayFault::NotSent,
        GatewayFault::LookUpFails,
        GatewayFault::LookUpContradicts,
    ];
    world.gateway_fails_next(faults[usize::from(how) % faults.len()]);
}

fn store_fails(world: &World, how: u8) {
    // Longer than any request may take.
    let long = Duration::from_mins(1);
    match how % 9 {
        0 => world.fail_next(Fault::Busy),
        1 => world.fail_next(Fault::Full),
        2 => world.fail_next(Fault::Unavailable),
        3 => world.fail_next(Fault::ReplyLost),
        // As often as it is tried, so that nobody knows what came of it.
        4 => (0..4).for_each(|_| world.fail_next(Fault::RequestLost)),
        5 => world.fail_next(Fault::Slow(long)),
        6 => world.fail_next(Fault::ReadBusy),
        7 => world.fail_next(Fault::ReadUnavailable),
        _ => world.fail_next(Fault::ReadSlow(long)),
    }
}
