//! Money at the end: every order's history against its attempts, and these against the provider's
//! ledger, with nothing left over on either side.

use std::collections::BTreeMap;

use orders::{
    domain::{AttemptState, Command, Order, OrderId, Payment, PaymentId, PaymentOperation},
    ports::{Dossier, Operation},
};

use super::{
    book::Book,
    judge::{Truth, is_own},
};
use crate::World;

/// Judges the money of a run that has come to rest.
pub(super) fn judge(world: &World, truth: &Truth, book: &Book, wrong: &mut Vec<String>) {
    let mut attempts = BTreeMap::new();
    for (id, dossier) in &truth.orders {
        let Ok(record) = &dossier.record else { continue };
        for payment in &record.order.payments {
            attempts.extend(payment.attempts.iter().map(|attempt| (attempt.id, payment.id)));
        }
        let found = history(&record.order, dossier, recorded(truth, book, *id));
        wrong.extend(found.into_iter().map(|what| format!("{id}: {what}")));
    }
    for effect in world.charges() {
        let known: Option<&PaymentId> = attempts.get(&effect.attempt);
        if known != Some(&effect.payment) {
            wrong.push(format!("{effect:?} happened, and no order knows of it"));
        }
    }
}

/// How many payments made elsewhere clients had noted on an order.
fn recorded(truth: &Truth, book: &Book, order: OrderId) -> usize {
    let asked = |request: usize| book.tries[request].asked.operation;
    let rows = truth.by_request.iter().enumerate().filter(|(_, rows)| !rows.is_empty());
    let rows = rows.filter(|(request, _)| asked(*request) == Operation::RecordPayment);
    rows.flat_map(|(_, rows)| rows).filter(|row| truth.rows[**row].order == order).count()
}

/// Whether each version told of an attempt has its attempt, and the reverse.
fn history(order: &Order, dossier: &Dossier, recorded: usize) -> Vec<String> {
    let rows = |command| dossier.history.iter().filter(|t| t.entry.command == command).count();
    let count = |operation| {
        // What came otherwise was never asked for; what goes back by hand is.
        let asked = |payment: &&Payment| payment.is_ours() || operation == PaymentOperation::Refund;
        let attempts = order.payments.iter().filter(asked).flat_map(|payment| &payment.attempts);
        // Orders that are called off, and goods that move, ask for money by themselves.
        attempts.filter(|attempt| attempt.operation == operation && !attempt.by_itself).count()
    };
    let mut wrong = Vec::new();
    let mut claim = |what: &str, told: usize, there: usize| {
        if told != there {
            wrong.push(format!("its history tells of {told} {what}, and there are {there}"));
        }
    };
    let elsewhere = order.payments.iter().filter(|payment| !payment.is_ours()).count();
    claim("payments", rows(Command::Pay), count(PaymentOperation::Authorize));
    claim("captures", rows(Command::Capture), count(PaymentOperation::Capture));
    claim("payments made elsewhere", recorded, elsewhere);
    claim("refunds", rows(Command::Refund), count(PaymentOperation::Refund));
    claim("voids", 0, count(PaymentOperation::Void));
    let settled = dossier.history.iter().filter(|told| is_own(&told.entry)).count();
    let moved = |payment: &&Payment| payment.is_ours();
    let attempts = order.payments.iter().filter(moved).flat_map(|payment| &payment.attempts);
    let told = attempts.filter(|attempt| attempt.state != AttemptState::Open).count();
    if settled < told {
        wrong.push(format!("{told} attempts changed in {settled} versions"));
    }
    wrong.extend(uncovered(order, dossier));
    wrong
}

/// A payment confirms an order only when all of it is covered.
fn uncovered(order: &Order, dossier: &Dossier) -> Option<String> {
    let confirmed =
        |entry: &orders::domain::Entry| entry.command == Command::Confirm && is_own(entry);
    if !dossier.history.iter().any(|told| confirmed(&told.entry)) {
        return None;
    }
    let covered: i64 = order.payments.iter().map(Payment::authorized).sum();
    let total = order.payable().minor;
    (covered < total).then(|| format!("{covered} of {total} confirmed it"))
}
