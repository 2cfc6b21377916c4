//! Makes changes as the use cases do, with every id and time chosen by the test.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mainstay_context::TraceContext;
use orders::{
    codec,
    domain::{
        Applied, AttemptId, ChangeId, Command, Draft, IdempotencyKey, Note, Order, OrderId,
        OrderNumber, Reason, Stamp, TenantId,
    },
    ports::{
        Change, Decision, Expects, NewEvent, Operation, Progress, Receipt, ReceiptKey, Task,
        TaskKind, Write,
    },
};
use uuid::Uuid;

use crate::builders;

/// When the suite's time starts.
pub(super) const START: Timestamp = crate::world::START;

/// Draws ids one after the other and stamps changes with its own time.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) at: Timestamp,
    pub(super) remember: SignedDuration,
    drawn: u64,
}

impl Maker {
    pub(super) fn new() -> Self {
        Self { at: START, remember: SignedDuration::from_hours(1), drawn: 0 }
    }

    pub(super) fn advance(&mut self, seconds: i64) {
        self.at = self.at.saturating_add(SignedDuration::from_secs(seconds)).expect("is in range");
    }

    /// Ids that are not in the order they were drawn in, so that a test cannot lean on it.
    fn uuid(&mut self) -> Uuid {
        self.drawn += 1;
        let mixed = self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Uuid::from_u64_pair(mixed, self.drawn)
    }

    pub(super) fn stamp(&mut self) -> Stamp {
        Stamp {
            change: ChangeId(self.uuid()),
            at: self.at,
            actor: "suite".into(),
            request_id: "suite-request".parse().expect("a request id"),
            trace: TraceContext::new([7; 16], [9; 8]),
        }
    }

    /// A create of [`builders::draft`].
    pub(super) fn create(&mut self, tenant: &str, key: &str) -> Change {
        self.place(tenant, Some(key), builders::draft())
    }

    pub(super) fn place(&mut self, tenant: &str, key: Option<&str>, draft: Draft) -> Change {
        let number = self.drawn << 20 | 1;
        self.numbered(tenant, key, draft, number)
    }

    pub(super) fn numbered(
        &mut self,
        tenant: &str,
        key: Option<&str>,
        draft: Draft,
        number: u64,
    ) -> Change {
        let stamp = self.stamp();
        let id = OrderId(self.uuid());
        let tenant: TenantId = tenant.parse().expect("a tenant id");
        let placement = draft.clone().check().expect("a valid draft");
        let number = OrderNumber::from_bits(number);
        let applied = Order::place(id, number, tenant.clone(), &placement, &stamp);
        let data = codec::event_data(&applied.order, &applied.entry);
        let receipt = key.map(|key| Receipt {
            key: receipt_key(&tenant, Operation::Create, key),
            fingerprint: codec::create_fingerprint(&placement),
            order: id,
            decision: Decision::Accepted { version: applied.order.version },
            expires_at: self.expiry(),
        });
        let write = Write {
            order: applied.order,
            entry: applied.entry,
            event: NewEvent { kind: applied.event, data },
            note: None,
            personal: draft.personal,
        };
        let write = Some(Box::new(write));
        Change {
            id: stamp.change,
            tenant,
            at: stamp.at,
            expects: Expects::New,
            write,
            receipt,
            lease: None,
            plans: Vec::new(),
        }
    }

    /// A verb on the order as it was read: a write, or a refusal when the rules refuse it.
    pub(super) fn act(&mut self, order: &Order, verb: Say<'_>, key: Option<&str>) -> Change {
        let stamp = self.stamp();
        let reason: Option<Reason> = verb.reason.map(|text| text.parse().expect("a reason"));
        let applied = order.apply(verb.command, reason, &stamp);
        let decision = match &applied {
            Ok(applied) => Decision::Accepted { version: applied.order.version },
            Err(refusal) => Decision::Refused(*refusal),
        };
        let operation = operation(verb.command);
        let receipt = key.map(|key| Receipt {
            key: receipt_key(&order.tenant, operation, key),
            fingerprint: codec::verb_fingerprint(
                operation,
                order.id,
                codec::VerbFields {
                    reason: verb.reason,
                    text: verb.text,
                    ..codec::VerbFields::default()
                },
            ),
            order: order.id,
            decision,
            expires_at: self.expiry(),
        });
        let write = applied.ok().map(|applied| {
            let note = verb.text.map(|text| Note {
                version: applied.order.version,
                at: stamp.at,
                author: Arc::clone(&stamp.actor),
                text: text.parse().expect("a note"),
            });
            Box::new(Write { note, ..write(applied) })
        });
        Change { write, receipt, ..nothing(order, &stamp) }
    }

    /// What the rules made of an order, without a receipt, and with the tasks of what it owes.
    pub(super) fn applied(&self, order: &Order, applied: Applied, stamp: &Stamp) -> Change {
        let task = |attempt: &AttemptId| Task {
            id: (*attempt).into(),
            tenant: order.tenant.clone(),
            order: order.id,
            kind: TaskKind::Attempt,
            due: self.at,
            progress: Progress::default(),
        };
        let plans = applied.owes.iter().map(task).collect();
        Change { write: Some(Box::new(write(applied))), plans, ..nothing(order, stamp) }
    }

    fn expiry(&self) -> Timestamp {
        self.at.saturating_add(self.remember).expect("is in range")
    }
}

fn write(applied: Applied) -> Write {
    let data = codec::event_data(&applied.order, &applied.entry);
    let event = NewEvent { kind: applied.event, data };
    Write { order: applied.order, entry: applied.entry, event, note: None, personal: None }
}

/// A change that finds the order as it is, and leaves it so.
fn nothing(order: &Order, stamp: &Stamp) -> Change {
    Change {
        id: stamp.change,
        tenant: order.tenant.clone(),
        at: stamp.at,
        expects: Expects::Version(order.id, order.version),
        write: None,
        receipt: None,
        lease: None,
        plans: Vec::new(),
    }
}

/// A verb and its words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Say<'a> {
    pub(super) command: Command,
    pub(super) reason: Option<&'a str>,
    pub(super) text: Option<&'a str>,
}

pub(super) const CONFIRM: Say<'_> = Say { command: Command::Confirm, reason: None, text: None };
pub(super) const CANCEL: Say<'_> = Say { command: Command::Cancel, reason: None, text: None };

pub(super) const fn note(text: &str) -> Say<'_> {
    Say { command: Command::AddNote, reason: None, text: Some(text) }
}

pub(super) fn operation(command: Command) -> Operation {
    match command {
        Command::Confirm => Operation::Confirm,
        Command::Cancel => Operation::Cancel,
        Command::AddNote => Operation::AddNote,
        Command::Place
        | Command::BeginCancel
        | Command::FinishCancel
        | Command::Complete
        | Command::Expire
        | Command::Fulfill
        | Command::CancelLines
        | Command::Return
        | Command::ExpireAuthorization
        | Command::Pay
        | Command::RecordPayment
        | Command::Capture
        | Command::Refund
        | Command::Settle => panic!("{command} is no verb"),
    }
}

pub(super) fn receipt_key(tenant: &TenantId, operation: Operation, key: &str) -> ReceiptKey {
    let key: IdempotencyKey = builders::key(key);
    ReceiptKey { tenant: tenant.clone(), operation, key }
}

/// The order that a change makes.
pub(super) fn order_of(change: &Change) -> &Order {
    &change.write.as_ref().expect("the change writes").order
}
