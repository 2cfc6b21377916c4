//! The idempotency table of the contract as data, and what it takes to run it against the core over
//! any store and against the service over any protocol.

mod core;

use std::{collections::BTreeMap, future::Future};

use serde::Deserialize;
use serde_json::Value;

pub use self::core::CoreDriver;

/// One case of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What it shows, as a fact.
    pub name: String,
    /// What happens first.
    pub given: Vec<Step>,
    /// What is then asked.
    pub when: Step,
}

/// One request, or time passing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// `create`, `confirm`, `cancel`, `note` or `advance`.
    #[serde(rename = "do")]
    pub action: String,
    /// Whose request.
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// By which credential.
    #[serde(default = "default_principal")]
    pub principal: String,
    /// For a verb: the label of the order.
    pub order: Option<String>,
    /// The idempotency key.
    pub key: Option<String>,
    /// The body, as the HTTP API takes it.
    #[serde(default)]
    pub body: Value,
    /// The version in `If-Match`.
    pub if_match: Option<u64>,
    /// For `advance`: how many hours pass.
    #[serde(default)]
    pub hours: i64,
    /// Sends the same request this often at once (1 or 4); one is the first, the others replay it.
    #[serde(default = "one")]
    pub at_once: u8,
    /// The label that the order in the answer gets.
    #[serde(rename = "as")]
    pub label: Option<String>,
    /// What is answered.
    pub expect: Option<Expect>,
}

/// What an answer must say; what is absent is not looked at.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The outcome's code.
    pub code: String,
    /// Whether the decision was made in an earlier request.
    pub replayed: Option<bool>,
    /// The label of the order in the answer.
    pub order: Option<String>,
    /// A label whose order the answer's must not be.
    pub not_order: Option<String>,
    /// The state of the order.
    pub state: Option<String>,
    /// The version of the order.
    pub version: Option<u64>,
}

fn default_tenant() -> String {
    "acme".to_owned()
}

fn default_principal() -> String {
    "till-1".to_owned()
}

const fn one() -> u8 {
    1
}

/// A request to a driver.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose request.
    pub tenant: String,
    /// By which credential of the tenant.
    pub principal: String,
    /// What is asked.
    pub call: Call,
    /// The idempotency key: 16 characters at least.
    pub key: Option<String>,
    /// The body, as the HTTP API takes it.
    pub body: Value,
    /// The version in `If-Match`.
    pub if_match: Option<u64>,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `POST /orders`
    Create,
    /// `POST /orders/{id}/confirm`, with the order's id.
    Confirm(String),
    /// `POST /orders/{id}/cancel`, with the order's id.
    Cancel(String),
    /// `POST /orders/{id}/notes`, with the order's id.
    AddNote(String),
}

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// `created` or `ok` for what was done now, `replayed` for what was done before, else the
    /// problem's code.
    pub code: String,
    /// Whether the decision was made in an earlier request; true of a replayed refusal too.
    pub replayed: bool,
    /// The id of the order in the answer: the order itself, or the one that a problem names.
    pub order: Option<String>,
    /// The order's state, when the answer holds the order.
    pub state: Option<String>,
    /// The order's version, when the answer holds the order.
    pub version: Option<u64>,
}

/// Something that takes requests: the core over a store, or the service over a protocol.
pub trait IdempotencyDriver {
    /// Sends one request and waits for its outcome.
    fn send(&self, request: Request) -> impl Future<Output = Outcome>;

    /// Lets the service's wall clock go on by some hours.
    fn advance(&self, hours: i64) -> impl Future<Output = ()>;
}

/// The table.
///
/// # Panics
/// When the data file does not parse.
pub fn table() -> Vec<Row> {
    let text = include_str!("../data/idempotency.json");
    serde_json::from_str(text).expect("data/idempotency.json is a table")
}

/// Runs every row, each on a fresh driver.
///
/// # Panics
/// When an answer is not the one in the table; the message names the row.
pub async fn run<D: IdempotencyDriver>(fresh: impl AsyncFn() -> D) {
    for row in table() {
        let driver = fresh().await;
        let mut labels = BTreeMap::new();
        for step in row.given.iter().chain([&row.when]) {
            Box::pin(run_step(&driver, &row.name, step, &mut labels)).await;
        }
    }
}

type Labels = BTreeMap<String, String>;

async fn run_step(driver: &impl IdempotencyDriver, row: &str, step: &Step, labels: &mut Labels) {
    if step.action == "advance" {
        return driver.advance(step.hours).await;
    }
    let request = request(row, step, labels);
    let outcome = if step.at_once > 1 {
        twins(driver, row, request).await
    } else {
        driver.send(request).await
    };
    let at = format!("{row}: {} answers {outcome:?}", step.action);
    if let Some(label) = &step.label {
        let order = outcome.order.clone().unwrap_or_else(|| panic!("{at}, which names no order"));
        labels.insert(label.clone(), order);
    }
    if let Some(expect) = &step.expect {
        assert_eq!(outcome.code, expect.code, "{at}");
        let label = |label: &String| labels.get(label).cloned();
        if let Some(order) = &expect.order {
            assert_eq!(outcome.order, label(order), "{at}");
        }
        if let Some(other) = &expect.not_order {
            assert_ne!(outcome.order, label(other), "{at}");
        }
        if let Some(replayed) = expect.replayed {
            assert_eq!(outcome.replayed, replayed, "{at}");
        }
        if expect.state.is_some() {
            assert_eq!(outcome.state, expect.state, "{at}");
        }
        if expect.version.is_some() {
            assert_eq!(outcome.version, expect.version, "{at}");
        }
    }
}

fn request(row: &str, step: &Step, labels: &Labels) -> Request {
    let order = || {
        let label = step.order.as_ref().unwrap_or_else(|| panic!("{row}: a verb needs an order"));
        labels.get(label).unwrap_or_else(|| panic!("{row}: no order is called {label}")).clone()
    };
    let call = match step.action.as_str() {
        "create" => Call::Create,
        "confirm" => Call::Confirm(order()),
        "cancel" => Call::Cancel(order()),
        "note" => Call::AddNote(order()),
        other => panic!("{row}: {other} is nothing that can be done"),
    };
    Request {
        tenant: step.tenant.clone(),
        principal: step.principal.clone(),
        call,
        key: step.key.clone(),
        body: step.body.clone(),
        if_match: step.if_match,
    }
}

/// Four at once: one is decided, the others learn of it.
async fn twins(driver: &impl IdempotencyDriver, row: &str, request: Request) -> Outcome {
    let send = || Box::pin(driver.send(request.clone()));
    let (a, b, c, d) = tokio::join!(send(), send(), send(), send());
    let (replays, mut first): (Vec<_>, Vec<_>) = [a, b, c, d].into_iter().partition(|o| o.replayed);
    assert_eq!((first.len(), replays.len()), (1, 3), "{row}: {first:?} {replays:?}");
    let first = first.remove(0);
    for replay in &replays {
        assert_eq!(replay.order, first.order, "{row}");
    }
    first
}
