//! Both protocols do the same: the same outcome, the same code of the one table, the same orders in the
//! end.
//!
//! Sequences of commands are generated from a seed and played over HTTP, over gRPC and over both in
//! turn, each on a world of its own, by keys and tokens of one tenant at random. After each command the
//! answers are compared to their last field in one form, at the end all that is stored; who did what is held
//! against who asked. The worlds are over the store that `ORDERLY_TEST_STORE` names. The long form is
//! `scripts/check/parity`.

mod asked;
mod bugs;
mod drafts;
mod grpc;
mod http;
mod known;
mod message;
mod problem;
mod run;
mod signed;
mod steps;
mod table;
mod told;
mod words;

use std::{collections::BTreeSet, fs};

use orders_api::grpc::DESCRIPTORS;
use orders_testkit::World;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};

use self::{
    asked::Operation,
    bugs::Bug,
    run::{Counts, shrink, sweep},
};

/// The seed, the first sequence, how many, and how many steps each has on average.
type Plan = (u64, u64, u64, usize);

/// What `make test` plays.
const SHORT: Plan = (20_260_101, 0, 60, 40);
/// Within so many sequences a planted difference is found.
const LIMIT: u64 = 60;

/// What is played: the short form, unless whoever runs the test says otherwise.
fn plan() -> Plan {
    let Some(text) = given("ORDERLY_PARITY") else { return SHORT };
    let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
    let [seed, first, sequences, steps] = numbers[..] else {
        panic!("ORDERLY_PARITY is \"SEED FIRST SEQUENCES STEPS\", not {text:?}");
    };
    (seed, first, sequences, steps.try_into().unwrap())
}

/// Leaves what came out where whoever runs the test wants it.
fn report(report: &Value) {
    if let Some(file) = given("ORDERLY_PARITY_REPORT") {
        fs::write(file, report.to_string()).unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "a switch for whoever runs the test")]
pub(crate) fn given(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::test(start_paused = true)]
async fn generated_commands_come_to_the_same_over_both_protocols() {
    let (seed, first, sequences, steps) = plan();
    let counts = match sweep((seed, first, sequences), steps, None).await {
        Ok(counts) => counts,
        Err(differs) => {
            let store = given("ORDERLY_TEST_STORE").unwrap_or_default();
            let plan = format!("{seed} {} 1 {steps}", differs.number);
            let replay = format!("ORDERLY_TEST_STORE={store} ORDERLY_PARITY=\"{plan}\"");
            let (shortest, before, reason) = shrink((seed, steps), differs, None).await;
            panic!("{shortest:#?}\n{reason}\n{before} steps, {} left: {replay}", shortest.len());
        }
    };
    report(&counts.report());
    if (first, sequences, steps) == (SHORT.1, SHORT.2, SHORT.3) {
        says_enough(&counts);
    }
}

/// Asserts that every operation was done and refused, and that keys were used again.
fn says_enough(counts: &Counts) {
    for operation in Operation::ALL {
        let (done, refused) = counts.operations.get(&operation).copied().unwrap_or_default();
        assert!(done > 0 && refused > 0, "{operation:?}: {done} done, {refused} refused");
    }
    assert!(counts.replays > 0, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn every_planted_difference_is_found() {
    let mut found = serde_json::Map::new();
    for bug in Bug::ALL {
        let swept = sweep((SHORT.0, 0, LIMIT), SHORT.3, Some(bug)).await;
        let Err(differs) = swept else { panic!("{bug:?} escapes") };
        // After so many sequences.
        found.insert(format!("{bug:?}"), json!(differs.number + 1));
    }
    report(&found.into());
}

#[tokio::test(start_paused = true)]
async fn a_sequence_that_differs_is_shrunk() {
    let bug = Some(Bug::FieldUntold);
    let swept = sweep((SHORT.0, 0, LIMIT), SHORT.3, bug).await;
    let Err(differs) = swept else { panic!("it escapes") };
    let (shortest, _, reason) = shrink((SHORT.0, SHORT.3), differs, bug).await;
    // Only the placing of an order is needed.
    assert!(shortest.len() <= 2, "{shortest:#?}");
    assert!(reason.contains("/body/due"), "{reason}");
}

#[test]
fn every_operation_of_both_protocols_is_asked_for() {
    let document = serde_json::to_value(orders_api::http::openapi::<World>()).unwrap();
    let mut over_http = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let methods = methods.as_object().unwrap().keys();
        over_http.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
    }
    // What the payment provider calls is no client's, and is only there over HTTP.
    over_http.retain(|(_, path)| path.starts_with("/v1/"));
    let asked = Operation::ALL.map(|operation| {
        let (method, path) = operation.address();
        (method.to_owned(), path.to_owned())
    });
    assert_eq!(BTreeSet::from(asked), over_http);

    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let services = files.iter().filter(|file| file.package() == "orders.v1");
    let calls = services.flat_map(|file| &file.service).flat_map(|service| &service.method);
    let calls: BTreeSet<&str> = calls.map(prost_types::MethodDescriptorProto::name).collect();
    assert_eq!(BTreeSet::from(Operation::ALL.map(Operation::call)), calls);
}
