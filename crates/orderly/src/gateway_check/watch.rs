//! What must hold of every single answer, whatever was asked.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    exchange::{Came, Exchange, JSON, Silence},
    facts::{Checked, Evidence, Part, Trouble},
};

/// The first answer that breaks each rule, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Watch {
    answers: u64,
    operations: u64,
    redirect: Option<Evidence>,
    kind: Option<Evidence>,
    problem: Option<Evidence>,
    too_long: Option<Evidence>,
    shape: Option<Evidence>,
    fit: Option<Evidence>,
    sums: Option<Evidence>,
}

impl Watch {
    pub(super) fn see(&mut self, exchange: &Exchange) {
        self.answers += 1;
        let status = match &exchange.came {
            Came::Answer(status, ..) => *status,
            Came::Nothing(Silence::TooLong, _) => {
                return note(&mut self.too_long, exchange, "an answer of at most 64 KiB");
            }
            Came::Nothing(..) => return,
        };
        if status.is_redirection() {
            note(&mut self.redirect, exchange, "an answer and no redirect");
        } else if status == StatusCode::OK {
            self.see_success(exchange);
        } else if status.is_client_error() {
            self.see_problem(exchange, status);
        }
    }

    fn see_success(&mut self, exchange: &Exchange) {
        if !is_of_type(exchange, JSON) {
            note(&mut self.kind, exchange, "the Content-Type application/json");
        }
        if exchange.ask.path() == "/v1/capabilities" {
            return;
        }
        self.operations += 1;
        let told = exchange.json();
        if let Err(wanted) = is_operation(&told) {
            return note(&mut self.shape, exchange, wanted);
        }
        if let Err(wanted) = fits(exchange, &told) {
            note(&mut self.fit, exchange, &wanted);
        }
        if let Err(wanted) = adds_up(&told) {
            note(&mut self.sums, exchange, wanted);
        }
    }

    fn see_problem(&mut self, exchange: &Exchange, status: StatusCode) {
        if !is_of_type(exchange, "application/problem+json") {
            return note(&mut self.kind, exchange, "the Content-Type application/problem+json");
        }
        let told = exchange.json();
        let texts = ["type", "title", "code", "detail"];
        let whole = texts.iter().all(|name| told.get(name).is_some_and(Value::is_string));
        if !whole || told.get("status").and_then(Value::as_u64) != Some(status.as_u16().into()) {
            let wanted = "type, title, code and detail as text, and status as it is";
            note(&mut self.problem, exchange, wanted);
        }
    }

    /// Notes what held of all answers.
    pub(super) fn facts(&self, part: &mut Part<'_>) {
        let all = |found: &Option<Evidence>| match found {
            Some(evidence) => Err(Trouble::Missing(Box::new(evidence.clone()))),
            None if self.answers == 0 => Err(Trouble::Unclear("there was no answer".to_owned())),
            None => Ok(()),
        };
        let of_operations = |found: &Option<Evidence>| -> Checked {
            if self.operations == 0 {
                return Err(Trouble::Unclear("no operation was told".to_owned()));
            }
            all(found)
        };
        for (name, contract, checked) in [
            (
                "an operation is told with all that belongs to it",
                "schema Operation: reference, payment, kind, status, amount, gateway_id, \
                 idempotency_key, created_at, totals; decline_code of a decline and only then",
                of_operations(&self.shape),
            ),
            (
                "an answer fits its request",
                "6. An answer fits its request: the same reference, payment, amount, currency and key",
                of_operations(&self.fit),
            ),
            (
                "the sums hold in every answer",
                "5. captured + voided is never above authorized, and refunded is never above captured",
                of_operations(&self.sums),
            ),
            (
                "success is application/json, and an error application/problem+json",
                "responses: application/json, application/problem+json",
                all(&self.kind),
            ),
            (
                "an error says what is wrong, for programs and for people",
                "schema Problem (RFC 9457): type, title, status, code, detail",
                all(&self.problem),
            ),
            (
                "nothing is redirected",
                "Redirects are not part of the contract",
                all(&self.redirect),
            ),
            ("an answer has at most 64 KiB", "an answer has at most 64 KiB", all(&self.too_long)),
        ] {
            part.fact(name, contract, checked);
        }
    }
}

/// Keeps the first.
fn note(place: &mut Option<Evidence>, exchange: &Exchange, wanted: &str) {
    if place.is_none() {
        *place = Some(exchange.evidence(wanted));
    }
}

fn is_of_type(exchange: &Exchange, wanted: &str) -> bool {
    let essence = exchange.header("content-type").and_then(|kind| kind.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

fn is_operation(told: &Value) -> Result<(), &'static str> {
    let text =
        |name: &str| told.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if !["reference", "payment", "gateway_id", "idempotency_key"].iter().all(|name| text(name)) {
        return Err("reference, payment, gateway_id and idempotency_key as text");
    }
    let one_of = |name: &str, all: &[&str]| {
        told.get(name).and_then(Value::as_str).is_some_and(|text| all.contains(&text))
    };
    if !one_of("kind", &["authorization", "capture", "void", "refund"]) {
        return Err("kind as one of authorization, capture, void, refund");
    }
    if !one_of("status", &["succeeded", "declined"]) {
        return Err("status as succeeded or declined");
    }
    let declined = one_of("status", &["declined"]);
    if declined != text("decline_code") {
        return Err("decline_code of a decline, and only of one");
    }
    let at = told.get("created_at").and_then(Value::as_str);
    if at.is_none_or(|at| at.parse::<Timestamp>().is_err()) {
        return Err("created_at as a date-time");
    }
    let sums = ["authorized", "captured", "voided", "refunded"];
    let money = sums.iter().map(|sum| told.pointer(&format!("/totals/{sum}")));
    if !money.chain([told.get("amount")]).all(|money| money.and_then(minor).is_some()) {
        return Err("amount and the four totals, each with amount_minor as text and a currency");
    }
    Ok(())
}

/// The minor units of an amount in the contract's form.
pub(super) fn minor(money: &Value) -> Option<i64> {
    let currency = money.get("currency")?.as_str()?;
    let letters = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
    let digits = money.get("amount_minor")?.as_str()?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits.len() <= 18
        && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| letters && plain)
}

/// Whether the operation is the one that was asked for; the text says what it should have been.
fn fits(exchange: &Exchange, told: &Value) -> Result<(), String> {
    let ask = &exchange.ask;
    let text = |name: &str| told.get(name).and_then(Value::as_str);
    if let Some(reference) = ask.path().strip_prefix("/v1/operations/") {
        let fit = text("reference") == Some(reference);
        return fit.then_some(()).ok_or_else(|| format!("the reference {reference}"));
    }
    let asked = ask.json();
    for name in ["reference", "payment"] {
        if told.get(name) != asked.get(name) {
            return Err(format!("the {name} that was sent"));
        }
    }
    if text("idempotency_key") != ask.key.as_deref() {
        return Err("the Idempotency-Key that was sent".to_owned());
    }
    let kind = ask.path().trim_start_matches("/v1/").trim_end_matches('s');
    if text("kind") != Some(kind) {
        return Err(format!("the kind {kind}"));
    }
    if asked.get("amount").is_some_and(|amount| told.get("amount") != Some(amount)) {
        return Err("the amount and currency that were sent".to_owned());
    }
    Ok(())
}

fn adds_up(told: &Value) -> Result<(), &'static str> {
    let sum = |name: &str| told.pointer(&format!("/totals/{name}")).and_then(minor).unwrap_or(0);
    let (authorized, captured) = (sum("authorized"), sum("captured"));
    if captured.saturating_add(sum("voided")) > authorized {
        return Err("captured + voided of at most authorized");
    }
    if sum("refunded") > captured {
        return Err("refunded of at most captured");
    }
    Ok(())
}
