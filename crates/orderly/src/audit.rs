//! `orderly audit`: whether a store holds together.

use std::process::ExitCode;

use orders::audit::{Report, audit};
use serde_json::json;

use crate::{
    cli::Audit,
    config,
    console::{Failure, many, say},
    wired,
};

/// Findings shown; the rest are counted.
const SHOWN: usize = 50;

/// Reads one snapshot of the store and says what cannot be.
pub(crate) fn run(options: &Audit) -> Result<ExitCode, Failure> {
    let config = config::load(&options.config)?.value;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let snapshot = runtime.block_on(wired::snapshot(&config))?;
    let store = wired::name(&config);
    if options.json {
        let report = runtime.block_on(audit(&snapshot))?;
        say(&as_json(&store, &report).to_string());
        return Ok(verdict(&report));
    }
    // Before the audit, which may take long.
    say(&format!("store {store}"));
    let report = runtime.block_on(audit(&snapshot))?;
    show(&report);
    Ok(verdict(&report))
}

fn verdict(report: &Report) -> ExitCode {
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(report: &Report) {
    let census = &report.census;
    say(&format!(
        "{}, {}, {}, {}",
        many(census.orders, "order"),
        many(census.history, "history row"),
        many(census.events, "event"),
        many(census.receipts, "receipt"),
    ));
    for finding in report.findings.iter().take(SHOWN) {
        say(&format!("  {finding}"));
    }
    match report.findings.len() {
        0 if census.orders == 0 => say("empty: no order was ever placed in this store"),
        0 => say("sound: every version has its history row and its event, every total adds up"),
        1 => say("1 thing cannot be; the store needs a person"),
        count => say(&format!("{count} things cannot be; the store needs a person")),
    }
}

fn as_json(store: &str, report: &Report) -> serde_json::Value {
    let census = &report.census;
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    json!({
        "store": store,
        "orders": census.orders,
        "history": census.history,
        "events": census.events,
        "receipts": census.receipts,
        "findings": findings,
    })
}
