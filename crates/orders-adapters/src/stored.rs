//! Rows as every store has them, and what they say: read strictly, so that what was damaged is told
//! and not guessed.

use jiff::Timestamp;
use mainstay_context::{RequestId, TraceContext};
use orders::{
    codec,
    domain::{
        ChangeId, Command, Entry, Order, OrderId, OrderNumber, Position, Snapshot, State, TenantId,
        Version,
    },
    ports::{
        Cause, Event, Fingerprint, Operation, Progress, Receipt, ReceiptKey, Task, TaskId, TaskKind,
    },
};
use uuid::Uuid;

use crate::content;

/// What could be read, or why not.
pub(crate) type Read<T> = Result<T, Cause>;

pub(crate) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn position(number: i64) -> Position {
    Position(u64::try_from(number).unwrap_or(0))
}

pub(crate) fn version(number: i64) -> Read<Version> {
    let version = u64::try_from(number).ok().and_then(Version::new);
    version.ok_or_else(|| format!("a version of {number}").into())
}

fn named<T>(what: &str, name: &str, value: Option<T>) -> Read<T> {
    value.ok_or_else(|| format!("an unknown {what}: {name}").into())
}

fn trace(text: Option<&str>) -> Read<TraceContext> {
    Ok(text.map_or(Ok(TraceContext::default()), str::parse)?)
}

pub(crate) fn trace_column(trace: TraceContext) -> Option<String> {
    (!trace.is_none()).then(|| trace.to_string())
}

/// A row of `orders`.
pub(crate) struct OrderRow<'a> {
    pub(crate) id: Uuid,
    pub(crate) tenant: &'a str,
    pub(crate) number: i64,
    pub(crate) customer_id: &'a str,
    pub(crate) external_reference: Option<&'a str>,
    pub(crate) state: &'a str,
    pub(crate) currency: &'a str,
    pub(crate) version: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) notes: u32,
    pub(crate) payments: &'a str,
    pub(crate) progress: &'a str,
    pub(crate) content: &'a str,
}

impl OrderRow<'_> {
    pub(crate) fn read(self) -> Read<Order> {
        let (goods, metadata) = content::decode(self.content, self.progress, self.currency)?;
        let payments = content::decode_payments(self.payments, goods.currency)?;
        Ok(Order::restore(Snapshot {
            id: OrderId(self.id),
            tenant: self.tenant.parse()?,
            number: OrderNumber::from_bits(u64::try_from(self.number)?),
            customer_id: self.customer_id.parse()?,
            external_reference: self.external_reference.map(str::parse).transpose()?,
            state: named("state", self.state, State::from_name(self.state))?,
            goods,
            metadata,
            payments,
            notes: self.notes,
            version: version(self.version)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })?)
    }
}

/// A row of `history`.
pub(crate) struct EntryRow<'a> {
    pub(crate) order: Uuid,
    pub(crate) version: i64,
    pub(crate) change: Uuid,
    pub(crate) from: Option<&'a str>,
    pub(crate) to: &'a str,
    pub(crate) command: &'a str,
    pub(crate) actor: &'a str,
    pub(crate) reason: Option<&'a str>,
    pub(crate) request_id: &'a str,
    pub(crate) trace: Option<&'a str>,
    pub(crate) at: Timestamp,
}

impl EntryRow<'_> {
    pub(crate) fn read(self) -> Read<Entry> {
        let state = |name: &str| named("state", name, State::from_name(name));
        Ok(Entry {
            order: OrderId(self.order),
            version: version(self.version)?,
            change: ChangeId(self.change),
            from: self.from.map(state).transpose()?,
            to: state(self.to)?,
            command: named("command", self.command, Command::from_name(self.command))?,
            actor: self.actor.into(),
            reason: self.reason.map(str::parse).transpose()?,
            request_id: self.request_id.parse::<RequestId>()?,
            trace: trace(self.trace)?,
            at: self.at,
        })
    }
}

/// A row of `events`.
pub(crate) struct EventRow<'a> {
    pub(crate) position: i64,
    pub(crate) tenant: &'a str,
    pub(crate) order: Uuid,
    pub(crate) version: i64,
    pub(crate) change: Uuid,
    pub(crate) kind: &'a str,
    pub(crate) trace: Option<&'a str>,
    pub(crate) at: Timestamp,
    pub(crate) data: &'a str,
}

impl EventRow<'_> {
    pub(crate) fn read(self) -> Read<Event> {
        Ok(Event {
            position: position(self.position),
            tenant: self.tenant.parse::<TenantId>()?,
            order: OrderId(self.order),
            version: version(self.version)?,
            id: ChangeId(self.change),
            kind: self.kind.to_owned(),
            trace: trace(self.trace)?,
            at: self.at,
            data: self.data.to_owned(),
        })
    }
}

/// A row of `receipts`.
pub(crate) struct ReceiptRow<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) key: &'a str,
    pub(crate) fingerprint: &'a [u8],
    pub(crate) order: Uuid,
    pub(crate) decision: &'a str,
    pub(crate) expires_at: Timestamp,
}

impl ReceiptRow<'_> {
    pub(crate) fn read(self) -> Read<Receipt> {
        let operation = Operation::from_name(self.operation);
        Ok(Receipt {
            key: ReceiptKey {
                tenant: self.tenant.parse()?,
                operation: named("operation", self.operation, operation)?,
                key: self.key.parse()?,
            },
            fingerprint: Fingerprint(self.fingerprint.try_into()?),
            order: OrderId(self.order),
            decision: codec::decode(self.decision)?,
            expires_at: self.expires_at,
        })
    }
}

/// A row of `tasks`.
pub(crate) struct TaskRow<'a> {
    pub(crate) id: Uuid,
    pub(crate) tenant: &'a str,
    pub(crate) order: Uuid,
    pub(crate) kind: &'a str,
    pub(crate) due: Timestamp,
    pub(crate) tries: u32,
    pub(crate) sent: Option<Timestamp>,
}

impl TaskRow<'_> {
    pub(crate) fn read(self) -> Read<Task> {
        Ok(Task {
            id: TaskId(self.id),
            tenant: self.tenant.parse()?,
            order: OrderId(self.order),
            kind: named("kind", self.kind, TaskKind::from_name(self.kind))?,
            due: self.due,
            progress: Progress { tries: self.tries, sent: self.sent },
        })
    }
}
