//! Places orders over connections that are lost under their commit, drops every kind of call at each of
//! its awaits, and says what became of them.
//!
//! `cargo run --release -p orders-adapters --features postgres --example pg_faults -- --trials 1000`
//! starts a PostgreSQL, prints a table and one line of JSON, and exits with 1 unless every order is
//! there once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it fails by panicking, as a test does")]

#[path = "../tests/it/postgres/dropping.rs"]
mod dropping;
#[path = "../tests/it/postgres/process.rs"]
mod process;
#[path = "../tests/it/postgres/trials.rs"]
mod trials;

use std::{
    io::{Write as _, stdout},
    process::ExitCode,
};

use orders_adapters::postgres::Config;
use orders_testkit::servers;
use serde_json::json;

use self::trials::{Cut, Outcome, run};

const CUTS: [(&str, Cut); 3] = [
    ("after_commit", Cut::AfterCommit),
    ("anywhere", Cut::Anywhere),
    ("in_the_answer", Cut::InTheAnswer),
];

#[tokio::main]
async fn main() -> ExitCode {
    let trials = asked_for();
    let mut rows = Vec::new();
    for (name, cut) in CUTS {
        rows.push((name, run(&servers::postgres().database(), cut, trials).await));
    }
    let mut out = stdout().lock();
    writeln!(
        out,
        "| cut | trials | resets | retries | orders | lost | duplicates | findings |\n\
         |---|---|---|---|---|---|---|---|"
    )
    .unwrap();
    for (name, outcome) in &rows {
        let Outcome { trials, resets, retries, orders, lost, duplicates, findings } = outcome;
        writeln!(
            out,
            "| {name} | {trials} | {resets} | {retries} | {orders} | {lost} | {duplicates} | {findings} |"
        )
        .unwrap();
    }
    let mut record: serde_json::Map<_, _> =
        rows.iter().map(|(name, outcome)| ((*name).to_owned(), told(outcome))).collect();
    let config = dropping::narrow(Config::at(servers::postgres().database()));
    // Fails by itself when whoever comes next is not served.
    let dropped: serde_json::Map<_, _> = dropping::every_call(&config)
        .await
        .into_iter()
        .map(|(call, awaits)| (call.to_owned(), json!(awaits)))
        .collect();
    record.insert("dropped".to_owned(), dropped.into());
    writeln!(out, "{}", serde_json::Value::from(record)).unwrap();
    let is_sound = rows.iter().all(|(_, outcome)| outcome.is_sound());
    if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What `--trials` says.
fn asked_for() -> u32 {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("--trials"), Some(count)) => count.parse().unwrap(),
        (None, None) => 50,
        other => panic!("--trials COUNT, and not {other:?}"),
    }
}

fn told(outcome: &Outcome) -> serde_json::Value {
    let Outcome { trials, resets, retries, orders, lost, duplicates, findings } = outcome;
    json!({
        "trials": trials, "resets": resets, "retries": retries, "orders": orders, "lost": lost,
        "duplicates": duplicates, "findings": findings,
    })
}
