//! What a right answer is.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

const EXAMPLE_BYTES: usize = 300;

/// An amount as it stands on the wire.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Money {
    amount_minor: String,
    currency: String,
}

/// An order the service acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) id: String,
    pub(crate) total: Money,
    /// The number of its request, which says whose it is and under which key.
    pub(crate) sequence: u64,
}

/// An answer that is not what it must be.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// Few in number: errors are counted by it.
    pub(crate) kind: Cow<'static, str>,
    pub(crate) detail: String,
}

#[derive(Deserialize)]
struct Order<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    version: u64,
    #[serde(borrow)]
    state: Cow<'a, str>,
    totals: Totals,
}

#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Totals {
    total: Money,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount_minor, self.currency)
    }
}

/// Checks the answer to the create of that number.
pub(crate) fn created(
    answer: &Response<Bytes>,
    expected: Option<&Money>,
    sequence: u64,
) -> Result<Placed, Wrong> {
    let order = order(answer, StatusCode::CREATED)?;
    if order.version != 1 {
        return Err(Wrong::new("version", format!("1 expected, got {}", order.version)));
    }
    if order.state != "PENDING" {
        return Err(Wrong::new("state", format!("PENDING expected, got {}", order.state)));
    }
    let total = order.totals.total;
    if let Some(expected) = expected.filter(|expected| **expected != total) {
        return Err(Wrong::new("total", format!("{expected} expected, got {total}")));
    }
    let etag = text(answer.headers(), header::ETAG);
    if etag != Some("\"v1\"") {
        return Err(Wrong::new("etag", format!("\"v1\" expected, got {etag:?}")));
    }
    let location = text(answer.headers(), header::LOCATION);
    if !location.is_some_and(|location| location.ends_with(&*order.id)) {
        return Err(Wrong::new("location", format!("{} expected, got {location:?}", order.id)));
    }
    Ok(Placed { id: order.id.into_owned(), total, sequence })
}

/// Checks the answer to the same create sent again. The order may have moved on since.
pub(crate) fn replayed(answer: &Response<Bytes>, placed: &Placed) -> Result<(), Wrong> {
    let order = order(answer, StatusCode::CREATED)?;
    if order.id != placed.id {
        let detail = format!("{} expected, got {}", placed.id, order.id);
        return Err(Wrong::new("replay made another order", detail));
    }
    let mark = text(answer.headers(), "idempotent-replayed");
    if mark != Some("true") {
        return Err(Wrong::new("replay not marked", format!("Idempotent-Replayed: {mark:?}")));
    }
    same_total(&order, placed, "replay total")
}

/// Checks the answer to a read.
pub(crate) fn read(answer: &Response<Bytes>, placed: &Placed) -> Result<(), Wrong> {
    let order = order(answer, StatusCode::OK)?;
    if order.id != placed.id {
        let detail = format!("{} expected, got {}", placed.id, order.id);
        return Err(Wrong::new("read gave another order", detail));
    }
    same_total(&order, placed, "read total")
}

/// What a refusal is counted by: its status, and its code where it has one.
pub(crate) fn refusal(answer: &Response<Bytes>) -> String {
    let status = answer.status().as_u16();
    match serde_json::from_slice::<Problem<'_>>(answer.body()) {
        Ok(problem) => format!("{status} {}", problem.code),
        Err(_) => status.to_string(),
    }
}

impl Wrong {
    pub(crate) fn new(kind: &'static str, detail: String) -> Self {
        Self { kind: kind.into(), detail }
    }
}

fn same_total(order: &Order<'_>, placed: &Placed, kind: &'static str) -> Result<(), Wrong> {
    let total = &order.totals.total;
    if *total == placed.total {
        return Ok(());
    }
    Err(Wrong::new(kind, format!("order {}: {} expected, got {total}", placed.id, placed.total)))
}

fn order(answer: &Response<Bytes>, status: StatusCode) -> Result<Order<'_>, Wrong> {
    if answer.status() != status {
        let kind = format!("status {}", answer.status().as_u16()).into();
        let detail = format!("{} expected; body: {}", status.as_u16(), beginning(answer.body()));
        return Err(Wrong { kind, detail });
    }
    serde_json::from_slice(answer.body())
        .map_err(|error| Wrong::new("body", format!("{error}; body: {}", beginning(answer.body()))))
}

fn beginning(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body.get(..EXAMPLE_BYTES).unwrap_or(body))
}

fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::{Money, created, refusal};
    use bytes::Bytes;
    use http::Response;

    const BODY: &str = r#"{"id":"o-1","version":1,"state":"PENDING","number":"X",
        "totals":{"total":{"amount_minor":"5","currency":"EUR"}}}"#;

    fn kind(answer: &Response<Bytes>) -> String {
        let money = Money { amount_minor: "5".to_owned(), currency: "EUR".to_owned() };
        created(answer, Some(&money), 0)
            .map_or_else(|wrong| wrong.kind.into_owned(), |placed| placed.id)
    }

    fn answer(body: &str) -> Response<Bytes> {
        Response::builder()
            .status(201)
            .header("etag", "\"v1\"")
            .header("location", "/v1/orders/o-1")
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap()
    }

    #[test]
    fn a_right_answer_names_the_order() {
        assert_eq!(kind(&answer(BODY)), "o-1");
    }

    #[test]
    fn a_refusal_is_named_by_its_code_where_it_has_one() {
        let refused = |body: &'static str| {
            refusal(&Response::builder().status(503).body(Bytes::from(body)).unwrap())
        };
        assert_eq!(refused(r#"{"code":"overloaded","status":503}"#), "503 overloaded");
        assert_eq!(refused("<html>"), "503");
    }

    #[test]
    fn every_departure_has_its_kind() {
        assert_eq!(kind(&answer("{")), "body");
        assert_eq!(kind(&answer(&BODY.replace("\"5\"", "\"6\""))), "total");
        assert_eq!(kind(&answer(&BODY.replace("EUR", "USD"))), "total");
        assert_eq!(kind(&answer(&BODY.replace(":1,", ":2,"))), "version");
        assert_eq!(kind(&answer(&BODY.replace("PENDING", "CONFIRMED"))), "state");
        assert_eq!(kind(&answer(&BODY.replace("o-1", "o-2"))), "location");
        let mut unmarked = answer(BODY);
        unmarked.headers_mut().remove("etag");
        assert_eq!(kind(&unmarked), "etag");
        let mut accepted = answer(BODY);
        *accepted.status_mut() = http::StatusCode::ACCEPTED;
        assert_eq!(kind(&accepted), "status 202");
    }
}
