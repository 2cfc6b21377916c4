//! At the end of a run: what clients were told, held against what the store has.

use std::collections::BTreeMap;

use orders::{
    Refusal,
    domain::{Command, Entry, OrderId, Position, State, Version},
    ports::{AuditSource as _, Dossier, Operation, Page},
};

use super::{
    book::{Asked, Book, Content, Outcome, Try},
    bus, keys, ledger,
    plan::Plan,
};
use crate::World;

/// One history row of the store.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) order: OrderId,
    pub(super) tenant: usize,
    pub(super) position: u64,
    pub(super) entry: Entry,
}

impl Row {
    fn line(&self) -> String {
        let Entry { version, command, at, request_id, .. } = &self.entry;
        let (position, order) = (self.position, self.order);
        format!("{position} {order} v{version} {command} by {request_id} at {at:.6}")
    }
}

/// The store, indexed for judging.
#[derive(Debug)]
pub(super) struct Truth {
    /// All history rows by position.
    pub(super) rows: Vec<Row>,
    /// Per request, the indices of the rows it wrote.
    pub(super) by_request: Vec<Vec<usize>>,
    pub(super) orders: BTreeMap<OrderId, Dossier>,
}

impl Truth {
    async fn read(world: &World, book: &mut Book) -> Self {
        let page = Page { after: None, limit: usize::MAX };
        let dossiers = world.dossiers(page).await.expect("a world can be read");
        let mut truth = Self {
            rows: Vec::new(),
            by_request: vec![Vec::new(); book.tries.len()],
            orders: BTreeMap::new(),
        };
        for dossier in dossiers {
            let Ok(record) = &dossier.record else { continue };
            let tenant = usize::from(record.order.tenant != book.tenants[0]);
            for told in &dossier.history {
                let position = told.position.map_or(0, |position: Position| position.0);
                let entry = told.entry.clone();
                truth.rows.push(Row { order: dossier.id, tenant, position, entry });
            }
            truth.orders.insert(dossier.id, dossier);
        }
        truth.rows.sort_by_key(|row| row.position);
        for (at, row) in truth.rows.iter().enumerate() {
            if is_own(&row.entry) {
                continue;
            }
            let request = usize::from_str_radix(row.entry.request_id.as_str(), 16).ok();
            match request.and_then(|request| truth.by_request.get_mut(request)) {
                Some(rows) => rows.push(at),
                None => book.violation(format!("{}: a row that nobody asked for", row.order)),
            }
        }
        truth
    }

    pub(super) fn state_seen(&self, order: OrderId, state: State) -> bool {
        let dossier = self.orders.get(&order);
        dossier.is_some_and(|d| d.history.iter().any(|told| told.entry.to == state))
    }

    pub(super) fn version(&self, order: OrderId) -> Option<Version> {
        Some(self.orders.get(&order)?.history.last()?.entry.version)
    }
}

/// Judges a run that has come to rest.
pub(super) async fn judge(world: &World, book: &mut Book, plan: &Plan) {
    let truth = Truth::read(world, book).await;
    let mut wrong = Vec::new();
    for (request, sent) in book.tries.iter().enumerate() {
        if let Err(why) = answered(&truth, request, sent) {
            wrong.push(format!("request {request:x}, {:?}: {:?}: {why}", sent.asked, sent.outcome));
        }
    }
    orders(&truth, book, &mut wrong);
    feeds(&truth, book, &mut wrong);
    keys::judge(&truth, book, plan.policy.remember_keys, &mut wrong);
    ledger::judge(world, &truth, book, &mut wrong);
    bus::judge(world, &truth, plan.publishes_all(), book, &mut wrong);
    for what in wrong {
        book.violation(what);
    }
    if let Some(log) = &mut book.log {
        log.extend(truth.rows.iter().map(Row::line));
    }
    for row in &truth.rows {
        book.mix(row.position ^ super::book::low(row.order));
    }
}

/// What a request wrote against what its client was told.
fn answered(truth: &Truth, request: usize, sent: &Try) -> Result<(), &'static str> {
    let written: Vec<&Row> = truth.by_request[request].iter().map(|at| &truth.rows[*at]).collect();
    if written.iter().any(|row| !is_of(row, &sent.asked, truth)) {
        return Err("it wrote something else than it was asked");
    }
    let outcome = sent.outcome;
    if let Outcome::Done { order, version, replayed: false } = outcome {
        return match written[..] {
            [row] if (row.order, row.entry.version) == (order, version) => Ok(()),
            [] => Err("acknowledged and not there"),
            _ => Err("acknowledged as something else, or twice there"),
        };
    }
    match (outcome, written.len()) {
        (Outcome::Absurd, _) => Err("that answer cannot be"),
        (Outcome::Unknown | Outcome::Gone, 0..=1) => Ok(()),
        (Outcome::Unknown | Outcome::Gone, _) => Err("written twice"),
        (outcome, 0) => plausible(truth, sent, outcome),
        _ => Err("told that it is not written now, and it is there"),
    }
}

/// Whether a row is what was asked for.
fn is_of(row: &Row, asked: &Asked, truth: &Truth) -> bool {
    let content = match asked.content {
        Content::Create { customer, reference } => {
            truth.orders.get(&row.order).is_some_and(|d| holds(d, customer, reference))
        }
        Content::Verb { order, .. } => row.order == order,
    };
    let actor = ["till-0", "till-1"][asked.principal];
    row.tenant == asked.tenant
        && commands(asked.operation).contains(&row.entry.command)
        && content
        && *row.entry.actor == *actor
}

fn holds(dossier: &Dossier, customer: u32, reference: Option<u32>) -> bool {
    let number = |text: &str| text.get(2..).and_then(|digits| digits.parse::<u32>().ok());
    dossier.record.as_ref().is_ok_and(|record| {
        let order = &record.order;
        let refers = order.external_reference.as_ref().and_then(|r| number(r.as_str()));
        number(order.customer_id.as_str()) == Some(customer) && refers == reference
    })
}

/// Whether the service did it by itself.
pub(super) fn is_own(entry: &Entry) -> bool {
    matches!(&*entry.actor, "worker" | "gateway")
}

/// What an operation may turn out to be.
const fn commands(operation: Operation) -> &'static [Command] {
    match operation {
        Operation::Create => &[Command::Place],
        Operation::Confirm => &[Command::Confirm],
        Operation::Cancel => &[
            Command::Cancel,
            Command::BeginCancel,
            Command::CancelLines,
            Command::Confirm,
            Command::Complete,
        ],
        Operation::AddNote => &[Command::AddNote],
        Operation::Pay => &[Command::Pay],
        Operation::RecordPayment => &[Command::RecordPayment, Command::Confirm, Command::Complete],
        Operation::Capture => &[Command::Capture],
        Operation::Refund => &[Command::Refund],
        Operation::Fulfill => &[Command::Fulfill, Command::Complete],
        Operation::Return => &[Command::Return],
        Operation::Resolve => &[Command::Settle],
    }
}

/// Whether an answer that wrote nothing can be true by itself.
fn plausible(truth: &Truth, sent: &Try, outcome: Outcome) -> Result<(), &'static str> {
    let asked = &sent.asked;
    match outcome {
        Outcome::NotFound => Err("the order was acknowledged and is not found"),
        Outcome::Mismatch(current) => {
            let Content::Verb { order, .. } = asked.content else { return Err("a create") };
            let real = truth.version(order).is_some_and(|last| current <= last);
            let differs = asked.if_match.is_some_and(|wanted| wanted != current);
            if real && differs { Ok(()) } else { Err("there was no such mismatch") }
        }
        Outcome::Refused { refusal, .. } => refused(truth, asked, refusal),
        Outcome::Done { order, version, .. } => {
            let there = truth.version(order).is_some_and(|last| version <= last);
            if there { Ok(()) } else { Err("replayed and not there") }
        }
        Outcome::KeyReused
        | Outcome::KeyExpired(_)
        | Outcome::NotWritten
        | Outcome::Unknown
        | Outcome::Gone
        | Outcome::Absurd => Ok(()),
    }
}

fn refused(truth: &Truth, asked: &Asked, refusal: Refusal) -> Result<(), &'static str> {
    match (refusal, asked.content) {
        (Refusal::IllegalTransition { state, command: refused }, Content::Verb { order, .. }) => {
            let legal = refused.from(Some(state)).is_some();
            let own = commands(asked.operation).contains(&refused);
            let own = own && truth.state_seen(order, state);
            if own && !legal { Ok(()) } else { Err("the refusal is not so") }
        }
        (Refusal::NotesFull, Content::Verb { .. }) => Ok(()),
        (Refusal::ExternalReferenceTaken { order }, Content::Create { reference, .. }) => {
            let dossier = truth.orders.get(&order).and_then(|d| d.record.as_ref().ok());
            let taken = dossier.and_then(|record| record.order.external_reference.as_ref());
            let taken = taken.and_then(|taken| taken.as_str().get(2..)?.parse().ok());
            let same = reference.is_some() && taken == reference;
            if same { Ok(()) } else { Err("that order has another reference") }
        }
        (Refusal::PaymentInProgress, _)
            if matches!(
                asked.operation,
                Operation::Pay | Operation::Confirm | Operation::RecordPayment
            ) =>
        {
            Ok(())
        }
        (Refusal::PaymentInDoubt | Refusal::NoSuchPayment, _) if takes(asked.operation) => Ok(()),
        (Refusal::AmountNotLeft { .. } | Refusal::TooManyPayments, _) if moves(asked.operation) => {
            Ok(())
        }
        (Refusal::HandedOver, _) if asked.operation == Operation::Cancel => Ok(()),
        (Refusal::PiecesNotLeft { line: 1, .. }, Content::Verb { .. })
            if counts(asked.operation) =>
        {
            Ok(())
        }
        _ => Err("a refusal of another operation"),
    }
}

const fn takes(operation: Operation) -> bool {
    matches!(operation, Operation::Capture | Operation::Refund)
}

const fn counts(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Fulfill | Operation::Cancel | Operation::Return | Operation::Refund
    )
}

const fn moves(operation: Operation) -> bool {
    takes(operation) || matches!(operation, Operation::Pay | Operation::RecordPayment)
}

/// What is unique, and what was acknowledged.
fn orders(truth: &Truth, book: &Book, wrong: &mut Vec<String>) {
    let mut numbers = BTreeMap::new();
    let mut references = BTreeMap::new();
    for (id, dossier) in &truth.orders {
        let Ok(record) = &dossier.record else { continue };
        let order = &record.order;
        if let Some(other) = numbers.insert((order.tenant.clone(), order.number), *id) {
            wrong.push(format!("{id} and {other} have one number"));
        }
        let Some(reference) = &order.external_reference else { continue };
        if let Some(other) = references.insert((order.tenant.clone(), reference.clone()), *id) {
            wrong.push(format!("{id} and {other} have one external reference"));
        }
    }
    for (order, version) in &book.acknowledged {
        if truth.version(*order).is_none_or(|last| last < *version) {
            wrong.push(format!("{order}: version {version} was acknowledged and is lost"));
        }
    }
}

/// Every reader saw every event of its tenant, in order, but those it was told it missed.
fn feeds(truth: &Truth, book: &Book, wrong: &mut Vec<String>) {
    for (reader, feed) in book.feeds.iter().enumerate() {
        let missed = |at: u64| feed.gaps.iter().any(|(after, before)| *after < at && at < *before);
        let wanted = truth.rows.iter().filter(|row| row.tenant == feed.tenant);
        let mut wanted = wanted.filter(|row| !missed(row.position));
        let mut seen = feed.seen.iter();
        loop {
            let (row, event) = (wanted.next(), seen.next());
            let same = match (row, event) {
                (None, None) => break,
                (Some(row), Some(event)) => {
                    let entry = &row.entry;
                    (row.position, row.order, entry.version, entry.change)
                        == (event.position.0, event.order, event.version, event.id)
                        && event.tenant == book.tenants[feed.tenant]
                }
                _ => false,
            };
            if !same {
                let row = row.map(|row| (row.position, row.order));
                let event = event.map(|event| (event.position.0, event.order));
                wrong.push(format!("reader {reader}: saw {event:?} where {row:?} belongs"));
                break;
            }
        }
    }
}
