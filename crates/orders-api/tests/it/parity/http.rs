//! The HTTP side: a request, and its answer in the one form.

use std::fmt::Write as _;

use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use super::{
    asked::{Asked, Head, Operation, spanless},
    problem,
};
use crate::shop::{Answer, Shop};

pub(super) async fn send(shop: &Shop, asked: &Asked) -> Value {
    if asked.operation == Operation::Feed {
        return feed(shop, asked).await;
    }
    told(asked.operation, &shop.send(request(asked)).await)
}

fn request(asked: &Asked) -> Request<Body> {
    let (method, path) = asked.operation.address();
    let path = path.replace("{id}", &encoded(&asked.order));
    let uri = format!("{path}{}", query(asked));
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in asked.headers() {
        request = request.header(name, value);
    }
    if !asked.key.is_empty() {
        request = request.header("idempotency-key", key(asked));
    }
    if !asked.etag.is_empty() {
        request = request.header("if-match", &asked.etag);
    }
    if asked.wait > 0 && asked.operation.waits() {
        request = request.header("prefer", format!("wait={}", asked.wait));
    }
    if asked.operation.is_read() {
        return request.body(Body::empty()).unwrap();
    }
    let (kind, body) = if asked.operation == Operation::Batch {
        ("application/x-ndjson", lines(&asked.body))
    } else {
        ("application/json", asked.body.to_string())
    };
    request.header("content-type", kind).body(Body::from(body)).unwrap()
}

/// The key as its header has it: bare or quoted, by turns. One that begins with a quote is only read
/// as itself when it is quoted.
fn key(asked: &Asked) -> String {
    let key = &asked.key;
    if asked.number.is_multiple_of(2) && !key.starts_with('"') {
        return key.clone();
    }
    format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
}

fn lines(batch: &Value) -> String {
    let items = batch["orders"].as_array().into_iter().flatten();
    items.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The query, with its question mark, or nothing.
fn query(asked: &Asked) -> String {
    let mut all = Vec::new();
    if asked.validate_only {
        all.push("validate_only=true".to_owned());
    }
    if asked.operation.is_read() {
        for (name, value) in asked.body.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            all.push(format!("{name}={}", encoded(&value)));
        }
    }
    if all.is_empty() { String::new() } else { format!("?{}", all.join("&")) }
}

/// A text as it stands in an address (RFC 3986).
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes all");
        }
        encoded
    })
}

fn told(operation: Operation, answer: &Answer) -> Value {
    let head = Head {
        status: answer.status.as_u16(),
        replayed: answer.header("idempotent-replayed") == "true",
        etag: answer.header("etag").to_owned(),
        location: answer.header("location").to_owned(),
        retry_after: answer.header("retry-after").to_owned(),
    };
    if !answer.status.is_success() {
        return head.with(&problem::over_http(operation, answer.json()));
    }
    if operation == Operation::Batch {
        return head.with(&json!({ "results": results(&answer.text()) }));
    }
    head.with(&answer.json())
}

/// The answers to a batch, line by line.
fn results(lines: &str) -> Vec<Value> {
    let result = |line: &str| {
        let mut result: Value = serde_json::from_str(line).expect("a line of JSON");
        if result["problem"].is_object() {
            let problem = result["problem"].take();
            result["problem"] = problem::over_http(Operation::Batch, problem);
        }
        result
    };
    lines.lines().map(result).collect()
}

/// Every event from there on, page by page until there are no more.
async fn feed(shop: &Shop, asked: &Asked) -> Value {
    let (mut asked, mut events) = (asked.clone(), Vec::new());
    loop {
        let mut answer = told(Operation::Feed, &shop.send(request(&asked)).await);
        if answer["status"] != 200 {
            return answer;
        }
        let next = answer["body"]["next"].take();
        let page = answer["body"]["events"].as_array().cloned().unwrap_or_default();
        if page.is_empty() {
            answer["body"] = json!({ "events": events, "next": next });
            return answer;
        }
        events.extend(page.into_iter().map(without_span));
        asked.body["after"] = next;
    }
}

fn without_span(mut event: Value) -> Value {
    if let Some(trace) = event["traceparent"].as_str() {
        event["traceparent"] = spanless(trace).into();
    }
    event
}
