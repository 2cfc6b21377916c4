//! What calls are told: the domain in the messages of the contract.

use jiff::Timestamp;
use orders::{
    domain::{
        self, Attempt, AttemptState, Entry, FulfillmentState, Goods, LineAmounts, Means, Money,
        PaymentOperation, PaymentState, Placement, Pricing, Record, State, UnitPrice,
    },
    ports::Event,
    usecase::Done,
};

use super::pb;
use crate::{problem, wire::order::etag};

macro_rules! changed {
    ($($answer:ident)+) => {$(
        impl From<Done> for pb::$answer {
            fn from(done: Done) -> Self {
                Self { order: Some(done.record.into()), replayed: done.replayed }
            }
        }
    )+};
}

changed! {
    AddNoteResponse CancelOrderResponse CaptureOrderResponse ConfirmOrderResponse
    CreateFulfillmentResponse PayOrderResponse RecordPaymentResponse RefundOrderResponse
    ResolvePaymentResponse ReturnOrderResponse
}

impl From<Record> for pb::Order {
    fn from(Record { order, personal, notes }: Record) -> Self {
        Self {
            payable: Some(order.payable().into()),
            due: Some(order.due().into()),
            payments: order.payments.iter().map(|of| payment(of, order.goods.currency)).collect(),
            notes: notes.into_iter().map(Into::into).collect(),
            personal: personal.map(Into::into),
            ..(&order).into()
        }
    }
}

/// An order as a list tells it, without its payments and what is kept apart from it.
impl From<&domain::Order> for pb::Order {
    fn from(order: &domain::Order) -> Self {
        Self {
            id: order.id.to_string(),
            number: order.number.to_string(),
            customer_id: order.customer_id.to_string(),
            external_reference: order.external_reference.as_ref().map(ToString::to_string),
            state: state(order.state).into(),
            payment_state: payment_state(order.payment_state()).into(),
            fulfillment_state: fulfillment_state(order.fulfillment_state()).into(),
            version: order.version.get(),
            etag: etag(order.version),
            currency: order.goods.currency.to_string(),
            lines: lines(&order.goods, order.pricing()),
            totals: Some((&order.pricing().totals).into()),
            metadata: order.metadata.clone(),
            created_at: Some(time(order.created_at)),
            updated_at: Some(time(order.updated_at)),
            allowed_transitions: allowed(order).into_iter().map(str::to_owned).collect(),
            ..Self::default()
        }
    }
}

/// The calls of its state, and that of operators when something waits for one.
fn allowed(order: &domain::Order) -> Vec<&'static str> {
    let mut all = problem::calls(order.state);
    if order.payment_state() == PaymentState::Parked {
        all.push("ResolvePayment");
    }
    all
}

impl From<&Placement> for pb::PricedOrder {
    fn from(placement: &Placement) -> Self {
        Self {
            customer_id: placement.customer_id().to_string(),
            external_reference: placement.external_reference().map(ToString::to_string),
            currency: placement.goods().currency.to_string(),
            lines: lines(placement.goods(), placement.pricing()),
            totals: Some((&placement.pricing().totals).into()),
        }
    }
}

fn lines(goods: &Goods, pricing: &Pricing) -> Vec<pb::Line> {
    let lines = (1..).zip(goods.lines.iter().zip(&pricing.lines));
    lines.map(|(number, (of, amounts))| line(number, of, amounts)).collect()
}

fn line(number: u32, line: &domain::Line, amounts: &LineAmounts) -> pb::Line {
    let tax =
        |tax: domain::Tax| pb::Tax { amount: Some(tax.amount.into()), inclusive: tax.inclusive };
    pb::Line {
        line_no: number,
        sku: line.sku.to_string(),
        name: line.name.clone(),
        quantity: line.quantity.get(),
        unit_price: Some(line.unit_price.into()),
        gross: Some(amounts.gross.into()),
        discount: Some(line.discount.into()),
        discount_share: Some(amounts.discount_share.into()),
        tax: line.tax.map(tax),
        total: Some(amounts.total.into()),
        fulfilled: line.progress.fulfilled,
        cancelled: line.progress.cancelled,
        returned: line.progress.returned,
    }
}

impl From<&domain::Totals> for pb::Totals {
    fn from(totals: &domain::Totals) -> Self {
        Self {
            subtotal: Some(totals.subtotal.into()),
            line_discount: Some(totals.line_discount.into()),
            order_discount: Some(totals.order_discount.into()),
            exclusive_tax: Some(totals.exclusive_tax.into()),
            inclusive_tax: Some(totals.inclusive_tax.into()),
            shipping: Some(totals.shipping.into()),
            total: Some(totals.total.into()),
        }
    }
}

fn payment(payment: &domain::Payment, currency: domain::Currency) -> pb::Payment {
    let money = |minor| Some(Money::new(minor, currency).into());
    let means = match payment.means {
        Means::Instrument(_) => pb::PaymentMeans::Instrument,
        Means::Elsewhere => pb::PaymentMeans::Elsewhere,
    };
    pb::Payment {
        id: payment.id.to_string(),
        means: means.into(),
        authorized: money(payment.authorized()),
        captured: money(payment.captured()),
        refunded: money(payment.refunded()),
        voided: money(payment.voided()),
        operations: payment.attempts.iter().map(Into::into).collect(),
    }
}

impl From<&Attempt> for pb::PaymentOperation {
    fn from(attempt: &Attempt) -> Self {
        use pb::{PaymentOperationKind as Kind, PaymentOperationState as State};
        let kind = match attempt.operation {
            PaymentOperation::Authorize => Kind::Authorize,
            PaymentOperation::Capture => Kind::Capture,
            PaymentOperation::Void => Kind::Void,
            PaymentOperation::Refund => Kind::Refund,
        };
        let (state, decline_code) = match &attempt.state {
            AttemptState::Open => (State::Open, None),
            AttemptState::Unknown => (State::Unknown, None),
            AttemptState::Parked => (State::Parked, None),
            AttemptState::Succeeded => (State::Succeeded, None),
            AttemptState::Declined(code) => (State::Declined, Some(code.to_string())),
        };
        Self {
            id: attempt.id.to_string(),
            kind: kind.into(),
            amount: Some(attempt.amount.into()),
            state: state.into(),
            decline_code,
        }
    }
}

impl From<domain::Note> for pb::Note {
    fn from(note: domain::Note) -> Self {
        Self {
            version: note.version.get(),
            at: Some(time(note.at)),
            author: note.author.to_string(),
            text: note.text.as_str().to_owned(),
        }
    }
}

impl From<domain::Personal> for pb::Personal {
    fn from(personal: domain::Personal) -> Self {
        let domain::Personal { name, email, phone, shipping_address, billing_address } = personal;
        Self {
            name,
            email,
            phone,
            shipping_address: shipping_address.map(Into::into),
            billing_address: billing_address.map(Into::into),
        }
    }
}

impl From<domain::Address> for pb::Address {
    fn from(address: domain::Address) -> Self {
        let domain::Address { recipient, line1, line2, city, region, postal_code, country } =
            address;
        Self { recipient, line1, line2, city, region, postal_code, country }
    }
}

impl From<Entry> for pb::HistoryEntry {
    fn from(entry: Entry) -> Self {
        Self {
            version: entry.version.get(),
            change_id: entry.change.to_string(),
            command: entry.command.to_string(),
            from_state: entry.from.map_or(pb::OrderState::Unspecified, state).into(),
            to_state: state(entry.to).into(),
            actor: entry.actor.to_string(),
            reason: entry.reason.as_ref().map(ToString::to_string),
            request_id: entry.request_id.to_string(),
            trace_id: (!entry.trace.is_none()).then(|| entry.trace.trace_id_hex()),
            at: Some(time(entry.at)),
        }
    }
}

/// The events are CloudEvents; what is the same in all of them is not told.
impl From<Event> for pb::Event {
    fn from(event: Event) -> Self {
        Self {
            id: event.id.to_string(),
            r#type: event.kind,
            order_id: event.order.to_string(),
            version: event.version.get(),
            time: Some(time(event.at)),
            tenant_id: event.tenant.to_string(),
            trace_parent: (!event.trace.is_none()).then(|| event.trace.to_string()),
            data: event.data,
        }
    }
}

impl From<Money> for pb::Money {
    fn from(money: Money) -> Self {
        Self { minor: money.minor, currency: money.currency.code().to_owned() }
    }
}

impl From<UnitPrice> for pb::UnitPrice {
    fn from(price: UnitPrice) -> Self {
        Self { minor: price.to_string(), currency: price.currency().code().to_owned() }
    }
}

fn time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

const fn state(state: State) -> pb::OrderState {
    match state {
        State::Pending => pb::OrderState::Pending,
        State::Confirmed => pb::OrderState::Confirmed,
        State::Completed => pb::OrderState::Completed,
        State::Cancelling => pb::OrderState::Cancelling,
        State::Cancelled => pb::OrderState::Cancelled,
        State::Expired => pb::OrderState::Expired,
    }
}

const fn payment_state(state: PaymentState) -> pb::PaymentState {
    match state {
        PaymentState::None => pb::PaymentState::None,
        PaymentState::Pending => pb::PaymentState::Pending,
        PaymentState::Authorized => pb::PaymentState::Authorized,
        PaymentState::PartiallyCaptured => pb::PaymentState::PartiallyCaptured,
        PaymentState::Captured => pb::PaymentState::Captured,
        PaymentState::PartiallyRefunded => pb::PaymentState::PartiallyRefunded,
        PaymentState::Refunded => pb::PaymentState::Refunded,
        PaymentState::Voided => pb::PaymentState::Voided,
        PaymentState::Declined => pb::PaymentState::Declined,
        PaymentState::Unknown => pb::PaymentState::Unknown,
        PaymentState::Parked => pb::PaymentState::Parked,
    }
}

const fn fulfillment_state(state: FulfillmentState) -> pb::FulfillmentState {
    match state {
        FulfillmentState::Unfulfilled => pb::FulfillmentState::Unfulfilled,
        FulfillmentState::PartiallyFulfilled => pb::FulfillmentState::PartiallyFulfilled,
        FulfillmentState::Fulfilled => pb::FulfillmentState::Fulfilled,
        FulfillmentState::PartiallyReturned => pb::FulfillmentState::PartiallyReturned,
        FulfillmentState::Returned => pb::FulfillmentState::Returned,
    }
}
