//! One state machine: random sequences, each judged step by step by the model.

use jiff::SignedDuration;
use orders::{
    domain::{Draft, Position, State, TenantId, Version},
    ports::{Change, Cutoff, Filter, Operation, OrderRef, Page, ReadError, Scope, Store as _},
};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};

use super::{
    Factory, Subject,
    maker::{self, CANCEL, CONFIRM, Maker, START, Say, note},
    model::Model,
    ops::{Op, sequence},
    reads::{drain, walk},
};
use crate::builders;

/// Runs this many random sequences of commits and reads, each on a fresh store, and audits each
/// store at the end. A failing sequence is shrunk. The sequences are the same in every run.
///
/// # Panics
/// When the store answers otherwise than the model; the message holds the shortest sequence found.
pub async fn state_machine(factory: &impl Factory, cases: u32) {
    if let Some(example) = counterexample(factory, cases).await {
        panic!("{example}");
    }
}

/// The shortest sequence found, among this many random ones, that a store fails on.
pub async fn counterexample(factory: &impl Factory, cases: u32) -> Option<String> {
    let mut runner = TestRunner::deterministic();
    for case in 0..cases {
        let mut tree = sequence().new_tree(&mut runner).expect("a sequence");
        let Err(mut reason) = run(factory, &tree.current()).await else { continue };
        let mut shortest = tree.current();
        // Each step halves something; more steps shorten little.
        for _ in 0..400 {
            match run(factory, &tree.current()).await {
                Err(why) => {
                    (shortest, reason) = (tree.current(), why);
                    if !tree.simplify() {
                        break;
                    }
                }
                Ok(()) if !tree.complicate() => break,
                Ok(()) => {}
            }
        }
        return Some(format!("sequence {case}: {reason}\nshortest: {shortest:#?}"));
    }
    None
}

async fn run(factory: &impl Factory, ops: &[Op]) -> Result<(), String> {
    let subject = factory.make().await;
    let mut make = Maker::new();
    // Receipts live 10½ steps of 10 s, so that no moment is exactly the end of one.
    make.remember = SignedDuration::from_secs(105);
    let mut run = Run { subject, model: Model::default(), make, sent: Vec::new(), floor: START };
    for (at, op) in ops.iter().enumerate() {
        run.step(*op).await.map_err(|why| format!("step {at}, {op:?}: {why}"))?;
    }
    let report = run.subject.audit().await.map_err(|error| format!("{error:?}"))?;
    if !report.findings.is_empty() {
        return Err(format!("the audit finds {:?}", report.findings));
    }
    let census = report.census;
    let counted = (census.orders, census.history, census.head.0, census.oldest.0);
    let (orders, events) = (run.model.orders.len() as u64, run.model.events.len() as u64);
    same("census", &counted, &(orders, events, events, run.model.forgotten as u64 + 1))
}

struct Run<U> {
    subject: U,
    model: Model,
    make: Maker,
    sent: Vec<Change>,
    /// Time is not turned back past what was forgotten.
    floor: jiff::Timestamp,
}

fn same<T: std::fmt::Debug + PartialEq>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what} is {found:?}, not {wanted:?}")) }
}

fn tenant(index: u8) -> TenantId {
    ["t", "u"][usize::from(index % 2)].parse().expect("a tenant id")
}

/// The key of an index: every tenant and operation share them. 0 is none.
fn key(index: u8) -> Option<String> {
    (index > 0).then(|| format!("key-{index}"))
}

fn reference(index: u8) -> Option<String> {
    (index < 3).then(|| format!("ref-{index}"))
}

impl<U: Subject> Run<U> {
    async fn step(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Create { tenant: owner, key: named, customer, reference: refers, number } => {
                let draft = Draft {
                    customer_id: format!("c-{customer}"),
                    external_reference: reference(refers),
                    ..builders::draft()
                };
                // The port takes a create without a key too; the use case never sends one.
                let (owner, named) = (tenant(owner), key(named));
                let (owner, named) = (owner.as_str(), named.as_deref());
                let change = self.make.numbered(owner, named, draft, u64::from(number));
                self.commit(change).await
            }
            Op::Verb { order, verb, key: named, behind } => {
                let Some(change) = self.verb(order, verb, named, behind) else { return Ok(()) };
                self.commit(change).await
            }
            Op::Again { change } => {
                let Some(change) = pick(&self.sent, change).cloned() else { return Ok(()) };
                if self.model.is_lost_refusal(&change) {
                    return Ok(());
                }
                self.commit(change).await
            }
            Op::Jump { tens } => {
                self.make.advance(i64::from(tens) * 10);
                self.make.at = self.make.at.max(self.floor);
                Ok(())
            }
            Op::Forget { tens } => self.forget(i64::from(tens) * 10).await,
            Op::Order { order } => self.order(order).await,
            Op::History { order, limit } => self.history(order, limit).await,
            Op::List { tenant, filter, limit } => self.list(tenant, filter, limit).await,
            Op::Feed { scope, after, limit } => self.feed(scope, after, limit).await,
            Op::Receipt { tenant, operation, key } => self.receipt(tenant, operation, key).await,
        }
    }

    fn verb(&mut self, order: u8, verb: u8, named: u8, behind: u8) -> Option<Change> {
        let known = pick(&self.model.orders, order)?;
        // Most verbs act on the order as it is, some on what it was.
        let behind = usize::from(behind.saturating_sub(3));
        let at = known.versions.len().saturating_sub(1 + behind);
        let say = match verb {
            0 => CONFIRM,
            1 => CANCEL,
            2 => Say { reason: Some("because"), ..CANCEL },
            3 => note("remark"),
            _ => note("another"),
        };
        Some(self.make.act(&known.versions[at], say, key(named).as_deref()))
    }

    async fn commit(&mut self, change: Change) -> Result<(), String> {
        let cx = builders::context(change.tenant.as_str());
        let found = self.subject.store().commit(&cx, change.clone()).await;
        let found = found.map_err(|error| format!("{error:?}"))?;
        let wanted = self.model.commit(&change);
        self.sent.push(change);
        if wanted.contains(&found) {
            return Ok(());
        }
        Err(format!("the answer is {found:?}, not one of {wanted:?}"))
    }

    async fn forget(&mut self, seconds: i64) -> Result<(), String> {
        let now = self.make.at;
        let age = SignedDuration::from_secs(seconds);
        let events_before = now.saturating_sub(age).map_err(|e| e.to_string())?;
        let cutoff = Cutoff { events_before, now, unpublished: false, receipts_before: now };
        let cx = builders::context("t");
        let found = self.subject.store().forget(&cx, cutoff, 1_000).await;
        let found = found.map_err(|error| format!("{error:?}"))?;
        self.floor = self.floor.max(now);
        let (events, least, most) = self.model.forget(events_before, now);
        same("the number of events forgotten", &found.events, &events)?;
        let fits = (least..=most).contains(&found.receipts);
        same("whether the receipts forgotten are as many as are due", &fits, &true)
    }

    async fn order(&self, order: u8) -> Result<(), String> {
        let Some(known) = pick(&self.model.orders, order) else { return Ok(()) };
        let now = known.now();
        for asks in [tenant(0), tenant(1)] {
            let cx = builders::context(asks.as_str());
            let own = asks == known.tenant;
            let by_id = self.subject.store().order(&cx, &asks, OrderRef::Id(now.id)).await;
            let found = by_id.map_err(|error| format!("{error:?}"))?;
            let wanted = own.then(|| orders::domain::Record {
                order: now.clone(),
                personal: known.personal.clone(),
                notes: known.notes.clone(),
            });
            same("the order", &found, &wanted)?;
            if own {
                let number = OrderRef::Number(now.number);
                let found = self.subject.store().order(&cx, &asks, number).await;
                same("by number", &found.map_err(|error| format!("{error:?}"))?, &wanted)?;
            }
        }
        Ok(())
    }

    async fn history(&self, order: u8, limit: u8) -> Result<(), String> {
        let Some(known) = pick(&self.model.orders, order) else { return Ok(()) };
        let (mut found, mut after): (Vec<_>, Option<Version>) = (Vec::new(), None);
        let cx = builders::context(known.tenant.as_str());
        loop {
            let page = Page { after, limit: usize::from(limit) };
            let store = self.subject.store();
            let more = store.history(&cx, &known.tenant, known.now().id, page).await;
            let more = more.map_err(|error| format!("{error:?}"))?;
            let Some(last) = more.last() else { break };
            after = Some(last.version);
            found.extend(more);
        }
        same("the history", &found, &known.history)
    }

    async fn list(&self, owner: u8, filter: u8, limit: u8) -> Result<(), String> {
        let none = Filter::default();
        let filter = match filter {
            0 => none,
            1 => Filter { state: Some(State::Cancelled), ..none },
            2 => Filter { customer_id: "c-1".parse().ok(), ..none },
            3 => Filter { external_reference: "ref-1".parse().ok(), ..none },
            _ => Filter { state: Some(State::Pending), created_after: Some(START), ..none },
        };
        let owner = tenant(owner);
        let found = walk(&self.subject, &owner, &filter, usize::from(limit)).await;
        let found: Vec<_> = found.iter().map(|order| order.id).collect();
        same("the list", &found, &self.model.list(&owner, &filter))
    }

    async fn feed(&self, scope: u8, after: u8, limit: u8) -> Result<(), String> {
        let scope = match scope {
            2 => Scope::All,
            index => Scope::Tenant(tenant(index)),
        };
        let after = usize::from(after) % (self.model.events.len() + 1);
        let from = Some(Position(after as u64));
        let found = drain(&self.subject, &scope, from, usize::from(limit)).await;
        let oldest = Position(self.model.forgotten as u64 + 1);
        if after < self.model.forgotten {
            return match found {
                Err(ReadError::CursorTooOld { oldest: found }) => same("oldest", &found, &oldest),
                other => Err(format!("the cursor is too old, and the feed says {other:?}")),
            };
        }
        let found = found.map_err(|error| format!("{error:?}"))?;
        let found: Vec<_> = found.iter().map(|event| (event.position, event.id)).collect();
        same("the feed", &found, &self.model.feed(&scope, after))
    }

    async fn receipt(&self, owner: u8, operation: u8, named: u8) -> Result<(), String> {
        let Some(named) = key(named) else { return Ok(()) };
        let operations =
            [Operation::Create, Operation::Confirm, Operation::Cancel, Operation::AddNote];
        let operation = operations[usize::from(operation) % 4];
        let key = maker::receipt_key(&tenant(owner), operation, &named);
        let cx = builders::context(key.tenant.as_str());
        let found = self.subject.store().receipt(&cx, &key, self.make.at).await;
        let wanted = self.model.live(&key, self.make.at).cloned();
        same("the receipt", &found.map_err(|error| format!("{error:?}"))?, &wanted)
    }
}

fn pick<T>(of: &[T], index: u8) -> Option<&T> {
    of.get(usize::from(index).checked_rem(of.len())?)
}
