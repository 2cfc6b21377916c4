//! What is asked, so that both protocols can be asked the same, and the one form of what is answered.

use std::{collections::BTreeMap, sync::LazyLock};

use orders_api::{
    auth::{self, OPERATIONS},
    http::openapi,
};
use orders_testkit::World;
use serde_json::{Value, json};

use crate::who::{Credential, Whose};

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

    /// Its call, by which the service's own tables know it.
    pub(super) const fn call(self) -> &'static str {
        match self {
            O::Create => "CreateOrder",
            O::Batch => "BatchCreateOrders",
            O::Get => "GetOrder",
            O::List => "ListOrders",
            O::History => "ListHistory",
            O::Feed => "WatchEvents",
            O::Confirm => "ConfirmOrder",
            O::Cancel => "CancelOrder",
            O::Fulfill => "CreateFulfillment",
            O::Return => "ReturnOrder",
            O::Note => "AddNote",
            O::Pay => "PayOrder",
            O::Capture => "CaptureOrder",
            O::Refund => "RefundOrder",
            O::Record => "RecordPayment",
            O::Resolve => "ResolvePayment",
        }
    }

    fn over_http(self) -> &'static OverHttp {
        OVER_HTTP.get(self.call()).expect("a row of the service's table")
    }

    /// Its method and path; `{id}` is the order.
    pub(super) fn address(self) -> (&'static str, &'static str) {
        self.over_http().address
    }

    /// The status it is answered with over HTTP when all is well.
    pub(super) fn done(self) -> u16 {
        self.over_http().done
    }

    /// Whether its answer can be held back until payments settle.
    pub(super) fn waits(self) -> bool {
        self.over_http().waits
    }

    /// Whether it is a read over HTTP.
    pub(super) fn is_read(self) -> bool {
        self.address().0 == "GET"
    }
}

/// What the service says of an operation over HTTP.
struct OverHttp {
    address: (&'static str, &'static str),
    done: u16,
    waits: bool,
}

/// By the call: the addresses are those of the service's table, the rest is what its document says there.
static OVER_HTTP: LazyLock<BTreeMap<&str, OverHttp>> = LazyLock::new(|| {
    let document = serde_json::to_value(openapi::<World>()).unwrap();
    let row = |one: &auth::Operation| {
        let documented = &document["paths"][one.route][one.method.to_lowercase()];
        let statuses = documented["responses"].as_object().expect(one.call).keys();
        let statuses = statuses.filter_map(|status| status.parse::<u16>().ok());
        // Of two the lower one is told when nothing is stored.
        let done = statuses.filter(|status| (200..300).contains(status)).max().expect(one.call);
        let mut parameters = documented["parameters"].as_array().into_iter().flatten();
        let waits = parameters.any(|parameter| parameter["name"] == "Prefer");
        (one.call, OverHttp { address: (one.method, one.route), done, waits })
    };
    OPERATIONS.iter().map(row).collect()
});

/// One request, whichever protocol it goes over.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) operation: Operation,
    pub(super) whose: Whose,
    /// By which of their credentials.
    pub(super) credential: Credential,
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
            ("authorization", self.credential.of(self.whose).to_owned()),
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
