//! The driver over the use cases themselves.

use std::collections::BTreeMap;

use mainstay_context::Context;
use orders::{
    Error, Orders, Refusal,
    domain::{Currency, Draft, DraftLine, Money, OrderId, Tax, UnitPrice, Version},
    ports::{OrderRef, Ports},
    usecase::{Action, Done, Verb},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Call, IdempotencyDriver, Outcome, Request};
use crate::builders;

/// Drives the use cases over any ports.
pub struct CoreDriver<P> {
    orders: Orders<P>,
    advance: Box<dyn Fn(i64)>,
}

impl<P: Ports> CoreDriver<P> {
    /// A driver over these use cases, whose clock is moved by `advance` (in hours).
    pub fn new(orders: Orders<P>, advance: impl Fn(i64) + 'static) -> Self {
        Self { orders, advance: Box::new(advance) }
    }
}

impl<P> std::fmt::Debug for CoreDriver<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CoreDriver")
    }
}

impl<P: Ports> IdempotencyDriver for CoreDriver<P> {
    async fn send(&self, request: Request) -> Outcome {
        let cx = builders::request(&request.tenant, &request.principal, "table");
        match self.call(&cx, &request).await {
            Ok(done) => answered(&done, request.call == Call::Create),
            Err(error) => problem(&error),
        }
    }

    async fn advance(&self, hours: i64) {
        (self.advance)(hours);
    }
}

impl<P: Ports> CoreDriver<P> {
    async fn call(&self, cx: &Context, request: &Request) -> Result<Done, Error> {
        let key = request.key.as_ref().map(|key| key.parse().expect("a key"));
        let text = |field: &str| request.body.get(field).and_then(Value::as_str);
        let reason = || text("reason").map(|text| text.parse().expect("a reason"));
        let (order, action) = match &request.call {
            Call::Create => {
                let key = key.expect("a create has a key");
                return self.orders.create(cx, draft(&request.body), key).await;
            }
            Call::Confirm(order) => (order, Action::Confirm { reason: reason() }),
            Call::Cancel(order) => (order, Action::Cancel { lines: Vec::new(), reason: reason() }),
            Call::AddNote(order) => {
                let text = text("text").expect("a note has a text").parse().expect("a note");
                (order, Action::AddNote { text })
            }
        };
        let order = OrderRef::Id(OrderId(order.parse().expect("an order id")));
        let if_match = request.if_match.and_then(Version::new);
        self.orders.act(cx, Verb { order, action, key, if_match }).await
    }
}

fn answered(done: &Done, create: bool) -> Outcome {
    let order = &done.record.order;
    let code = match (done.replayed, create) {
        (true, _) => "replayed",
        (false, true) => "created",
        (false, false) => "ok",
    };
    Outcome {
        code: code.to_owned(),
        replayed: done.replayed,
        order: Some(order.id.to_string()),
        state: Some(order.state.to_string()),
        version: Some(order.version.get()),
    }
}

fn problem(error: &Error) -> Outcome {
    let (code, order, replayed) = match error {
        Error::Invalid(_) | Error::TotalMismatch { .. } => ("invalid", None, false),
        Error::NotFound => ("not-found", None, false),
        Error::Refused { refusal, replayed } => {
            let (code, order) = match refusal {
                Refusal::IllegalTransition { .. } => ("illegal-transition", None),
                Refusal::NotesFull => ("notes-full", None),
                Refusal::ExternalReferenceTaken { order } => {
                    ("external-reference-taken", Some(*order))
                }
                Refusal::PaymentInProgress => ("payment-in-progress", None),
                Refusal::PaymentInDoubt => ("payment-in-doubt", None),
                Refusal::AmountNotLeft { .. } => ("amount-not-left", None),
                Refusal::NoSuchPayment => ("no-such-payment", None),
                Refusal::TooManyPayments => ("too-many-payments", None),
                Refusal::NotParked => ("not-parked", None),
                Refusal::MovedElsewhere => ("moved-elsewhere", None),
                Refusal::HandedOver => ("handed-over", None),
                Refusal::NoSuchLine { .. } => ("no-such-line", None),
                Refusal::PiecesNotLeft { .. } => ("pieces-not-left", None),
            };
            (code, order, *replayed)
        }
        Error::KeyReused => ("idempotency-key-reused", None, false),
        Error::KeyExpired { order } => ("idempotency-key-expired", Some(*order), false),
        Error::VersionMismatch { .. } => ("version-mismatch", None, false),
        Error::Unauthenticated
        | Error::Contended
        | Error::CursorTooOld { .. }
        | Error::NotWritten(_)
        | Error::DeadlineExceeded
        | Error::Unavailable(_)
        | Error::OutcomeUnknown => panic!("the table has no faults, and yet: {error}"),
    };
    let order = order.map(|order| order.to_string());
    Outcome { code: code.to_owned(), replayed, order, ..Outcome::default() }
}

/// A create's body, as the HTTP API takes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    customer_id: String,
    external_reference: Option<String>,
    lines: Vec<LineBody>,
    discount: Option<Amount>,
    shipping: Option<Amount>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineBody {
    sku: String,
    name: Option<String>,
    quantity: i64,
    unit_price: Amount,
    discount: Option<Amount>,
    tax: Option<TaxBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Amount {
    amount_minor: String,
    currency: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaxBody {
    amount: Amount,
    #[serde(default)]
    inclusive: bool,
}

impl Amount {
    fn currency(&self) -> Currency {
        self.currency.parse().expect("a currency")
    }

    fn money(&self) -> Money {
        Money::new(self.amount_minor.parse().expect("an amount"), self.currency())
    }
}

fn draft(body: &Value) -> Draft {
    let body: CreateBody = serde_json::from_value(body.clone()).expect("a create's body");
    let line = |line: LineBody| DraftLine {
        sku: line.sku,
        name: line.name,
        quantity: line.quantity,
        unit_price: UnitPrice::parse(&line.unit_price.amount_minor, line.unit_price.currency())
            .expect("a unit price"),
        discount: line.discount.as_ref().map(Amount::money),
        tax: line.tax.map(|tax| Tax { amount: tax.amount.money(), inclusive: tax.inclusive }),
    };
    Draft {
        customer_id: body.customer_id,
        external_reference: body.external_reference,
        lines: body.lines.into_iter().map(line).collect(),
        discount: body.discount.as_ref().map(Amount::money),
        shipping: body.shipping.as_ref().map(Amount::money),
        metadata: body.metadata,
        ..Draft::default()
    }
}
