//! A client: sends what its script says, tries again while an outcome is open, and writes down
//! what it is told.

use std::{sync::Arc, time::Duration};

use orders::{
    Error, Orders,
    domain::{
        Draft, IdempotencyKey, Money, NoteText, OrderId, Payment, Pieces, Quantity, Reason, Version,
    },
    ports::{Clock as _, Cursor, Filter, Operation, OrderRef, Page},
    usecase,
};
use tokio::time;

use super::{
    book::{Asked, Content, Outcome, nth_back},
    money,
    plan::{self, Action, Condition, Create, Manner, ONE_PIECE, Step, Target},
    process::Stage,
};
use crate::{Stream, World, builders};

/// Clients draw from streams from here on.
const CLIENTS: u64 = 100;

/// How often a client looks what came of its payment; the last time after 6 s.
const LOOKS: u32 = 7;

/// One client of one tenant.
#[derive(Debug)]
pub(super) struct Client {
    stage: Arc<Stage>,
    tenant: usize,
    draw: Stream,
    last_verb: Option<Asked>,
    /// The orders it made, oldest first.
    own: Vec<OrderId>,
    /// What has a key and no outcome yet.
    unresolved: Vec<Asked>,
}

impl Client {
    pub(super) fn new(stage: Arc<Stage>, seed: u64, index: usize) -> Self {
        let draw = Stream::new(seed, CLIENTS + index as u64);
        Self {
            stage,
            tenant: index % 2,
            draw,
            last_verb: None,
            own: Vec::new(),
            unresolved: Vec::new(),
        }
    }

    /// Does all the script says; answers with what is left open.
    pub(super) async fn play(mut self, script: Vec<Step>) -> Vec<Asked> {
        for step in script {
            self.step(step).await;
        }
        self.unresolved
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Create(create, manner) => {
                let asked = self.create(create, manner);
                self.request(asked, manner).await;
            }
            Step::Verb(verb, manner) => {
                let Some(asked) = self.verb(verb, manner) else { return };
                self.last_verb = Some(asked);
                self.request(asked, manner).await;
            }
            Step::Await => self.wait_for_money().await,
            Step::Race(one, other, manner) => self.race(one, other, manner).await,
            Step::VerbAgain { other, manner } => {
                let Some(mut asked) = self.last_verb else { return };
                asked.principal = manner.principal;
                if let Content::Verb { words, .. } = &mut asked.content {
                    *words += u32::from(other);
                }
                self.request(asked, manner).await;
            }
            Step::Get { target } => self.get(target).await,
            Step::History { target } => self.history(target).await,
            Step::Foreign { target } => self.foreign(target).await,
            Step::List { limit } => self.list(limit).await,
            Step::Pause(pause) => time::sleep(pause).await,
        }
    }

    fn create(&self, create: Create, manner: Manner) -> Asked {
        let Create { key, customer, reference } = create;
        Asked {
            tenant: self.tenant,
            principal: manner.principal,
            operation: Operation::Create,
            key: Some(key),
            content: Content::Create { customer, reference },
            if_match: None,
        }
    }

    fn verb(&self, verb: plan::Verb, manner: Manner) -> Option<Asked> {
        let book = self.stage.book();
        let order = match verb.target {
            Target::Known(back) => book.target(self.tenant, back)?,
            Target::Own(back) => nth_back(&self.own, back)?,
        };
        let known = book.acknowledged.get(&order).copied()?;
        let if_match = match verb.condition {
            Condition::None => None,
            Condition::Known => Some(known),
            Condition::Stale => Version::new(known.get() - 1).or(Some(known.next())),
        };
        let operation = match verb.action {
            Action::Confirm => Operation::Confirm,
            Action::Cancel | Action::CancelPiece => Operation::Cancel,
            Action::Fulfill => Operation::Fulfill,
            Action::Return => Operation::Return,
            Action::Note => Operation::AddNote,
            Action::Pay => Operation::Pay,
            Action::Capture => Operation::Capture,
            Action::Refund | Action::RefundPiece => Operation::Refund,
            Action::Record => Operation::RecordPayment,
        };
        Some(Asked {
            tenant: self.tenant,
            principal: manner.principal,
            operation,
            key: verb.key,
            content: Content::Verb { order, words: verb.words },
            if_match,
        })
    }

    /// Two verbs at once: whichever comes first, neither may find the other half done.
    async fn race(&mut self, one: plan::Verb, other: plan::Verb, manner: Manner) {
        let both = (self.verb(one, manner), self.verb(other, manner));
        let (Some(one), Some(other)) = both else { return };
        self.last_verb = Some(one);
        let (first, second) = tokio::join!(send(&self.stage, one), send(&self.stage, other));
        self.settle(one, first, manner.tries).await;
        self.settle(other, second, manner.tries).await;
    }

    async fn request(&mut self, asked: Asked, manner: Manner) {
        if manner.twin && asked.key.is_some() {
            let twin = Asked { principal: 1 - asked.principal, ..asked };
            let (one, _) = tokio::join!(send(&self.stage, asked), send(&self.stage, twin));
            return self.settle(asked, one, manner.tries).await;
        }
        let first = send(&self.stage, asked).await;
        self.settle(asked, first, manner.tries).await;
    }

    /// Tries again while the outcome is open; without a key only what was surely not written.
    async fn settle(&mut self, asked: Asked, mut outcome: Outcome, tries: u32) {
        for _ in 1..tries {
            let again =
                outcome.is_open() && (asked.key.is_some() || outcome == Outcome::NotWritten);
            if !again {
                break;
            }
            time::sleep(Duration::from_micros(self.draw.below(4_000))).await;
            outcome = send(&self.stage, asked).await;
        }
        if outcome.is_open() && asked.key.is_some() {
            self.unresolved.push(asked);
        }
        if let (Outcome::Done { order, .. }, Operation::Create) = (outcome, asked.operation)
            && !self.own.contains(&order)
        {
            self.own.push(order);
        }
    }

    async fn get(&self, back: usize) {
        let Some((order, known)) = self.known(back) else { return };
        let cx = self.stage.context(self.tenant, 0, 0);
        let found = self
            .stage
            .request(|orders| async move { orders.get(&cx, OrderRef::Id(order)).await })
            .await;
        let mut book = self.stage.book();
        match found {
            Some(Ok(record)) if record.order.version < known || record.order.id != order => {
                let version = record.order.version;
                book.violation(format!("{order}: read at {version}, acknowledged {known}"));
            }
            Some(Err(Error::NotFound)) => {
                book.violation(format!("{order}: acknowledged and not found"));
            }
            Some(Ok(record)) => {
                drop(book);
                money::told(&self.stage, &record.order);
            }
            Some(Err(_)) | None => {}
        }
    }

    async fn history(&self, back: usize) {
        let Some((order, known)) = self.known(back) else { return };
        let cx = self.stage.context(self.tenant, 0, 0);
        // No order here comes to as many changes.
        let page = Page { after: None, limit: 1_000 };
        let found = self
            .stage
            .request(|orders| async move { orders.history(&cx, OrderRef::Id(order), page).await })
            .await;
        let Some(Ok(entries)) = found else { return };
        let contiguous = (1..).zip(&entries).all(|(v, entry)| entry.version.get() == v);
        if !contiguous || (entries.len() as u64) < known.get() {
            let mut book = self.stage.book();
            let versions: Vec<u64> = entries.iter().map(|entry| entry.version.get()).collect();
            book.violation(format!("{order}: history {versions:?}, acknowledged {known}"));
        }
    }

    /// Another tenant's order is not found, nor can it be changed.
    async fn foreign(&self, back: usize) {
        let Some(order) = self.stage.book().target(1 - self.tenant, back) else { return };
        let cx = self.stage.context(self.tenant, 0, 0);
        let found = self
            .stage
            .request(|orders| async move { orders.get(&cx, OrderRef::Id(order)).await })
            .await;
        if let Some(Ok(_)) = found {
            self.stage.book().violation(format!("{order}: shown to another tenant"));
        }
    }

    async fn list(&self, limit: usize) {
        let known = self.stage.book().known[self.tenant].clone();
        let Some(found) = walk(&self.stage, self.tenant, limit).await else { return };
        let mut sorted = found;
        sorted.sort_unstable();
        let missing = known.iter().find(|order| sorted.binary_search(order).is_err());
        if let Some(order) = missing {
            self.stage.book().violation(format!("{order}: acknowledged and not listed"));
        }
    }

    /// Looks until nothing is open in the newest order's payments, ever more seldom.
    async fn wait_for_money(&self) {
        let Some(order) = self.own.last().copied() else { return };
        for look in 0..LOOKS {
            let cx = self.stage.context(self.tenant, 0, 0);
            let found = self
                .stage
                .request(|orders| async move { orders.get(&cx, OrderRef::Id(order)).await })
                .await;
            if let Some(Ok(record)) = found {
                money::told(&self.stage, &record.order);
                if !record.order.payments.iter().any(Payment::is_unresolved) {
                    return;
                }
            }
            time::sleep(Duration::from_millis(50 << look)).await;
        }
    }

    fn known(&self, back: usize) -> Option<(OrderId, Version)> {
        let book = self.stage.book();
        let order = book.target(self.tenant, back)?;
        Some((order, *book.acknowledged.get(&order)?))
    }
}

/// Walks a tenant's list page by page; nothing when a page cannot be read.
pub(super) async fn walk(stage: &Stage, tenant: usize, limit: usize) -> Option<Vec<OrderId>> {
    let (mut found, mut after): (Vec<OrderId>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let cx = stage.context(tenant, 0, 0);
        let page = Page { after, limit };
        let list =
            stage.request(|orders| async move { orders.list(&cx, &Filter::default(), page).await });
        let orders = list.await?.ok()?;
        if orders.is_empty() {
            return Some(found);
        }
        for order in &orders {
            let cursor = Cursor { created_at: order.created_at, id: order.id };
            let mut book = stage.book();
            if after.is_some_and(|after| cursor >= after) {
                book.violation(format!("{}: listed out of order", order.id));
            }
            if order.tenant != book.tenants[tenant] {
                book.violation(format!("{}: listed to another tenant", order.id));
            }
            after = Some(cursor);
            found.push(order.id);
        }
    }
}

/// Sends a request once and writes down what comes of it.
pub(super) async fn send(stage: &Stage, asked: Asked) -> Outcome {
    let clock = stage.world.clock();
    let jumps = clock.jumps();
    let request = stage.book().send(asked, clock.now());
    stage.note(|| format!("{request:x} {asked:?}"));
    let cx = stage.context(asked.tenant, asked.principal, request);
    let answer = stage.request(|orders| async move { call(&orders, &cx, asked).await }).await;
    if let Some(Ok(done)) = &answer {
        money::told(stage, &done.record.order);
        money::step(stage, &done.record.order.tenant, done.record.order.id);
    }
    let outcome = answer.map_or(Outcome::Gone, Outcome::from);
    let now = (clock.jumps() == jumps).then(|| clock.now());
    stage.book().answer(request, now, outcome);
    stage.note(|| format!("{request:x} {outcome:?}"));
    outcome
}

async fn call(
    orders: &Orders<World>,
    cx: &mainstay_context::Context,
    asked: Asked,
) -> Result<usecase::Done, Error> {
    let key: Option<IdempotencyKey> = asked.key.map(plan::key);
    let (order, words) = match asked.content {
        Content::Create { customer, reference } => {
            let draft = Draft {
                customer_id: format!("c-{customer}"),
                external_reference: reference.map(|reference| format!("r-{reference}")),
                ..builders::draft()
            };
            return orders.create(cx, draft, key.expect("a create has a key")).await;
        }
        Content::Verb { order, words } => (order, words),
    };
    let reason = || (words > 0).then(|| -> Reason { spoken(words).parse().expect("a reason") });
    let action = match asked.operation {
        Operation::Confirm => usecase::Action::Confirm { reason: reason() },
        Operation::Cancel => usecase::Action::Cancel { lines: by_piece(words), reason: reason() },
        Operation::Pay => usecase::Action::Pay {
            instrument: ["tok_red", "tok_blue"][words as usize % 2].parse().expect("a token"),
            amount: amount(words, [None, None, Some(150), Some(249)]),
        },
        Operation::RecordPayment => usecase::Action::RecordPayment {
            amount: amount(words, [Some(399), Some(150), Some(249), Some(1)]).expect("given"),
            reason: None,
        },
        Operation::Capture => usecase::Action::Capture(part(words)),
        Operation::Refund if words >= ONE_PIECE => {
            usecase::Action::Refund(usecase::Part { lines: by_piece(words), ..part(0) })
        }
        Operation::Refund => usecase::Action::Refund(part(words)),
        Operation::Fulfill => usecase::Action::Fulfill { lines: pieces(words), reason: reason() },
        Operation::Return => usecase::Action::Return { lines: pieces(words), reason: reason() },
        Operation::AddNote | Operation::Create | Operation::Resolve => {
            let text: NoteText = spoken(words).parse().expect("a note");
            usecase::Action::AddNote { text }
        }
    };
    let verb = usecase::Verb { order: OrderRef::Id(order), action, key, if_match: asked.if_match };
    orders.act(cx, verb).await
}

/// A part of the money, by how it is said; nothing stands for all of it.
fn amount(words: u32, minor: [Option<i64>; 4]) -> Option<Money> {
    let currency = "EUR".parse().expect("a currency");
    minor[words as usize % 4].map(|minor| Money::new(minor, currency))
}

fn part(words: u32) -> usecase::Part {
    let amount = amount(words, [None, Some(100), Some(399), Some(1)]);
    usecase::Part { amount, ..usecase::Part::default() }
}

/// Pieces of the one line that an order has, by how it is said: one, two, or all that are left.
fn pieces(words: u32) -> Vec<Pieces> {
    let some = |quantity| Pieces { line: 1, quantity };
    Quantity::new(i64::from(words % 3)).map(some).into_iter().collect()
}

fn by_piece(words: u32) -> Vec<Pieces> {
    let some =
        |more| Quantity::new(1 + i64::from(more)).map(|quantity| Pieces { line: 1, quantity });
    words.checked_sub(ONE_PIECE).and_then(some).into_iter().collect()
}

const fn spoken(words: u32) -> &'static str {
    match words {
        0 => "nothing",
        1 => "as agreed",
        2 => "by phone",
        _ => "otherwise",
    }
}
