//! What whoever tests with the simulator asks of it: faults, reset, and the ledger as the judge.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json as Answered,
    extract::{Query, State, rejection::QueryRejection},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{body::Json, problem::Problem};
use crate::{
    faults::{Fault, Plan},
    gateway::Gateway,
    ledger::{self, Page, Summary},
    operation::Id,
};

/// The faults in force and what they did.
#[derive(Debug, Serialize)]
pub(super) struct InForce {
    plan: Plan,
    struck: BTreeMap<Fault, u64>,
    redirects_followed: u64,
    known: BTreeMap<Fault, &'static str>,
}

impl InForce {
    fn now(gateway: &Gateway) -> Self {
        let faults = gateway.faults();
        Self {
            plan: faults.plan(),
            struck: faults.counts(),
            redirects_followed: faults.redirects_followed(),
            known: Fault::ALL.into_iter().map(|fault| (fault, fault.what())).collect(),
        }
    }
}

pub(super) async fn faults(State(gateway): State<Arc<Gateway>>) -> Answered<InForce> {
    Answered(InForce::now(&gateway))
}

/// Puts a plan in the place of what is in force.
pub(super) async fn set_faults(
    State(gateway): State<Arc<Gateway>>,
    Json(plan): Json<Plan>,
) -> Result<Answered<InForce>, Problem> {
    let wrong = |error| Problem::malformed(format!("The plan is wrong: {error}."));
    gateway.faults().set(plan).map_err(wrong)?;
    Ok(Answered(InForce::now(&gateway)))
}

/// Forgets every payment, and goes back to the configured faults.
pub(super) async fn reset(State(gateway): State<Arc<Gateway>>) -> Result<StatusCode, Problem> {
    gateway.faults().clear();
    gateway.with_ledger(ledger::Ledger::reset).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which part of the ledger.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    payment: Option<Id>,
    #[serde(default)]
    after: i64,
    #[serde(default = "hundred")]
    limit: u32,
}

const fn hundred() -> u32 {
    100
}

/// Payments, with the whole in numbers.
#[derive(Debug, Serialize)]
pub(super) struct Judged {
    summary: Summary,
    #[serde(flatten)]
    page: Page,
}

/// What really happened.
pub(super) async fn ledger(
    State(gateway): State<Arc<Gateway>>,
    part: Result<Query<Part>, QueryRejection>,
) -> Result<Answered<Judged>, Problem> {
    let wrong = |error: QueryRejection| Problem::malformed(format!("{error}."));
    let Query(Part { payment, after, limit }) = part.map_err(wrong)?;
    let query = payment.map_or(ledger::Query::After(after, limit), ledger::Query::Of);
    let read = move |ledger: &ledger::Ledger| {
        Ok(Judged { summary: ledger.summary()?, page: ledger.payments(query)? })
    };
    Ok(Answered(gateway.with_ledger(read).await?))
}

/// Counts who follows a redirect, which nobody should: the answer is no operation.
pub(super) async fn redirected(State(gateway): State<Arc<Gateway>>) -> &'static str {
    gateway.faults().redirect_followed();
    "You followed a redirect.\n"
}
