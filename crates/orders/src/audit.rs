//! The audit: whether a store holds together, order by order.
//!
//! Pure rules over [`Dossier`]s; the same rules judge the simulator's store and a live one.

use std::fmt;

use crate::{
    Error, codec,
    domain::{Order, OrderId, Payment, Position, Record, State, Version},
    ports::{AuditSource, Census, Decision, Derived, Dossier, Event, Page, Task, TaskId, Told},
};

/// Something that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The order; `None` when it is about the store as a whole.
    pub order: Option<OrderId>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.order {
            Some(order) => write!(f, "order {order}: {}", self.what),
            None => write!(f, "store: {}", self.what),
        }
    }
}

/// What an audit saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How much there is.
    pub census: Census,
    /// Everything that cannot be; empty when the store is sound.
    pub findings: Vec<Finding>,
}

/// Orders read at a time.
const PAGE: usize = 500;

/// Reads a whole store and checks it.
///
/// # Errors
/// Those of the source.
pub async fn audit(source: &impl AuditSource) -> Result<Report, Error> {
    let census = source.census().await?;
    let mut report = Report { census, findings: Vec::new() };
    let mut seen = Census { oldest: census.oldest, head: census.head, ..Census::default() };
    let mut after = None;
    loop {
        let dossiers = source.dossiers(Page { after, limit: PAGE }).await?;
        let Some(last) = dossiers.last() else { break };
        after = Some(last.id);
        for dossier in &dossiers {
            count(&mut seen, dossier);
            let wrong = check(dossier, census.oldest);
            report
                .findings
                .extend(wrong.into_iter().map(|what| Finding { order: Some(dossier.id), what }));
        }
    }
    let whole = whole(&census, &seen);
    report.findings.extend(whole.into_iter().map(|what| Finding { order: None, what }));
    Ok(report)
}

fn count(seen: &mut Census, dossier: &Dossier) {
    let add = |to: &mut u64, n: usize| *to = to.saturating_add(u64::try_from(n).unwrap_or(0));
    add(&mut seen.orders, 1);
    add(&mut seen.history, dossier.history.len());
    add(&mut seen.events, dossier.history.iter().filter(|told| told.event.is_some()).count());
    add(&mut seen.receipts, dossier.receipts.len());
    add(&mut seen.tasks, dossier.tasks.len());
    if let Ok(record) = &dossier.record {
        add(&mut seen.notes, record.notes.len());
        add(&mut seen.personal, usize::from(record.personal.is_some()));
    }
}

/// What orders do not account for: orphans, and holes in the feed.
fn whole(census: &Census, seen: &Census) -> Vec<String> {
    let mut wrong = Vec::new();
    for (what, there, accounted) in [
        ("orders", census.orders, seen.orders),
        ("history rows", census.history, seen.history),
        ("events", census.events, seen.events),
        ("receipts", census.receipts, seen.receipts),
        ("notes", census.notes, seen.notes),
        ("rows of personal data", census.personal, seen.personal),
        ("tasks", census.tasks, seen.tasks),
    ] {
        if there != accounted {
            wrong.push(format!("{there} {what}, of which {accounted} belong to an order"));
        }
    }
    // One version is one history row is one event, which has one place.
    if census.history != census.head.0 {
        wrong.push(format!("{} history rows, and {} places given", census.history, census.head));
    }
    let span = census.head.0.saturating_add(1).saturating_sub(census.oldest.0);
    if census.events != span {
        let (oldest, head) = (census.oldest, census.head);
        wrong.push(format!("{} events in the feed from {oldest} to {head}", census.events));
    }
    wrong
}

/// Checks one order against its history, its events and its receipts.
pub fn check(dossier: &Dossier, oldest: Position) -> Vec<String> {
    let mut wrong = dossier.unreadable.clone();
    check_history(&dossier.history, &mut wrong);
    for told in &dossier.history {
        check_event(told, oldest, &mut wrong);
    }
    match &dossier.record {
        Err(reason) => wrong.push(format!("cannot be read: {reason}")),
        Ok(record) => check_record(dossier, record, &mut wrong),
    }
    let versions: Vec<Version> = dossier.history.iter().map(|told| told.entry.version).collect();
    for receipt in &dossier.receipts {
        match receipt.decision {
            Decision::Accepted { version } if !versions.contains(&version) => {
                wrong.push(format!("a receipt accepts version {version}, which is not there"));
            }
            Decision::Accepted { .. } | Decision::Refused(_) => {}
        }
    }
    wrong
}

/// Checks what an order says of itself against what is told of it.
fn check_record(dossier: &Dossier, record: &Record, wrong: &mut Vec<String>) {
    let order = &record.order;
    let Derived { total_minor, payment_state } = &dossier.derived;
    let total = order.pricing().totals.total.minor;
    if total != *total_minor {
        wrong.push(format!("the total is {total}, stored is {total_minor}"));
    }
    let state = order.payment_state().as_str();
    if state != payment_state {
        wrong.push(format!("the payment state is {state}, stored is {payment_state}"));
    }
    let notes = u32::try_from(record.notes.len()).unwrap_or(u32::MAX);
    if notes != order.notes {
        wrong.push(format!("counts {} notes and has {notes}", order.notes));
    }
    let (Some(first), Some(last)) = (dossier.history.first(), dossier.history.last()) else {
        return wrong.push("has no history".to_owned());
    };
    let (first, last) = (&first.entry, &last.entry);
    if (order.version, order.state) != (last.version, last.to) {
        let (state, version) = (order.state, order.version);
        let (to, end) = (last.to, last.version);
        wrong.push(format!("is {state} at version {version}, its history ends {to} at {end}"));
    }
    if (order.created_at, order.updated_at) != (first.at, last.at) {
        let (created, updated) = (order.created_at, order.updated_at);
        wrong.push(format!("says {created} to {updated}, its history {} to {}", first.at, last.at));
    }
    check_money(order, &dossier.tasks, wrong);
    for event in dossier.history.iter().filter_map(|told| told.event.as_ref()) {
        if !says_the_same(event, order) {
            wrong.push(format!(
                "the event at {} says something else than the order",
                event.position
            ));
        }
    }
}

/// Checks that nothing of an order's money is forgotten: somebody is at every attempt without an
/// outcome, and an order that has ended has none out.
fn check_money(order: &Order, tasks: &[Task], wrong: &mut Vec<String>) {
    for attempt in order.payments.iter().flat_map(|payment| &payment.attempts) {
        let owed = tasks.iter().any(|task| task.id == TaskId::from(attempt.id));
        if attempt.state.is_unresolved() && !owed {
            let (operation, id) = (attempt.operation, attempt.id);
            wrong.push(format!("nobody is at its {operation} {id}, which has no outcome"));
        }
    }
    if matches!(order.state, State::Cancelled | State::Expired) && order.has_money_out() {
        wrong.push(format!("is {} while money is out", order.state));
    }
    let taken = order.payments.iter().map(Payment::captured).fold(0_i64, i64::saturating_add);
    let was_paid = order.payments.iter().any(|payment| payment.authorized() > 0);
    if order.state == State::Completed && was_paid && taken < order.payable().minor {
        wrong.push(format!("is COMPLETED, and {taken} of {} was taken", order.payable()));
    }
}

/// Whether an event's owner and payload are the order's, but for what may have changed since.
fn says_the_same(event: &Event, order: &Order) -> bool {
    let facts = codec::event_facts(&event.data);
    event.tenant == order.tenant
        && facts.is_some_and(|facts| {
            facts.order == order.id
                && facts.version == event.version
                && facts.total == order.pricing().totals.total
        })
}

fn check_history(history: &[Told], wrong: &mut Vec<String>) {
    let mut next = Version::FIRST;
    let mut state: Option<State> = None;
    for Told { entry, .. } in history {
        if entry.version != next {
            wrong.push(format!("history has version {} where {next} belongs", entry.version));
        }
        let legal = entry.command.from(state).is_some_and(|t| t.to == entry.to);
        if entry.from != state || !legal {
            wrong.push(format!(
                "version {} says {} from {:?} to {}, coming from {state:?}",
                entry.version, entry.command, entry.from, entry.to
            ));
        }
        next = entry.version.next();
        state = Some(entry.to);
    }
}

fn check_event(told: &Told, oldest: Position, wrong: &mut Vec<String>) {
    let Told { entry, position, event } = told;
    let version = entry.version;
    let Some(position) = *position else {
        return wrong.push(format!("version {version} has no place in the feed"));
    };
    match event {
        None if position >= oldest => wrong.push(format!("version {version} has no event")),
        None => {}
        Some(event) => {
            let said = (event.order, event.version, event.id, event.position, event.at);
            if said != (entry.order, version, entry.change, position, entry.at) {
                wrong.push(format!("the event at {position} is not version {version}'s"));
            }
            let kind = entry.command.from(entry.from).map(|t| t.event);
            if kind != Some(event.kind.as_str()) {
                wrong.push(format!("the event at {position} is a {}", event.kind));
            }
        }
    }
}
