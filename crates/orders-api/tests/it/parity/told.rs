//! What calls are told, in the words of HTTP. Each message is taken apart to its last field, so that
//! one that is new does not compile until it is compared.

use jiff::Timestamp;
use orders_api::grpc::pb;
use serde_json::{Value, json};

use super::asked::{Operation, spanless};

/// An order with all that is told of it.
pub(super) fn whole(order: pb::Order) -> Value {
    let mut told = summary(order);
    for name in ["payments", "notes"] {
        if told[name].is_null() {
            told[name] = json!([]);
        }
    }
    told
}

/// An order of a list. What a list does not tell is here only if it is told.
pub(super) fn summary(order: pb::Order) -> Value {
    let pb::Order {
        id,
        number,
        customer_id,
        external_reference,
        state,
        payment_state,
        fulfillment_state,
        version,
        etag,
        currency,
        lines,
        totals,
        metadata,
        created_at,
        updated_at,
        allowed_transitions,
        payable,
        due,
        payments,
        notes,
        personal,
    } = order;
    let link = format!("/v1/orders/{id}");
    let mut told = json!({
        "id": id,
        "number": number,
        "customer_id": customer_id,
        "state": order_state(state),
        "payment_state": payment_state_name(payment_state),
        "fulfillment_state": fulfillment_state_name(fulfillment_state),
        "version": version,
        "currency": currency,
        "metadata": metadata,
        "links": { "self": link, "history": format!("{link}/history") },
    });
    told["lines"] = lines.into_iter().map(line).collect();
    told["allowed_transitions"] = allowed_transitions.iter().map(|call| verb(call)).collect();
    may(&mut told, "external_reference", external_reference);
    may(&mut told, "totals", totals.map(sums));
    may(&mut told, "created_at", created_at.map(time));
    may(&mut told, "updated_at", updated_at.map(time));
    may(&mut told, "payable", payable.map(money));
    may(&mut told, "due", due.map(money));
    may(&mut told, "personal", personal.map(person));
    may(&mut told, "payments", some(payments.into_iter().map(payment).collect()));
    may(&mut told, "notes", some(notes.into_iter().map(note).collect()));
    // Over HTTP it stands in a header, and follows from the version.
    may(&mut told, "etag", Some(etag).filter(|etag| *etag != format!("\"v{version}\"")));
    told
}

pub(super) fn priced(priced: pb::PricedOrder) -> Value {
    let pb::PricedOrder { customer_id, external_reference, currency, lines, totals } = priced;
    let mut told = json!({ "customer_id": customer_id, "currency": currency });
    told["lines"] = lines.into_iter().map(line).collect();
    may(&mut told, "external_reference", external_reference);
    may(&mut told, "totals", totals.map(sums));
    told
}

pub(super) fn entry(entry: pb::HistoryEntry) -> Value {
    let pb::HistoryEntry {
        version,
        change_id,
        command,
        from_state,
        to_state,
        actor,
        reason,
        request_id,
        trace_id,
        at,
    } = entry;
    let mut told = json!({
        "version": version,
        "change_id": change_id,
        "command": command,
        "to": order_state(to_state),
        "actor": actor,
        "request_id": request_id,
    });
    let from = order_state(from_state);
    may(&mut told, "from", Some(from).filter(|from| from != "UNSPECIFIED"));
    may(&mut told, "reason", reason);
    may(&mut told, "trace_id", trace_id);
    may(&mut told, "at", at.map(time));
    told
}

/// An event at this position.
pub(super) fn event(event: pb::Event, position: u64) -> Value {
    let pb::Event { id, r#type, order_id, version, time: at, tenant_id, trace_parent, data } =
        event;
    let data: Value = serde_json::from_str(&data).expect("a payload of JSON");
    let mut told = json!({
        "specversion": "1.0",
        "id": id,
        "source": "/orders",
        "type": r#type,
        "subject": order_id,
        "datacontenttype": "application/json",
        "sequence": version.to_string(),
        "position": position.to_string(),
        "tenantid": tenant_id,
        "data": data,
    });
    may(&mut told, "time", at.map(time));
    may(&mut told, "traceparent", trace_parent.map(|trace| spanless(&trace)));
    told
}

fn line(line: pb::Line) -> Value {
    let pb::Line {
        line_no,
        sku,
        name,
        quantity,
        unit_price,
        gross,
        discount,
        discount_share,
        tax,
        total,
        fulfilled,
        cancelled,
        returned,
    } = line;
    let mut told = json!({
        "line_no": line_no,
        "sku": sku,
        "quantity": quantity,
        "fulfilled": fulfilled,
        "cancelled": cancelled,
        "returned": returned,
    });
    may(&mut told, "name", name);
    may(&mut told, "unit_price", unit_price.map(price));
    may(&mut told, "gross", gross.map(money));
    may(&mut told, "discount", discount.map(money));
    may(&mut told, "discount_share", discount_share.map(money));
    may(&mut told, "total", total.map(money));
    may(&mut told, "tax", tax.map(taxed));
    told
}

fn price(price: pb::UnitPrice) -> Value {
    let pb::UnitPrice { minor, currency } = price;
    json!({ "amount_minor": minor, "currency": currency })
}

fn taxed(tax: pb::Tax) -> Value {
    let pb::Tax { amount, inclusive } = tax;
    let mut told = json!({ "inclusive": inclusive });
    may(&mut told, "amount", amount.map(money));
    told
}

fn sums(totals: pb::Totals) -> Value {
    let pb::Totals {
        subtotal,
        line_discount,
        order_discount,
        exclusive_tax,
        inclusive_tax,
        shipping,
        total,
    } = totals;
    let mut told = json!({});
    for (name, sum) in [
        ("subtotal", subtotal),
        ("line_discount", line_discount),
        ("order_discount", order_discount),
        ("exclusive_tax", exclusive_tax),
        ("inclusive_tax", inclusive_tax),
        ("shipping", shipping),
        ("total", total),
    ] {
        may(&mut told, name, sum.map(money));
    }
    told
}

fn money(money: pb::Money) -> Value {
    let pb::Money { minor, currency } = money;
    json!({ "amount_minor": minor.to_string(), "currency": currency })
}

fn payment(payment: pb::Payment) -> Value {
    let pb::Payment { id, means, authorized, captured, refunded, voided, operations } = payment;
    let means = named(means, pb::PaymentMeans::as_str_name, "PAYMENT_MEANS_");
    let mut told = json!({ "id": id, "means": means });
    told["operations"] = operations.into_iter().map(operation).collect();
    may(&mut told, "authorized", authorized.map(money));
    may(&mut told, "captured", captured.map(money));
    may(&mut told, "refunded", refunded.map(money));
    may(&mut told, "voided", voided.map(money));
    told
}

fn operation(operation: pb::PaymentOperation) -> Value {
    let pb::PaymentOperation { id, kind, amount, state, decline_code } = operation;
    let kind = named(kind, pb::PaymentOperationKind::as_str_name, "PAYMENT_OPERATION_KIND_");
    let state = named(state, pb::PaymentOperationState::as_str_name, "PAYMENT_OPERATION_STATE_");
    let mut told = json!({ "id": id, "operation": kind, "state": state });
    may(&mut told, "amount", amount.map(money));
    may(&mut told, "decline_code", decline_code);
    told
}

fn note(note: pb::Note) -> Value {
    let pb::Note { version, at, author, text } = note;
    let mut told = json!({ "version": version, "author": author, "text": text });
    may(&mut told, "at", at.map(time));
    told
}

fn person(personal: pb::Personal) -> Value {
    let pb::Personal { name, email, phone, shipping_address, billing_address } = personal;
    let mut told = json!({});
    may(&mut told, "name", name);
    may(&mut told, "email", email);
    may(&mut told, "phone", phone);
    may(&mut told, "shipping_address", shipping_address.map(address));
    may(&mut told, "billing_address", billing_address.map(address));
    told
}

fn address(address: pb::Address) -> Value {
    let pb::Address { recipient, line1, line2, city, region, postal_code, country } = address;
    let mut told = json!({ "line1": line1, "city": city, "country": country });
    may(&mut told, "recipient", recipient);
    may(&mut told, "line2", line2);
    may(&mut told, "region", region);
    may(&mut told, "postal_code", postal_code);
    told
}

fn time(at: prost_types::Timestamp) -> Value {
    let prost_types::Timestamp { seconds, nanos } = at;
    Timestamp::new(seconds, nanos).expect("a time").to_string().into()
}

/// What HTTP calls the verb of a call: the last part of its address.
pub(super) fn verb(call: &str) -> String {
    let operation = Operation::VERBS.into_iter().find(|verb| verb.call() == call);
    let name = operation.and_then(|verb| verb.address().1.rsplit('/').next());
    name.unwrap_or(call).to_owned()
}

fn order_state(state: i32) -> String {
    named(state, pb::OrderState::as_str_name, "ORDER_STATE_")
}

fn payment_state_name(state: i32) -> String {
    named(state, pb::PaymentState::as_str_name, "PAYMENT_STATE_")
}

fn fulfillment_state_name(state: i32) -> String {
    named(state, pb::FulfillmentState::as_str_name, "FULFILLMENT_STATE_")
}

/// The name of a value as HTTP has it, or the number of one that has no name.
fn named<T: TryFrom<i32>>(value: i32, name: fn(&T) -> &'static str, prefix: &str) -> String {
    let known = T::try_from(value);
    known.map_or_else(|_| value.to_string(), |known| name(&known).replacen(prefix, "", 1))
}

/// The list, unless it is empty.
fn some(list: Vec<Value>) -> Option<Value> {
    (!list.is_empty()).then(|| list.into())
}

/// Tells a field that may be absent.
fn may(told: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        told[name] = value.into();
    }
}
