//! Problems in one form: what HTTP tells, with places in a request as the paths of messages.
//!
//! How a request must be written is each protocol's own, so of what is `malformed` only the places are
//! compared, not the words.

use std::collections::HashMap;

use orders_api::problem::Code;
use serde_json::{Value, json};
use tonic::{Code as Grpc, Status};
use tonic_types::{FieldViolation, StatusExt as _};

use super::{asked::Operation, told};

/// How many faults of one request are compared; calls have no room for more of the longest.
const TOLD: usize = 8;

/// A problem as HTTP tells it.
pub(super) fn over_http(operation: Operation, mut problem: Value) -> Value {
    let all = problem["errors"].take();
    let errors = all.as_array().into_iter().flatten();
    let told = errors.map(|error| {
        json!({
            "field": field(operation, error),
            "code": error["code"],
            "detail": error["detail"],
        })
    });
    let told = told.collect();
    in_one_form(problem, told, all.as_array().map_or(0, Vec::len))
}

/// The same as a call is told.
pub(super) fn over_grpc(status: &Status) -> Value {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    let name = info.reason.to_lowercase().replace('_', "-");
    let code = Code::ALL.iter().copied().find(|code| code.as_str() == name);
    let code = code.unwrap_or_else(|| panic!("{name} is in no table"));
    let request = status.get_details_request_info().expect("a RequestInfo");
    let mut metadata = info.metadata;
    let retryable = metadata.remove("retryable").unwrap_or_default() == "true";
    let http = if is_unkeyed(code, retryable) { 500 } else { code.status().as_u16() };
    let mut problem = json!({
        "type": code.uri(),
        "title": code.title(),
        "status": http,
        "code": name,
        "detail": status.message(),
        "advice": metadata.remove("advice"),
        "request_id": request.request_id,
        "trace_id": metadata.remove("trace_id"),
        "retryable": retryable,
    });
    let count = metadata.remove("errors").map_or(0, |count| count.parse().expect("a count"));
    metadata.remove("replayed");
    facts(&mut problem, metadata);
    odd(&mut problem, status, code, retryable);
    let violations = status.get_details_bad_request().map(|found| found.field_violations);
    let told = violations.into_iter().flatten().map(violation).collect();
    in_one_form(problem, told, count)
}

/// Whether a refusal was decided in an earlier try.
pub(super) fn is_replayed(status: &Status) -> bool {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    info.metadata.get("replayed").is_some_and(|replayed| replayed == "true")
}

/// How many seconds to wait before the next try; empty when it is not told.
pub(super) fn retry_after(status: &Status) -> String {
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
    delay.map_or_else(String::new, |delay| delay.as_secs().to_string())
}

fn in_one_form(mut problem: Value, mut errors: Vec<Value>, count: usize) -> Value {
    errors.truncate(TOLD);
    if problem["code"] == "malformed" {
        problem["detail"] = Value::Null;
        for error in &mut errors {
            (error["code"], error["detail"]) = (Value::Null, Value::Null);
        }
    }
    problem["errors"] = errors.into();
    problem["errors_in_all"] = count.into();
    problem
}

/// Where in the message of a call it is what HTTP finds fault with.
fn field(operation: Operation, error: &Value) -> String {
    if let Some(name) = error["parameter"].as_str() {
        let name = match name {
            "Idempotency-Key" => "idempotency_key",
            "If-Match" => "etag",
            name => name,
        };
        return name.to_owned();
    }
    let pointer = error["pointer"].as_str().unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    if operation == Operation::Create {
        names.push("order".to_owned());
    }
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        let own_name = names.last().is_some_and(|last| last == "metadata");
        let is_index = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if own_name || !is_index {
            let is_amount = !own_name && name == "amount_minor";
            names.push(if is_amount { "minor".to_owned() } else { name });
        } else if let Some(last) = names.last_mut() {
            let pieces = last == "lines" && operation != Operation::Create;
            let pieces = pieces && operation != Operation::Batch;
            last.push_str(if pieces { ".pieces" } else { "" });
            last.extend(["[", name.as_str(), "]"]);
        }
    }
    names.join(".")
}

/// What else is known of it, by the names of HTTP.
fn facts(problem: &mut Value, mut known: HashMap<String, String>) {
    if let Some(calls) = known.remove("allowed_transitions") {
        let calls = calls.split(',').filter(|call| !call.is_empty());
        problem["allowed_transitions"] = calls.map(told::verb).collect();
    }
    if let Some(version) = known.remove("current_version") {
        problem["current_version"] = version.parse::<u64>().expect("a version").into();
    }
    if let Some(order) = known.remove("order") {
        problem["order"] = format!("/v1/orders/{order}").into();
    }
    if let Some(position) = known.remove("oldest_position") {
        problem["oldest_position"] = position.into();
    }
    if let Some(currency) = known.remove("expected_currency") {
        let minor = known.remove("expected_total_minor");
        problem["expected_total"] = json!({ "amount_minor": minor, "currency": currency });
    }
    if let Some(currency) = known.remove("computed_currency") {
        for (name, minor) in known.extract_if(|name, _| name.starts_with("computed_")) {
            let name = name.trim_start_matches("computed_").trim_end_matches("_minor");
            problem["computed_totals"][name] =
                json!({ "amount_minor": minor, "currency": currency });
        }
    }
    // What HTTP does not tell is told by its own name, and found.
    for (name, value) in known {
        problem[format!("metadata {name}")] = value.into();
    }
}

/// What a status says beside the one table, where it does not fit it.
fn odd(problem: &mut Value, status: &Status, code: Code, retryable: bool) {
    let expected = if is_unkeyed(code, retryable) { Grpc::Unknown } else { code.grpc() };
    if status.code() != expected {
        problem["grpc"] = format!("{:?}, not {expected:?}", status.code()).into();
    }
    let fails = expected == Grpc::FailedPrecondition || code == Code::VersionMismatch;
    if status.get_details_precondition_failure().is_some() != fails {
        problem["precondition"] = (!fails).into();
    }
}

/// Whether it is of a change without a key that may have been made: a proxy must not try it again.
fn is_unkeyed(code: Code, retryable: bool) -> bool {
    code == Code::OutcomeUnknown && !retryable
}

fn violation(violation: FieldViolation) -> Value {
    let FieldViolation { field, description, reason, .. } = violation;
    let code = reason.to_lowercase().replace('_', "-");
    json!({ "field": field, "code": code, "detail": description })
}
