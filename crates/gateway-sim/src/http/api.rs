//! The contract's handlers, and what faults do to them.

use std::sync::Arc;

use axum::{
    Json as Answered,
    extract::{Path, State},
    response::{IntoResponse as _, Redirect, Response},
};
use http::HeaderValue;
use serde_json::{Value, json};

use super::{
    body::{Amounted, Authorization, Json, Key, Void},
    problem::{Code, Problem},
    ruin::{REDIRECTED, Ruin},
};
use crate::{
    faults::{self, Fault, Strike},
    gateway::{self, Gateway},
    ledger::Answer,
    operation::{Command, Currency, Id, Kind, Money, Operation},
};

pub(super) async fn authorize(
    State(gateway): State<Arc<Gateway>>,
    key: Key,
    Json(body): Json<Authorization>,
) -> Result<Response, Problem> {
    operate(gateway, key, body.command()?).await
}

pub(super) async fn capture(
    State(gateway): State<Arc<Gateway>>,
    key: Key,
    Json(body): Json<Amounted>,
) -> Result<Response, Problem> {
    operate(gateway, key, body.command(Kind::Capture)?).await
}

pub(super) async fn void(
    State(gateway): State<Arc<Gateway>>,
    key: Key,
    Json(body): Json<Void>,
) -> Result<Response, Problem> {
    operate(gateway, key, body.command()).await
}

pub(super) async fn refund(
    State(gateway): State<Arc<Gateway>>,
    key: Key,
    Json(body): Json<Amounted>,
) -> Result<Response, Problem> {
    operate(gateway, key, body.command(Kind::Refund)?).await
}

/// What became of an operation.
pub(super) async fn lookup(
    State(gateway): State<Arc<Gateway>>,
    Path(reference): Path<String>,
) -> Result<Response, Problem> {
    let wrong = |error| Problem::malformed(format!("The reference is wrong: {error}."));
    let reference: Id = reference.parse().map_err(wrong)?;
    let strike = gateway.strike_lookup();
    let faults = gateway.faults().config();
    if let Some(response) = before(&strike) {
        return Ok(response);
    }
    let found = gateway.with_ledger(move |ledger| ledger.find(reference)).await?;
    let response = match found {
        Some(operation) => Answered(lie(operation, &strike)).into_response(),
        None => Problem::new(Code::NotFound, "There is no such operation.").into_response(),
    };
    Ok(after(response, &strike, faults))
}

/// What is promised here.
pub(super) async fn capabilities(State(gateway): State<Arc<Gateway>>) -> Answered<Value> {
    Answered(json!({
        "contract": "1",
        "idempotency_window_seconds": gateway.ledger().window().as_secs(),
        "webhooks": gateway.sends_webhooks(),
        "lookup": true,
    }))
}

/// One operation from its faults to its answer.
async fn operate(
    gateway: Arc<Gateway>,
    Key(key): Key,
    command: Command,
) -> Result<Response, Problem> {
    let unknown = |error| Problem::malformed(format!("The instrument is wrong: {error}."));
    let steer = gateway::steer(&command).map_err(unknown)?;
    let (strike, asked) = gateway.strike(command, key, steer).await?;
    if strike.has(Fault::LateApply)
        && !strike.has(Fault::Burst429)
        && !strike.has(Fault::EffectLost)
    {
        gateway.apply_late(asked.clone());
    }
    if let Some(response) = before(&strike) {
        return Ok(response);
    }
    let response = answer(gateway.apply(asked).await?, &strike);
    Ok(after(response, &strike, gateway.faults().config()))
}

fn answer(answer: Answer, strike: &Strike) -> Response {
    match answer {
        Answer::Decided(operation) => Answered(lie(operation, strike)).into_response(),
        Answer::Replayed(operation) => {
            let mut response = Answered(lie(operation, strike)).into_response();
            let replayed = HeaderValue::from_static("true");
            response.headers_mut().insert("idempotent-replayed", replayed);
            response
        }
        Answer::KeyReused => {
            let detail = "The Idempotency-Key stands for another request.";
            Problem::new(Code::KeyReused, detail).into_response()
        }
        Answer::ReferenceInUse => {
            let detail = "Another Idempotency-Key stands for this reference.";
            Problem::new(Code::ReferenceInUse, detail).into_response()
        }
    }
}

/// The end of a request that comes to no effect, or to none yet.
fn before(strike: &Strike) -> Option<Response> {
    if strike.has(Fault::Burst429) {
        let detail = "There are too many requests.";
        return Some(Problem::new(Code::TooManyRequests, detail).into_response());
    }
    let silent = strike.has(Fault::EffectLost) || strike.has(Fault::LateApply);
    silent.then(|| Ruin::silence(std::time::Duration::ZERO).on(Response::default()))
}

/// What the faults make of the answer to an effect.
fn after(response: Response, strike: &Strike, faults: &faults::Config) -> Response {
    let hold = if strike.has(Fault::Hang) { faults.hang } else { std::time::Duration::ZERO };
    if strike.has(Fault::AnswerLost) {
        Ruin::silence(hold).on(response)
    } else if strike.has(Fault::Reset) {
        Ruin::reset(hold).on(response)
    } else if strike.has(Fault::ErrorAfterSuccess) {
        let problem = Problem::new(Code::Internal, "Something failed; the outcome is unknown.");
        Ruin::held(hold).on(problem.into_response())
    } else if strike.has(Fault::Redirect) {
        Ruin::held(hold).on(Redirect::temporary(REDIRECTED).into_response())
    } else if strike.has(Fault::SlowDrip) {
        Ruin::drip(hold, faults.drip).on(response)
    } else if strike.has(Fault::HugeAnswer) {
        Ruin::huge(hold, faults.huge_bytes).on(response)
    } else {
        Ruin::held(hold).on(response)
    }
}

/// The operation, as far as the faults let it be told.
fn lie(mut operation: Operation, strike: &Strike) -> Operation {
    if strike.has(Fault::LieAmount) {
        operation.amount.minor += 1;
    }
    if strike.has(Fault::LieCurrency) {
        let other = if operation.amount.currency.code() == "USD" { *b"EUR" } else { *b"USD" };
        operation.amount = Money::new(operation.amount.minor, Currency::of(other));
    }
    if strike.has(Fault::LieKey) {
        let first = if operation.idempotency_key.starts_with('x') { "y" } else { "x" };
        operation.idempotency_key.replace_range(..1, first);
    }
    operation
}
