//! What a verb says by the numbers of a step: the version it is for, and its body as JSON has it.

use serde_json::{Value, json};

use super::{asked::Operation, known::NOBODYS, steps::Words};

pub(super) fn etag(order: &Value, etag: u8) -> String {
    let version = order["version"].as_u64().unwrap_or(1);
    match etag {
        0 => String::new(),
        1 => format!("\"v{version}\""),
        2 => format!("\"v{}\"", version + 7),
        3 => "*".to_owned(),
        4 => format!("\"v{}\", \"v{version}\"", version + 7),
        5 => format!("W/\"v{version}\""),
        _ => "v1".to_owned(),
    }
}

/// The body of a verb, as JSON has it.
pub(super) fn body(verb: Operation, order: &Value, words: Words) -> Value {
    let mut body = json!({});
    let reason = text(words.text);
    match verb {
        Operation::Confirm => say(&mut body, "reason", reason),
        Operation::Cancel | Operation::Fulfill | Operation::Return => {
            say(&mut body, "lines", pieces(words.pieces));
            say(&mut body, "reason", reason);
        }
        Operation::Note => say(&mut body, "text", reason.or_else(|| Some("Ring twice".into()))),
        Operation::Pay => {
            say(&mut body, "instrument", Some(instrument(words.token)));
            say(&mut body, "amount", amount(order, words.amount));
        }
        Operation::Capture => {
            say(&mut body, "payment_id", payment(order, words.token));
            say(&mut body, "amount", amount(order, words.amount));
        }
        Operation::Refund => {
            say(&mut body, "payment_id", payment(order, words.token));
            say(&mut body, "amount", amount(order, words.amount));
            say(&mut body, "lines", pieces(words.pieces));
        }
        Operation::Record => {
            let all = || Some(order["due"].clone()).filter(Value::is_object);
            let none = || json!({ "amount_minor": "0", "currency": "" });
            let amount = amount(order, words.amount).or_else(all).unwrap_or_else(none);
            say(&mut body, "amount", Some(amount));
            say(&mut body, "reason", reason);
        }
        Operation::Resolve => {
            say(&mut body, "operation_id", Some(operation(order, words.token)));
            say(&mut body, "outcome", Some(outcome(words.outcome)));
            say(&mut body, "reason", reason.or_else(|| Some("seen at the till".into())));
        }
        Operation::Create
        | Operation::Batch
        | Operation::Get
        | Operation::List
        | Operation::History
        | Operation::Feed => panic!("{verb:?} is no verb"),
    }
    body
}

fn say(body: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        body[name] = value;
    }
}

fn text(text: u8) -> Option<Value> {
    match text {
        0 => None,
        1 => Some("because – so".into()),
        2 => Some("two\nlines".into()),
        3 => Some("".into()),
        4 => Some("x".repeat(501).into()),
        _ => Some("x".repeat(2_001).into()),
    }
}

fn pieces(pieces: u8) -> Option<Value> {
    let of = |line: u32, quantity: u32| json!({ "line_no": line, "quantity": quantity });
    let named = match pieces {
        0 => return None,
        1 => vec![of(1, 1)],
        2 => vec![of(1, 2)],
        3 => vec![of(1, 1), of(2, 1)],
        4 => vec![of(1, 1), of(1, 1)],
        5 => vec![],
        6 => vec![of(0, 1)],
        7 => vec![of(1, 0), of(0, 0)],
        8 => vec![of(9, 1)],
        9 => vec![of(1, 1_000_000)],
        _ => vec![of(1, u32::MAX)],
    };
    Some(named.into())
}

fn amount(order: &Value, amount: u8) -> Option<Value> {
    let own = order["currency"].as_str().unwrap_or("EUR");
    let (minor, currency) = match amount {
        0 => return None,
        1 => return Some(order["totals"]["total"].clone()).filter(Value::is_object),
        2 => ("100", own),
        3 => ("1", own),
        4 => ("0", own),
        5 => ("-5", own),
        6 => ("10000000", own),
        7 => ("9223372036854775807", own),
        8 => ("100", "CHF"),
        9 => ("100", "XXX"),
        _ => ("0", ""),
    };
    Some(json!({ "amount_minor": minor, "currency": currency }))
}

fn instrument(token: u8) -> Value {
    match token {
        0 => "tok_ok".into(),
        1 => "tok_other".into(),
        2 => "".into(),
        3 => "has space".into(),
        4 => "4111111111111111".into(),
        _ => "t".repeat(256).into(),
    }
}

/// The id of a payment of the order, or what is none.
fn payment(order: &Value, token: u8) -> Option<Value> {
    let first = order["payments"][0]["id"].as_str();
    match token {
        0 => None,
        1 | 2 => Some(first.unwrap_or(NOBODYS).into()),
        3 => Some(NOBODYS.into()),
        4 => Some("".into()),
        _ => Some("no-uuid".into()),
    }
}

/// The id of an operation that waits for a person, or else of any, or what is none.
fn operation(order: &Value, token: u8) -> Value {
    let payments = order["payments"].as_array().into_iter().flatten();
    let all = payments.flat_map(|payment| payment["operations"].as_array().into_iter().flatten());
    let all: Vec<&Value> = all.collect();
    let parked = all.iter().find(|operation| operation["state"] == "PARKED");
    let found = parked.or(all.last()).and_then(|operation| operation["id"].as_str());
    match token {
        0 | 1 => found.unwrap_or(NOBODYS).into(),
        2 => NOBODYS.into(),
        3 => "".into(),
        _ => "no-uuid".into(),
    }
}

fn outcome(outcome: u8) -> Value {
    let outcome = match outcome {
        0 => "succeeded",
        1 => "declined",
        2 | 3 => "send-again",
        _ => "",
    };
    outcome.into()
}
