//! Short ways to make what tests start from.

use mainstay_context::{Context, Principal};
use orders::{
    domain::{Draft, DraftLine, IdempotencyKey, NoteText, OrderId, Reason, UnitPrice, Version},
    ports::OrderRef,
    usecase::{Action, Verb},
};

/// A small valid draft: two times tea at 199.5 cents, 3.99 EUR in all.
pub fn draft() -> Draft {
    Draft {
        customer_id: "c-1".to_owned(),
        lines: vec![line("tea", 2, "199.5")],
        ..Draft::default()
    }
}

/// A line in EUR: this many, at this many minor units each.
pub fn line(sku: &str, quantity: i64, price: &str) -> DraftLine {
    let eur = "EUR".parse().expect("a currency");
    DraftLine {
        sku: sku.to_owned(),
        name: None,
        quantity,
        unit_price: UnitPrice::parse(price, eur).expect("a price"),
        discount: None,
        tax: None,
    }
}

/// The idempotency key of this name, made long enough: `key("a")` is `a---------------`.
pub fn key(name: &str) -> IdempotencyKey {
    format!("{name:-<16}").parse().expect("a key")
}

/// A request of this tenant without a deadline, by the subject `test`.
pub fn context(tenant: &str) -> Context {
    request(tenant, "test", "test-request")
}

/// A request of this tenant by this subject, under this request id.
pub fn request(tenant: &str, subject: &str, request_id: &str) -> Context {
    let id = request_id.parse().expect("a request id");
    Context::new(id).with_principal(Principal::new(tenant, subject))
}

/// Confirms an order, without a key or a condition.
pub fn confirm(order: OrderId) -> Verb {
    verb(order, Action::Confirm { reason: None })
}

/// Cancels an order for a reason, without a key or a condition.
pub fn cancel(order: OrderId, reason: &str) -> Verb {
    let reason: Reason = reason.parse().expect("a reason");
    verb(order, Action::Cancel { lines: Vec::new(), reason: Some(reason) })
}

/// Adds a note to an order, without a key or a condition.
pub fn note(order: OrderId, text: &str) -> Verb {
    let text: NoteText = text.parse().expect("a note");
    verb(order, Action::AddNote { text })
}

/// An action on an order, without a key or a condition.
pub const fn verb(order: OrderId, action: Action) -> Verb {
    Verb { order: OrderRef::Id(order), action, key: None, if_match: None }
}

/// The version of this number.
pub fn version(number: u64) -> Version {
    Version::new(number).expect("not 0")
}
