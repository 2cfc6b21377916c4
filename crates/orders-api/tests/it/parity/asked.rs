//! What is asked, so that both protocols can be asked the same, and the one form of what is answered.

use serde_json::{Value, json};

use crate::shop::{FOREIGN, FOREIGN_OTHER, OTHER, OWN};

/// What both protocols can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Create,
    Batch,
    Get,
    List,
    History,
    Feed,
    Confirm,
    Cancel,
    Fulfill,
    Return,
    Note,
    Pay,
    Capture,
    Refund,
    Record,
    Resolve,
}

use Operation as O;

impl Operation {
    pub(super) const ALL: [Self; 16] = [
        O::Create,
        O::Batch,
        O::Get,
        O::List,
        O::History,
        O::Feed,
        O::Confirm,
        O::Cancel,
        O::Fulfill,
        O::Return,
        O::Note,
        O::Pay,
        O::Capture,
        O::Refund,
        O::Record,
        O::Resolve,
    ];

    /// The changes of an order that is there.
    pub(super) const VERBS: [Self; 10] = [
        O::Confirm,
        O::Cancel,
        O::Fulfill,
        O::Return,
        O::Note,
        O::Pay,
        O::Capture,
        O::Refund,
        O::Record,
        O::Resolve,
    ];

    /// Its name in the OpenAPI document, its address over HTTP, the status it is answered with there
    /// when all is well, and its call.
    const fn row(self) -> (&'static str, &'static str, u16, &'static str) {
        match self {
            O::Create => ("createOrder", "POST /v1/orders", 201, "CreateOrder"),
            O::Batch => ("createOrders", "POST /v1/orders/batch", 200, "BatchCreateOrders"),
            O::Get => ("getOrder", "GET /v1/orders/{id}", 200, "GetOrder"),
            O::List => ("listOrders", "GET /v1/orders", 200, "ListOrders"),
            O::History => ("listHistory", "GET /v1/orders/{id}/history", 200, "ListHistory"),
            O::Feed => ("listEvents", "GET /v1/events", 200, "WatchEvents"),
            O::Confirm => ("confirmOrder", "POST /v1/orders/{id}/confirm", 200, "ConfirmOrder"),
            O::Cancel => ("cancelOrder", "POST /v1/orders/{id}/cancel", 200, "CancelOrder"),
            O::Fulfill => {
                ("createFulfillment", "POST /v1/orders/{id}/fulfillments", 200, "CreateFulfillment")
            }
            O::Return => ("returnOrder", "POST /v1/orders/{id}/return", 200, "ReturnOrder"),
            O::Note => ("addNote", "POST /v1/orders/{id}/notes", 200, "AddNote"),
            O::Pay => ("payOrder", "POST /v1/orders/{id}/pay", 202, "PayOrder"),
            O::Capture => ("captureOrder", "POST /v1/orders/{id}/capture", 202, "CaptureOrder"),
            O::Refund => ("refundOrder", "POST /v1/orders/{id}/refund", 202, "RefundOrder"),
            O::Record => ("recordPayment", "POST /v1/orders/{id}/payments", 200, "RecordPayment"),
            O::Resolve => ("resolvePayment", "POST /v1/orders/{id}/resolve", 200, "ResolvePayment"),
        }
    }

    pub(super) const fn id(self) -> &'static str {
        self.row().0
    }

    /// Its method and path; `{id}` is the order.
    pub(super) fn address(self) -> (&'static str, &'static str) {
        self.row().1.split_once(' ').expect("a method and a path")
    }

    pub(super) const fn done(self) -> u16 {
        self.row().2
    }

    pub(super) const fn call(self) -> &'static str {
        self.row().3
    }

    /// Whether it is a read over HTTP.
    pub(super) fn is_read(self) -> bool {
        self.address().0 == "GET"
    }

    /// Whether its answer can be held back until payments settle.
    pub(super) const fn waits(self) -> bool {
        match self {
            O::Create | O::Cancel | O::Fulfill | O::Pay | O::Capture | O::Refund => true,
            O::Batch
            | O::Get
            | O::List
            | O::History
            | O::Feed
            | O::Confirm
            | O::Return
            | O::Note
            | O::Record
            | O::Resolve => false,
        }
    }
}

/// The credentials: two of each of two tenants, and one that nobody has.
pub(super) const WHO: [&str; 5] = [OWN, OTHER, FOREIGN, FOREIGN_OTHER, "Bearer own.wrong"];

/// One request, whichever protocol it goes over.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) operation: Operation,
    /// By which credential of [`WHO`].
    pub(super) who: usize,
    /// The order's id or number, where it is for one.
    pub(super) order: String,
    /// The idempotency key; of a batch that of the batch.
    pub(super) key: String,
    pub(super) etag: String,
    /// The body of a change, as JSON has it; the query of a read.
    pub(super) body: Value,
    pub(super) validate_only: bool,
    /// Seconds to wait for payments.
    pub(super) wait: u32,
    /// Which request it is: names its id and its trace.
    pub(super) number: u64,
}

impl Asked {
    /// What every request says of itself, over either protocol.
    pub(super) fn headers(&self) -> [(&'static str, String); 3] {
        let number = self.number;
        [
            ("authorization", WHO[self.who].to_owned()),
            ("x-request-id", format!("request-{number}")),
            ("traceparent", format!("00-{:032x}-{:016x}-01", number + 1, 7)),
        ]
    }
}

/// What stands beside the body of an answer.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The status of HTTP.
    pub(super) status: u16,
    pub(super) replayed: bool,
    pub(super) etag: String,
    pub(super) location: String,
    pub(super) retry_after: String,
}

impl Head {
    /// The one form of an answer: what HTTP tells, as one value.
    pub(super) fn with(self, body: &Value) -> Value {
        let Self { status, replayed, etag, location, retry_after } = self;
        json!({
            "status": status,
            "replayed": replayed,
            "etag": etag,
            "location": location,
            "retry_after": retry_after,
            "body": body,
        })
    }
}

/// A trace without its span, which every request draws anew.
pub(super) fn spanless(trace: &str) -> String {
    trace.chars().take("00-".len() + 32).collect()
}
