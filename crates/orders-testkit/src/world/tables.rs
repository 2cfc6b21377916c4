//! What a world's store holds, and the one write: checks first, then all of the change.
//!
//! Pure but for the planted bugs, whose later steps wait in a queue. Deliberately absent: faults,
//! which are the world's.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use orders::{
    Refusal,
    domain::{
        ChangeId, Command, Entry, ExternalReference, IdempotencyKey, Note, Order, OrderId,
        OrderNumber, Personal, Position, TenantId, Version,
    },
    ports::{
        Answer, Change, Cursor, Cutoff, Decision, Event, Expects, Forgotten, Leased, Operation,
        Receipt, ReceiptKey, TaskId, Unique, Write,
    },
};
use tokio::time::Instant;

use super::bug::Bug;

mod engine;
mod reads;
mod tasks;

/// All that is kept of an order.
#[derive(Debug)]
struct Row {
    order: Order,
    personal: Option<Personal>,
    notes: Vec<Note>,
    history: Vec<(Entry, Option<Position>)>,
}

#[derive(Debug)]
pub(super) struct Tables {
    bug: Option<Bug>,
    rows: BTreeMap<OrderId, Row>,
    numbers: BTreeMap<(TenantId, OrderNumber), OrderId>,
    references: BTreeMap<(TenantId, ExternalReference), OrderId>,
    by_time: BTreeMap<TenantId, BTreeSet<Cursor>>,
    receipts: BTreeMap<ReceiptKey, Receipt>,
    create_keys: BTreeMap<(TenantId, IdempotencyKey), OrderId>,
    changes: BTreeSet<ChangeId>,
    tasks: BTreeMap<TaskId, Leased>,
    /// The feed from `oldest` on, without a hole.
    events: VecDeque<Event>,
    oldest: Position,
    /// How far the feed was published, if it is.
    published: Option<Position>,
    /// Positions that a planted bug gave and that nobody can see yet.
    hidden: BTreeMap<Position, Instant>,
    later: BTreeMap<(Instant, u64), Step>,
    steps: u64,
    now: Instant,
    /// What a planted bug made of changes that are not written yet.
    seen: BTreeMap<ChangeId, Verdict>,
}

/// Something that happens after its commit was answered.
#[derive(Debug)]
enum Step {
    /// A planted bug's write, lost in a crash.
    Write(Box<Change>),
    /// A planted bug's receipt, lost in a crash.
    Receipt(Box<Receipt>),
    /// A planted bug's event, lost in a crash.
    Event(Box<Event>),
}

/// What the checks made of a change.
#[derive(Debug)]
enum Verdict {
    /// Nothing speaks against it.
    Write,
    /// It is not written.
    Answer(Answer),
    /// It is not written, and this is remembered.
    Remember(Answer, Box<Receipt>),
}

impl Tables {
    pub(super) fn new(bug: Option<Bug>) -> Self {
        Self {
            bug,
            rows: BTreeMap::new(),
            numbers: BTreeMap::new(),
            references: BTreeMap::new(),
            by_time: BTreeMap::new(),
            receipts: BTreeMap::new(),
            create_keys: BTreeMap::new(),
            changes: BTreeSet::new(),
            tasks: BTreeMap::new(),
            events: VecDeque::new(),
            oldest: Position(1),
            published: None,
            hidden: BTreeMap::new(),
            later: BTreeMap::new(),
            steps: 0,
            now: Instant::now(),
            seen: BTreeMap::new(),
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn last(&self) -> Position {
        Position(self.oldest.0 + self.events.len() as u64 - 1)
    }

    /// Every check, in the order that `Store::commit` states.
    fn check(&self, change: &Change) -> Verdict {
        if self.changes.contains(&change.id) && !self.has(Bug::ResubmissionNotRecognised) {
            return Verdict::Answer(Answer::Committed);
        }
        if let Some(answer) = self.seen(change) {
            return Verdict::Answer(answer);
        }
        if !self.holds_lease(change) {
            return Verdict::Answer(Answer::LeaseLost);
        }
        match change.expects {
            Expects::New => self.taken(change),
            Expects::Version(order, expected) => self.moved(change, order, expected),
            Expects::Task => Verdict::Write,
        }
    }

    fn carry_out(&mut self, verdict: Verdict, change: Change) -> Answer {
        match verdict {
            Verdict::Write if self.has(Bug::AcknowledgeBeforeCommit) => {
                self.after(4, Step::Write(Box::new(change)));
                Answer::Committed
            }
            Verdict::Write => {
                self.write(change);
                Answer::Committed
            }
            Verdict::Answer(answer) => {
                let conflict = matches!(answer, Answer::Conflict { .. });
                if conflict && self.has(Bug::FinishedWithoutOutcome) {
                    self.write_tasks(change.lease, Vec::new());
                }
                answer
            }
            Verdict::Remember(answer, receipt) => {
                self.remember(*receipt);
                answer
            }
        }
    }

    fn seen(&self, change: &Change) -> Option<Answer> {
        let asked = change.receipt.as_ref()?;
        if let Some(receipt) = self.receipts.get(&self.scope(&asked.key))
            && change.at < receipt.expires_at
        {
            let same = receipt.fingerprint == asked.fingerprint;
            let reused = !same && !self.has(Bug::FingerprintNotCompared);
            let (order, decision) = (receipt.order, receipt.decision);
            return Some(if reused { Answer::KeyReused } else { Answer::Seen { order, decision } });
        }
        if asked.key.operation != Operation::Create || self.has(Bug::ExpiredKeyMakesSecondOrder) {
            return None;
        }
        let key = (asked.key.tenant.clone(), asked.key.key.clone());
        self.create_keys.get(&key).map(|order| Answer::KeyExpired(*order))
    }

    fn taken(&self, change: &Change) -> Verdict {
        let Some(write) = &change.write else { return Verdict::Write };
        let order = &write.order;
        if let Some(row) = self.rows.get(&order.id) {
            return Verdict::Answer(Answer::Conflict { current: row.order.version });
        }
        let number = (order.tenant.clone(), order.number);
        if let Some(id) = self.numbers.get(&number)
            && !self.has(Bug::NumberGivenTwice)
        {
            return Verdict::Answer(Answer::Taken(Unique::Number, *id));
        }
        let Some(reference) = &order.external_reference else { return Verdict::Write };
        let reference = (order.tenant.clone(), reference.clone());
        let Some(id) = self.references.get(&reference).copied() else { return Verdict::Write };
        if self.has(Bug::ReferenceGivenTwice) {
            return Verdict::Write;
        }
        let answer = Answer::Taken(Unique::ExternalReference, id);
        match &change.receipt {
            Some(receipt) if !self.has(Bug::RefusalForgotten) => {
                let decision = Decision::Refused(Refusal::ExternalReferenceTaken { order: id });
                let receipt = Receipt { order: id, decision, ..receipt.clone() };
                Verdict::Remember(answer, Box::new(receipt))
            }
            _ => Verdict::Answer(answer),
        }
    }

    fn moved(&self, change: &Change, order: OrderId, expected: Version) -> Verdict {
        let row = self.rows.get(&order).filter(|row| row.order.tenant == change.tenant);
        // The core never changes an order it has not read; a missing one is at no version.
        let current = row.map_or(Version::FIRST, |row| row.order.version);
        if row.is_some() && (current == expected || self.has(Bug::VersionNotCompared)) {
            return Verdict::Write;
        }
        let answer = Answer::Conflict { current };
        let Some(row) = row.filter(|_| self.has(Bug::ConflictRemembered)) else {
            return Verdict::Answer(answer);
        };
        match (&change.receipt, &change.write) {
            (Some(receipt), Some(write)) => {
                let (state, command) = (row.order.state, write.entry.command);
                let refusal = Refusal::IllegalTransition { state, command };
                let decision = Decision::Refused(refusal);
                let receipt = Receipt { decision, ..receipt.clone() };
                Verdict::Remember(answer, Box::new(receipt))
            }
            _ => Verdict::Answer(answer),
        }
    }

    fn write(&mut self, change: Change) {
        // Of a task's change nothing is kept that it could be known by.
        if change.expects != Expects::Task {
            self.changes.insert(change.id);
        }
        let plans = self.planned(change.plans, change.write.as_deref());
        self.write_tasks(change.lease, plans);
        if let Some(write) = change.write {
            let created = (change.expects == Expects::New).then_some(change.receipt.as_ref());
            if let Some(Some(receipt)) = created {
                let key = (change.tenant.clone(), receipt.key.key.clone());
                self.create_keys.insert(key, write.order.id);
            }
            self.put(change.tenant, *write);
        }
        match change.receipt {
            Some(receipt) if self.has(Bug::ReceiptApart) => {
                self.after(4, Step::Receipt(Box::new(receipt)));
            }
            Some(receipt)
                if receipt.key.operation == Operation::Pay && self.has(Bug::PayKeyForgotten) => {}
            Some(receipt) => self.remember(receipt),
            None => {}
        }
    }

    fn put(&mut self, tenant: TenantId, write: Write) {
        let Write { mut order, mut entry, event, note, personal } = write;
        self.spoil(&mut order, &entry);
        if self.has(Bug::OutcomeWithoutEvent)
            && entry.command == Command::Settle
            && let Some(row) = self.rows.get_mut(&order.id)
        {
            row.order = order;
            return;
        }
        if self.has(Bug::VersionSkipped) && entry.version != Version::FIRST {
            entry.version = entry.version.next();
        }
        let event = Event {
            position: self.last().next(),
            id: entry.change,
            tenant: tenant.clone(),
            order: entry.order,
            version: entry.version,
            kind: event.kind.to_owned(),
            at: entry.at,
            trace: entry.trace,
            data: event.data,
        };
        let position = Some(event.position);
        if self.has(Bug::EventApart) {
            self.after(4, Step::Event(Box::new(event)));
        } else {
            if self.has(Bug::FeedOutOfOrder) {
                let wait = Duration::from_millis(event.position.0 % 3 * 2);
                self.hidden.insert(event.position, self.now + wait);
            }
            self.events.push_back(event);
        }
        let position = position.filter(|_| !self.has(Bug::EventApart));
        if let Some(row) = self.rows.get_mut(&order.id) {
            row.order = order;
            row.notes.extend(note);
            row.history.push((entry, position));
            return;
        }
        self.numbers.insert((tenant.clone(), order.number), order.id);
        if let Some(reference) = &order.external_reference {
            self.references.insert((tenant.clone(), reference.clone()), order.id);
        }
        let cursor = Cursor { created_at: order.created_at, id: order.id };
        self.by_time.entry(tenant).or_default().insert(cursor);
        let notes = note.into_iter().collect();
        let history = vec![(entry, position)];
        self.rows.insert(order.id, Row { order, personal, notes, history });
    }

    fn remember(&mut self, receipt: Receipt) {
        self.receipts.insert(self.scope(&receipt.key), receipt);
    }

    /// Under what a key is looked up: itself, but for the planted bugs.
    fn scope(&self, key: &ReceiptKey) -> ReceiptKey {
        let mut key = key.clone();
        if self.has(Bug::KeyWithoutTenant) {
            key.tenant = "anybody".parse().expect("is a tenant id");
        }
        if self.has(Bug::KeyWithoutOperation) {
            key.operation = Operation::Create;
        }
        key
    }

    /// Forgets the oldest events, without leaving a hole, and receipts that no order keeps.
    fn forget_old(&mut self, cutoff: Cutoff, limit: usize) -> Forgotten {
        let due = |at| at < cutoff.events_before || at > cutoff.now;
        let old = self.events.iter().take_while(|event| due(event.at));
        // What is stamped ahead of time goes with what comes after it.
        let last = old.enumerate().filter(|(_, event)| event.at <= cutoff.now).last();
        let is_bound = !cutoff.unpublished && !self.has(Bug::ForgottenBeforePublished);
        let kept_back = self.published.filter(|_| is_bound).map_or(usize::MAX, |most| {
            usize::try_from((most.0 + 1).saturating_sub(self.oldest.0)).unwrap_or(usize::MAX)
        });
        let events = last.map_or(0, |(index, _)| index + 1).min(limit).min(kept_back);
        self.events.drain(..events);
        self.oldest = Position(self.oldest.0 + events as u64);
        let careless = self.has(Bug::LiveReceiptsForgotten);
        let keys: Vec<ReceiptKey> = self
            .receipts
            .iter()
            .filter(|(_, receipt)| careless || receipt.expires_at <= cutoff.receipts_before)
            .filter(|(_, receipt)| !kept_with_order(receipt))
            .map(|(key, _)| key.clone())
            .take(limit)
            .collect();
        for key in &keys {
            self.receipts.remove(key);
        }
        Forgotten { events, receipts: keys.len() }
    }

    fn after(&mut self, millis: u64, step: Step) {
        self.steps += 1;
        self.later.insert((self.now + Duration::from_millis(millis), self.steps), step);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(change) => {
                if matches!(self.check(&change), Verdict::Write) {
                    self.write(*change);
                }
            }
            Step::Receipt(receipt) => self.remember(*receipt),
            Step::Event(mut event) => {
                event.position = self.last().next();
                if let Some(row) = self.rows.get_mut(&event.order) {
                    let told = row.history.iter_mut().find(|(e, _)| e.version == event.version);
                    if let Some(told) = told {
                        told.1 = Some(event.position);
                    }
                }
                self.events.push_back(*event);
            }
        }
    }
}

fn kept_with_order(receipt: &Receipt) -> bool {
    receipt.key.operation == Operation::Create
        && matches!(receipt.decision, Decision::Accepted { .. })
}
