//! `orderly audit`: whether a store holds together.

use std::process::ExitCode;

use orders::audit::{Report, audit};
use orders_adapters::sqlite::Sqlite;
use serde_json::json;

use crate::{
    cli::Audit,
    config,
    console::{Failure, say},
};

/// Findings shown; the rest are counted.
const SHOWN: usize = 50;

/// Reads one snapshot of the store and says what cannot be.
pub(crate) fn run(options: &Audit) -> Result<ExitCode, Failure> {
    let config = config::load(&options.config)?.value;
    let snapshot = Sqlite::snapshot(&config.store.path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let report = runtime.block_on(audit(&snapshot))?;
    if options.json {
        say(&as_json(&report).to_string());
    } else {
        show(&report);
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(report: &Report) {
    let census = &report.census;
    say(&format!(
        "{} orders, {} history rows, {} events, {} receipts",
        census.orders, census.history, census.events, census.receipts
    ));
    for finding in report.findings.iter().take(SHOWN) {
        say(&format!("  {finding}"));
    }
    match report.findings.len() {
        0 => say("sound: every version has its history row and its event, every total adds up"),
        count => say(&format!("{count} things cannot be; the store needs a person")),
    }
}

fn as_json(report: &Report) -> serde_json::Value {
    let census = &report.census;
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    json!({
        "orders": census.orders,
        "history": census.history,
        "events": census.events,
        "receipts": census.receipts,
        "findings": findings,
    })
}
