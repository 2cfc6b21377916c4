//! A comparison, as people and programs read it.

use orders::domain::{Currency, Money};
use serde_json::{Value, json};

use super::{
    found::{Break, KEPT, Ours, Report, Sum, Whose},
    list::Line,
    matching::EDGE,
};
use crate::console::{many, say};

/// Breaks shown; the rest are counted.
const SHOWN: usize = 50;

/// Prints the sums side by side, every break, and what it comes to.
pub(super) fn table(store: &str, report: &Report) {
    say(&format!("store {store}"));
    let lines = u64::try_from(report.lines).unwrap_or(u64::MAX);
    say(&format!(
        "{}, {}, {} matched\n",
        many(lines, "line"),
        many(report.orders, "order"),
        many(report.matched, "operation")
    ));
    say(&sums(report));
    for found in report.breaks.iter().take(SHOWN) {
        say(&one(found));
    }
    let shown = u64::try_from(report.breaks.len().min(SHOWN)).unwrap_or(u64::MAX);
    if report.found > shown {
        say(&format!("... and {} more; --json tells up to {KEPT}\n", report.found - shown));
    }
    if report.at_the_edge > 0 {
        let (count, minutes) = (many(report.at_the_edge, "operation"), EDGE.as_mins());
        say(&format!(
            "{count} of the last {minutes} minutes before --to may stand in the next list\n"
        ));
    }
    match report.found {
        0 if report.lines == 0 && report.matched == 0 => {
            say("matched: the list is empty, and nothing is missing in it");
        }
        0 => say("matched: the list and the store say the same"),
        1 => say("1 break; it needs a person"),
        count => say(&format!("{count} breaks; they need a person")),
    }
}

/// The sums by currency and operation, the provider's beside ours.
fn sums(report: &Report) -> String {
    let line = |cells: [&str; 6], differ: &str| {
        let [currency, operation, listed, there, with_us, ours] = cells;
        format!(
            "{currency:<9} {operation:<10} {listed:>8} {there:>18} {with_us:>8} {ours:>18}{differ}\n"
        )
    };
    let mut text = line(["currency", "operation", "listed", "amount", "with us", "amount"], "");
    for ((currency, operation), sums) in &report.sums {
        let differ = if sums.there == sums.ours { "" } else { "  differs" };
        let counts = [sums.there.count.to_string(), sums.ours.count.to_string()];
        let amounts = [amount(sums.there, *currency), amount(sums.ours, *currency)];
        text += &line(
            [currency.code(), operation.as_str(), &counts[0], &amounts[0], &counts[1], &amounts[1]],
            differ,
        );
    }
    text
}

/// The sum as people read it, without the currency, which stands beside it.
fn amount(sum: Sum, currency: Currency) -> String {
    let Ok(minor) = i64::try_from(sum.minor) else { return format!("{} minor units", sum.minor) };
    let text = Money::new(minor, currency).to_string();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn one(found: &Break) -> String {
    let mut lines = vec![format!("{}: {}", found.kind.as_str(), found.what)];
    if let Some(Whose { id, number, tenant, state }) = &found.order {
        lines.push(format!("  order      {id} ({number}) of {}, {state}", tenant.as_str()));
    }
    lines.push(format!("  payment    {}", found.payment));
    if let Some(reference) = found.reference {
        lines.push(format!("  reference  {reference}"));
    }
    if let Some(Line { operation, amount, at, number, .. }) = &found.there {
        lines.push(format!("  there      {operation} of {amount} at {at}, line {number}"));
    }
    if let Some(Ours { operation, amount, state, asked }) = &found.ours {
        let asked = asked.map_or_else(String::new, |at| format!(", asked for at {at}"));
        lines.push(format!("  with us    {operation} of {amount}, {state}{asked}"));
    }
    lines.push(format!("  to do      {}\n", found.kind.advice()));
    lines.join("\n")
}

pub(super) fn as_json(store: &str, report: &Report) -> Value {
    let side = |sum: Sum| json!({ "count": sum.count, "amount_minor": sum.minor.to_string() });
    let sums = report.sums.iter().map(|((currency, operation), sums)| {
        json!({
            "currency": currency.code(),
            "operation": operation.as_str(),
            "there": side(sums.there),
            "ours": side(sums.ours),
        })
    });
    json!({
        "store": store,
        "lines": report.lines,
        "orders": report.orders,
        "matched": report.matched,
        "at_the_edge": report.at_the_edge,
        "sums": sums.collect::<Vec<_>>(),
        "found": report.found,
        "breaks": report.breaks.iter().map(break_json).collect::<Vec<_>>(),
    })
}

fn break_json(found: &Break) -> Value {
    let money = |money: Money| json!({ "amount_minor": money.minor.to_string(), "currency": money.currency.code() });
    json!({
        "kind": found.kind.as_str(),
        "what": found.what,
        "advice": found.kind.advice(),
        "order": found.order.as_ref().map(|whose| json!({
            "id": whose.id.to_string(),
            "number": whose.number.to_string(),
            "tenant": whose.tenant.as_str(),
            "state": whose.state.as_str(),
        })),
        "payment": found.payment.to_string(),
        "reference": found.reference.map(|reference| reference.to_string()),
        "there": found.there.map(|line| json!({
            "line": line.number,
            "operation": line.operation.as_str(),
            "amount": money(line.amount),
            "at": line.at.to_string(),
        })),
        "ours": found.ours.as_ref().map(|ours| json!({
            "operation": ours.operation.as_str(),
            "amount": money(ours.amount),
            "state": ours.state,
            "asked_at": ours.asked.map(|at| at.to_string()),
        })),
    })
}
