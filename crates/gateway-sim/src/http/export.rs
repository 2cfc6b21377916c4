//! The ledger as a settlement list: what a provider says it did, for whoever reconciles.
//!
//! One line for each operation that took effect, payment by payment. What is written while it is read
//! may be in it or not.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::header;

use crate::{
    gateway::Gateway,
    ledger::{Page, Query, Recorded},
    operation::{Kind, Status},
};

/// Where it is served.
pub(super) const PATH: &str = "/ledger.csv";

const HEADER: &str = "reference,payment,operation,amount_minor,currency,at\n";

/// How many payments are read at a time.
const PAYMENTS: u32 = 1_000;

/// What is to be read next.
enum Next {
    Header,
    After(i64),
    End,
}

/// Every operation that took effect, a page of payments at a time.
pub(super) async fn ledger(State(gateway): State<Arc<Gateway>>) -> Response {
    let pages = stream::try_unfold(Next::Header, move |next| {
        let gateway = Arc::clone(&gateway);
        async move {
            let after = match next {
                Next::Header => return Ok(Some((HEADER.to_owned(), Next::After(0)))),
                Next::After(after) => after,
                Next::End => return Ok(None),
            };
            let read = move |ledger: &crate::ledger::Ledger| {
                ledger.payments(Query::After(after, PAYMENTS))
            };
            let page = gateway.with_ledger(read).await.map_err(io::Error::other)?;
            let next = page.next.map_or(Next::End, Next::After);
            Ok::<_, io::Error>(Some((lines(&page), next)))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Body::from_stream(pages)).into_response()
}

fn lines(page: &Page) -> String {
    let operations = page.payments.iter().flat_map(|payment| &payment.operations);
    operations.filter(|one| one.operation.status == Status::Succeeded).map(line).collect()
}

/// Ids, numbers and letters: nothing that CSV would have to quote.
fn line(recorded: &Recorded) -> String {
    let operation = &recorded.operation;
    let (reference, payment, at) = (operation.reference, operation.payment, operation.created_at);
    let (amount, currency) = (operation.amount.minor, operation.amount.currency);
    format!("{reference},{payment},{},{amount},{currency},{at}\n", verb(operation.kind))
}

const fn verb(kind: Kind) -> &'static str {
    match kind {
        Kind::Authorization => "authorize",
        Kind::Capture => "capture",
        Kind::Void => "void",
        Kind::Refund => "refund",
    }
}
