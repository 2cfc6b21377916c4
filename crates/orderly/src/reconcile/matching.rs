//! Matching a settlement list with our ledger. Pure: no file, no store.
//!
//! The list is sorted once by reference and once by payment, and our orders go by one at a time, so
//! that the list is all that is kept: about 150 bytes for each of its lines at the most.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use orders::domain::{Attempt, AttemptState, Money, Order, Payment, PaymentOperation, State};
use uuid::Uuid;

use super::{
    found::{Break, Kind, Ours, Report, Whose},
    list::Line,
};

/// How long before the end of the period an operation may have been asked for and still stand in the
/// next list: it settles a little later.
pub(super) const EDGE: SignedDuration = SignedDuration::from_mins(5);

/// The time that a list covers, from its first moment to before its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// A list, while our orders go by.
#[derive(Debug)]
pub(super) struct Matching {
    /// By reference, then as in the file.
    lines: Vec<Line>,
    /// The same, by payment.
    by_payment: Vec<u32>,
    seen: Vec<bool>,
    /// Whose payment a line is on that we do not know the operation of.
    owners: HashMap<usize, Whose>,
    period: Option<Period>,
    report: Report,
}

impl Matching {
    pub(super) fn new(mut lines: Vec<Line>, period: Option<Period>) -> Self {
        lines.sort_by_key(|line| (line.reference, line.number));
        let mut by_payment: Vec<u32> = (0..).take(lines.len()).collect();
        by_payment.sort_by_key(|at| lines.get(index(*at)).map(|line| line.payment));
        let mut report = Report { lines: lines.len(), ..Report::default() };
        for line in &lines {
            let key = (line.amount.currency, line.operation);
            report.sums.entry(key).or_default().there.add(line.amount.minor);
        }
        let (seen, owners) = (vec![false; lines.len()], HashMap::new());
        Self { lines, by_payment, seen, owners, period, report }
    }

    /// Takes in an order of ours.
    pub(super) fn order(&mut self, order: &Order) {
        self.report.orders += 1;
        for payment in order.payments.iter().filter(|payment| payment.is_ours()) {
            let mut money = Out::default();
            for attempt in &payment.attempts {
                self.attempt(order, payment, attempt, &mut money);
            }
            self.strangers(order, payment, &mut money);
            if matches!(order.state, State::Cancelled | State::Expired) {
                self.called_off(order, payment, &money);
            }
        }
    }

    fn attempt(&mut self, order: &Order, payment: &Payment, attempt: &Attempt, money: &mut Out) {
        let found = self.lines_of(attempt.id.0);
        let succeeded = attempt.state == AttemptState::Succeeded;
        let Some(first) = self.lines.get(found.start).copied().filter(|_| !found.is_empty()) else {
            if succeeded {
                self.not_listed(order, payment, attempt, money);
            }
            return;
        };
        self.seen[found.clone()].fill(true);
        if succeeded {
            self.count_ours(attempt);
        }
        let wrong = disagreement(payment, attempt, &first);
        if let Some((kind, what)) = wrong {
            self.find(kind, (order, payment), (Some(first), Some(attempt)), what);
        } else {
            self.report.matched += 1;
        }
        for at in found.clone() {
            let line = self.lines[at];
            if line.payment == payment.id.0 && line.amount.currency == attempt.amount.currency {
                money.add(line.operation, line.amount.minor);
            }
            if at > found.start {
                let what =
                    format!("lines {} and {} have this reference", first.number, line.number);
                let both = (Some(line), Some(attempt));
                self.find(Kind::ListedTwice, (order, payment), both, what);
            }
        }
    }

    /// What succeeded with us and is not in the list.
    fn not_listed(&mut self, order: &Order, payment: &Payment, attempt: &Attempt, money: &mut Out) {
        let ours = Ours::from(attempt);
        let inside = match (self.period, ours.asked) {
            (Some(period), Some(asked)) if asked < period.from || asked >= period.to => {
                // Another list has it, and it counts for what is out in all.
                return money.add(attempt.operation, attempt.amount.minor);
            }
            (Some(period), Some(asked)) => period.to.duration_since(asked) > EDGE,
            (None, _) | (_, None) => true,
        };
        if !inside {
            self.report.at_the_edge += 1;
            return money.add(attempt.operation, attempt.amount.minor);
        }
        self.count_ours(attempt);
        let what = "it succeeded with us, and the list does not have it".to_owned();
        self.find(Kind::OnlyOurs, (order, payment), (None, Some(attempt)), what);
    }

    /// Lines on our payment whose operation is none of its attempts.
    fn strangers(&mut self, order: &Order, payment: &Payment, money: &mut Out) {
        let (id, currency) = (payment.id.0, order.pricing().totals.total.currency);
        let start = self.by_payment.partition_point(|at| self.lines[index(*at)].payment < id);
        for place in start..self.by_payment.len() {
            let at = index(self.by_payment[place]);
            let line = &self.lines[at];
            if line.payment != id {
                break;
            }
            if !payment.attempts.iter().any(|attempt| attempt.id.0 == line.reference) {
                if line.amount.currency == currency {
                    money.add(line.operation, line.amount.minor);
                }
                self.owners.insert(at, Whose::from(order));
            }
        }
    }

    fn called_off(&mut self, order: &Order, payment: &Payment, money: &Out) {
        let currency = order.pricing().totals.total.currency;
        let state = order.state;
        for (out, word) in [(money.held(), "held"), (money.kept(), "taken and not given back")] {
            if let Some(minor) = i64::try_from(out).ok().filter(|minor| *minor > 0) {
                let what = format!(
                    "the order is {state}, and at the provider {} are {word}",
                    Money::new(minor, currency)
                );
                self.find(Kind::CalledOff, (order, payment), (None, None), what);
            }
        }
    }

    /// What is left of the list when all our orders went by is not with us.
    pub(super) fn finish(mut self) -> Report {
        for (at, line) in self.lines.iter().enumerate().filter(|(at, _)| !self.seen[*at]) {
            let order = self.owners.remove(&at);
            let what = match &order {
                Some(_) => "no operation of ours has this reference; the payment is this order's",
                None => "neither the reference nor the payment is ours",
            };
            self.report.find(Break {
                kind: Kind::OnlyThere,
                order,
                payment: line.payment,
                reference: Some(line.reference),
                there: Some(*line),
                ours: None,
                what: what.to_owned(),
            });
        }
        self.report.sort();
        self.report
    }

    /// The lines with this reference.
    fn lines_of(&self, reference: Uuid) -> std::ops::Range<usize> {
        let start = self.lines.partition_point(|line| line.reference < reference);
        let count = self.lines[start..].partition_point(|line| line.reference == reference);
        start..start + count
    }

    fn count_ours(&mut self, attempt: &Attempt) {
        let key = (attempt.amount.currency, attempt.operation);
        self.report.sums.entry(key).or_default().ours.add(attempt.amount.minor);
    }

    fn find(
        &mut self,
        kind: Kind,
        (order, payment): (&Order, &Payment),
        (there, attempt): (Option<Line>, Option<&Attempt>),
        what: String,
    ) {
        let reference = attempt.map(|attempt| attempt.id.0);
        let (order, ours) = (Some(Whose::from(order)), attempt.map(Ours::from));
        let payment = payment.id.0;
        self.report.find(Break { kind, order, payment, reference, there, ours, what });
    }
}

/// In what an operation of ours and its line do not agree.
fn disagreement(payment: &Payment, attempt: &Attempt, line: &Line) -> Option<(Kind, String)> {
    let differs = |what: &str, ours: &dyn std::fmt::Display, there: &dyn std::fmt::Display| {
        Some((Kind::Differs, format!("the {what} is {ours} with us, and {there} there")))
    };
    let (ours, there) = (attempt.amount, line.amount);
    match &attempt.state {
        _ if payment.id.0 != line.payment => differs("payment", &payment.id, &line.payment),
        _ if attempt.operation != line.operation => {
            differs("operation", &attempt.operation, &line.operation)
        }
        _ if ours.currency != there.currency => {
            differs("currency", &ours.currency, &there.currency)
        }
        _ if ours.minor != there.minor => differs("amount", &ours, &there),
        AttemptState::Succeeded => None,
        AttemptState::Declined(code) => Some((
            Kind::Declined,
            format!("it was declined with us ({}), and settled there", code.as_str()),
        )),
        AttemptState::Open | AttemptState::Unknown | AttemptState::Parked => Some((
            Kind::Unresolved,
            format!("with us it is {}, and it settled there", Ours::from(attempt).state),
        )),
    }
}

/// What became of the money of one payment at the provider.
#[derive(Clone, Copy, Debug, Default)]
struct Out {
    authorized: i128,
    captured: i128,
    voided: i128,
    refunded: i128,
}

impl Out {
    fn add(&mut self, operation: PaymentOperation, minor: i64) {
        let sum = match operation {
            PaymentOperation::Authorize => &mut self.authorized,
            PaymentOperation::Capture => &mut self.captured,
            PaymentOperation::Void => &mut self.voided,
            PaymentOperation::Refund => &mut self.refunded,
        };
        *sum += i128::from(minor);
    }

    const fn held(&self) -> i128 {
        self.authorized - self.captured - self.voided
    }

    const fn kept(&self) -> i128 {
        self.captured - self.refunded
    }
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
