//! What a batch writes, column by column, as the statements of the one write take it.

use jiff::Timestamp;
use orders::{
    codec,
    domain::{ExternalReference, Reason, State},
    ports::{Change, Expects, Receipt, Task, Then, Write},
};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{commit::new_order, prepared::Prepared, session::Param};
use crate::{
    content,
    stored::{count, trace_column},
};

/// New tasks, column by column.
#[derive(Default)]
struct Plans<'a> {
    change: Vec<Uuid>,
    id: Vec<Uuid>,
    tenant: Vec<&'a str>,
    order: Vec<Uuid>,
    kind: Vec<&'static str>,
    due: Vec<Timestamp>,
    tries: Vec<i64>,
    sent: Vec<Option<Timestamp>>,
}

impl<'a> Plans<'a> {
    fn push(&mut self, change: Uuid, task: &'a Task) {
        self.change.push(change);
        self.id.push(task.id.0);
        self.tenant.push(task.tenant.as_str());
        self.order.push(task.order.0);
        self.kind.push(task.kind.as_str());
        self.due.push(task.due);
        self.tries.push(i64::from(task.progress.tries));
        self.sent.push(task.progress.sent);
    }

    fn params(&self) -> Vec<Param<'_>> {
        vec![
            (&self.id, Type::UUID_ARRAY),
            (&self.tenant, Type::TEXT_ARRAY),
            (&self.order, Type::UUID_ARRAY),
            (&self.kind, Type::TEXT_ARRAY),
            (&self.due, Type::TIMESTAMPTZ_ARRAY),
            (&self.tries, Type::INT8_ARRAY),
            (&self.sent, Type::TIMESTAMPTZ_ARRAY),
        ]
    }
}

/// What every version of an order tells, column by column.
#[derive(Default)]
struct Tells<'a> {
    state: Vec<Option<&'static str>>,
    payment_state: Vec<Option<&'static str>>,
    version: Vec<Option<i64>>,
    updated_at: Vec<Option<Timestamp>>,
    notes: Vec<Option<i32>>,
    payments: Vec<Option<String>>,
    progress: Vec<Option<String>>,
    from: Vec<Option<&'static str>>,
    command: Vec<Option<&'static str>>,
    actor: Vec<Option<&'a str>>,
    reason: Vec<Option<&'a str>>,
    request_id: Vec<Option<&'a str>>,
    trace: Vec<Option<String>>,
    kind: Vec<Option<&'static str>>,
    data: Vec<Option<&'a str>>,
    note_author: Vec<Option<&'a str>>,
    note_text: Vec<Option<&'a str>>,
}

impl<'a> Tells<'a> {
    fn push(&mut self, write: Option<&'a Write>) {
        let order = write.map(|write| &write.order);
        let entry = write.map(|write| &write.entry);
        let note = write.and_then(|write| write.note.as_ref());
        self.state.push(order.map(|order| order.state.as_str()));
        self.payment_state.push(order.map(|order| order.payment_state().as_str()));
        self.version.push(order.map(|order| count(order.version.get())));
        self.updated_at.push(order.map(|order| order.updated_at));
        self.notes.push(order.map(|order| i32::try_from(order.notes).unwrap_or(i32::MAX)));
        self.payments.push(order.map(|order| content::encode_payments(&order.payments)));
        self.progress.push(order.map(|order| content::encode_progress(&order.goods.lines)));
        self.from.push(entry.and_then(|entry| entry.from).map(State::as_str));
        self.command.push(entry.map(|entry| entry.command.as_str()));
        self.actor.push(entry.map(|entry| &*entry.actor));
        self.reason.push(entry.and_then(|entry| entry.reason.as_ref()).map(Reason::as_str));
        self.request_id.push(entry.map(|entry| entry.request_id.as_str()));
        self.trace.push(entry.and_then(|entry| trace_column(entry.trace)));
        self.kind.push(write.map(|write| write.event.kind));
        self.data.push(write.map(|write| write.event.data.as_str()));
        self.note_author.push(note.map(|note| &*note.author));
        self.note_text.push(note.map(|note| note.text.as_str()));
    }
}

/// New orders, column by column.
#[derive(Default)]
pub(super) struct New<'a> {
    pub(super) change: Vec<Uuid>,
    decided_at: Vec<Timestamp>,
    id: Vec<Uuid>,
    tenant: Vec<&'a str>,
    number: Vec<i64>,
    customer: Vec<&'a str>,
    reference: Vec<Option<&'a str>>,
    currency: Vec<&'a str>,
    total: Vec<i64>,
    created_at: Vec<Timestamp>,
    key: Vec<Option<&'a str>>,
    fingerprint: Vec<Option<&'a [u8]>>,
    key_expires_at: Vec<Option<Timestamp>>,
    content: Vec<&'a str>,
    personal: Vec<Option<&'a str>>,
    tells: Tells<'a>,
    plans: Plans<'a>,
}

impl<'a> New<'a> {
    pub(super) fn of(batch: &[&'a Prepared]) -> Self {
        let mut columns = Self::default();
        for prepared in batch {
            columns.push(prepared);
        }
        columns
    }

    fn push(&mut self, prepared: &'a Prepared) {
        let change = &prepared.change;
        let Some(write) = new_order(change) else { return };
        let (order, receipt) = (&write.order, change.receipt.as_ref());
        self.change.push(change.id.0);
        self.decided_at.push(change.at);
        self.id.push(order.id.0);
        self.tenant.push(change.tenant.as_str());
        self.number.push(count(order.number.bits()));
        self.customer.push(order.customer_id.as_str());
        self.reference.push(order.external_reference.as_ref().map(ExternalReference::as_str));
        self.currency.push(order.goods.currency.code());
        self.total.push(order.pricing().totals.total.minor);
        self.created_at.push(order.created_at);
        self.key.push(receipt.map(|receipt| receipt.key.key.as_str()));
        self.fingerprint.push(receipt.map(|receipt| &receipt.fingerprint.0[..]));
        self.key_expires_at.push(receipt.map(|receipt| receipt.expires_at));
        self.content.push(&prepared.content);
        self.personal.push(prepared.personal.as_deref());
        self.tells.push(Some(write));
        for task in &change.plans {
            self.plans.push(change.id.0, task);
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.key.iter().copied().flatten()
    }

    pub(super) fn orders(&self) -> Vec<Param<'_>> {
        let tells = &self.tells;
        vec![
            (&self.decided_at, Type::TIMESTAMPTZ_ARRAY),
            (&self.id, Type::UUID_ARRAY),
            (&self.tenant, Type::TEXT_ARRAY),
            (&self.number, Type::INT8_ARRAY),
            (&self.customer, Type::TEXT_ARRAY),
            (&self.reference, Type::TEXT_ARRAY),
            (&tells.state, Type::TEXT_ARRAY),
            (&tells.payment_state, Type::TEXT_ARRAY),
            (&self.currency, Type::TEXT_ARRAY),
            (&self.total, Type::INT8_ARRAY),
            (&tells.version, Type::INT8_ARRAY),
            (&self.created_at, Type::TIMESTAMPTZ_ARRAY),
            (&tells.updated_at, Type::TIMESTAMPTZ_ARRAY),
            (&tells.notes, Type::INT4_ARRAY),
            (&self.key, Type::TEXT_ARRAY),
            (&self.fingerprint, Type::BYTEA_ARRAY),
            (&self.key_expires_at, Type::TIMESTAMPTZ_ARRAY),
            (&tells.payments, Type::TEXT_ARRAY),
            (&tells.progress, Type::TEXT_ARRAY),
            (&self.content, Type::TEXT_ARRAY),
            (&self.change, Type::UUID_ARRAY),
            (&tells.from, Type::TEXT_ARRAY),
            (&tells.command, Type::TEXT_ARRAY),
            (&tells.actor, Type::TEXT_ARRAY),
            (&tells.reason, Type::TEXT_ARRAY),
            (&tells.request_id, Type::TEXT_ARRAY),
            (&tells.trace, Type::TEXT_ARRAY),
            (&tells.kind, Type::TEXT_ARRAY),
            (&tells.data, Type::TEXT_ARRAY),
        ]
    }

    /// Personal data, if any of the orders has some.
    pub(super) fn personal(&self) -> Option<Vec<Param<'_>>> {
        let params: Vec<Param<'_>> = vec![
            (&self.id, Type::UUID_ARRAY),
            (&self.tenant, Type::TEXT_ARRAY),
            (&self.personal, Type::TEXT_ARRAY),
        ];
        self.personal.iter().any(Option::is_some).then_some(params)
    }

    /// Notes, if any of the orders comes with one.
    pub(super) fn notes(&self) -> Option<Vec<Param<'_>>> {
        let tells = &self.tells;
        let params: Vec<Param<'_>> = vec![
            (&self.id, Type::UUID_ARRAY),
            (&tells.version, Type::INT8_ARRAY),
            (&self.tenant, Type::TEXT_ARRAY),
            (&tells.updated_at, Type::TIMESTAMPTZ_ARRAY),
            (&tells.note_author, Type::TEXT_ARRAY),
            (&tells.note_text, Type::TEXT_ARRAY),
        ];
        tells.note_text.iter().any(Option::is_some).then_some(params)
    }

    /// Tasks, if any of the orders plans one.
    pub(super) fn tasks(&self) -> Option<Vec<Param<'_>>> {
        (!self.plans.id.is_empty()).then(|| self.plans.params())
    }
}

/// Changes of what is there, column by column.
#[derive(Default)]
pub(super) struct Old<'a> {
    pub(super) locks_orders: Vec<Uuid>,
    pub(super) locks_tasks: Vec<Uuid>,
    pub(super) change: Vec<Uuid>,
    decided_at: Vec<Timestamp>,
    tenant: Vec<&'a str>,
    order: Vec<Option<Uuid>>,
    expected: Vec<Option<i64>>,
    task: Vec<Option<Uuid>>,
    epoch: Vec<Option<i64>>,
    finish: Vec<Option<bool>>,
    due: Vec<Option<Timestamp>>,
    tries: Vec<Option<i64>>,
    sent: Vec<Option<Timestamp>>,
    operation: Vec<Option<&'static str>>,
    key: Vec<Option<&'a str>>,
    fingerprint: Vec<Option<&'a [u8]>>,
    receipt_order: Vec<Option<Uuid>>,
    decision: Vec<Option<String>>,
    expires_at: Vec<Option<Timestamp>>,
    tells: Tells<'a>,
    plans: Plans<'a>,
}

impl<'a> Old<'a> {
    pub(super) fn of(batch: &[&'a Prepared]) -> Self {
        let mut columns = Self::default();
        for prepared in batch {
            columns.push(&prepared.change);
        }
        columns
    }

    fn push(&mut self, change: &'a Change) {
        let expected = match change.expects {
            Expects::Version(order, version) => Some((order.0, count(version.get()))),
            Expects::New | Expects::Task => None,
        };
        self.locks_orders.extend(expected.map(|(order, _)| order));
        self.locks_tasks.extend(change.lease.map(|lease| lease.task.0));
        self.change.push(change.id.0);
        self.decided_at.push(change.at);
        self.tenant.push(change.tenant.as_str());
        self.order.push(expected.map(|(order, _)| order));
        self.expected.push(expected.map(|(_, version)| version));
        self.push_lease(change);
        self.push_receipt(change.receipt.as_ref());
        self.tells.push(change.write.as_deref());
        for task in &change.plans {
            self.plans.push(change.id.0, task);
        }
    }

    fn push_lease(&mut self, change: &Change) {
        let lease = change.lease;
        let kept = lease.and_then(|lease| match lease.then {
            Then::Finish => None,
            Then::Keep { due, progress } => Some((due, progress)),
        });
        // A task that is finished and planned anew only starts over.
        let planned = |id| change.plans.iter().any(|task| task.id == id);
        let finish = lease.map(|lease| kept.is_none() && !planned(lease.task));
        let restarts = lease.is_some_and(|lease| kept.is_none() && planned(lease.task));
        self.task.push(lease.map(|lease| lease.task.0));
        self.epoch.push(lease.map(|lease| count(lease.epoch)));
        self.finish.push(if restarts { None } else { finish });
        self.due.push(kept.and_then(|(due, _)| due));
        self.tries.push(kept.map(|(_, progress)| i64::from(progress.tries)));
        self.sent.push(kept.and_then(|(_, progress)| progress.sent));
    }

    fn push_receipt(&mut self, receipt: Option<&'a Receipt>) {
        self.operation.push(receipt.map(|receipt| receipt.key.operation.as_str()));
        self.key.push(receipt.map(|receipt| receipt.key.key.as_str()));
        self.fingerprint.push(receipt.map(|receipt| &receipt.fingerprint.0[..]));
        self.receipt_order.push(receipt.map(|receipt| receipt.order.0));
        self.decision.push(receipt.map(|receipt| codec::encode(&receipt.decision)));
        self.expires_at.push(receipt.map(|receipt| receipt.expires_at));
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        let tells = &self.tells;
        let mut params: Vec<Param<'_>> = vec![(&self.plans.change, Type::UUID_ARRAY)];
        params.extend(self.plans.params());
        let own: Vec<Param<'_>> = vec![
            (&self.change, Type::UUID_ARRAY),
            (&self.decided_at, Type::TIMESTAMPTZ_ARRAY),
            (&self.tenant, Type::TEXT_ARRAY),
            (&self.order, Type::UUID_ARRAY),
            (&self.expected, Type::INT8_ARRAY),
            (&self.task, Type::UUID_ARRAY),
            (&self.epoch, Type::INT8_ARRAY),
            (&self.finish, Type::BOOL_ARRAY),
            (&self.due, Type::TIMESTAMPTZ_ARRAY),
            (&self.tries, Type::INT8_ARRAY),
            (&self.sent, Type::TIMESTAMPTZ_ARRAY),
            (&tells.state, Type::TEXT_ARRAY),
            (&tells.payment_state, Type::TEXT_ARRAY),
            (&tells.version, Type::INT8_ARRAY),
            (&tells.updated_at, Type::TIMESTAMPTZ_ARRAY),
            (&tells.notes, Type::INT4_ARRAY),
            (&tells.payments, Type::TEXT_ARRAY),
            (&tells.progress, Type::TEXT_ARRAY),
            (&tells.from, Type::TEXT_ARRAY),
            (&tells.command, Type::TEXT_ARRAY),
            (&tells.actor, Type::TEXT_ARRAY),
            (&tells.reason, Type::TEXT_ARRAY),
            (&tells.request_id, Type::TEXT_ARRAY),
            (&tells.trace, Type::TEXT_ARRAY),
            (&tells.kind, Type::TEXT_ARRAY),
            (&tells.data, Type::TEXT_ARRAY),
            (&tells.note_author, Type::TEXT_ARRAY),
            (&tells.note_text, Type::TEXT_ARRAY),
            (&self.operation, Type::TEXT_ARRAY),
            (&self.key, Type::TEXT_ARRAY),
            (&self.fingerprint, Type::BYTEA_ARRAY),
            (&self.receipt_order, Type::UUID_ARRAY),
            (&self.decision, Type::TEXT_ARRAY),
            (&self.expires_at, Type::TIMESTAMPTZ_ARRAY),
        ];
        params.extend(own);
        params
    }
}
