//! The one write, as SQL: a batch of changes as one statement for the new orders and one for the
//! rest, sent in one go with the transaction around them.
//!
//! A statement checks every change by itself and writes those that pass; it answers which. So a change
//! that is refused takes nobody with it. Within a batch no two changes touch the same row, which
//! [`split`] sees to.

use std::collections::HashSet;

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use orders::{
    codec,
    domain::{ExternalReference, Reason, State},
    ports::{Change, Expects, Receipt, Task, Then, Write},
};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    prepared::Prepared,
    session::{Failed, Param, Query, transaction},
};
use crate::{
    content,
    stored::{count, trace_column},
};

/// Held, shared, by whoever makes orders under a key, and alone by whoever remembers that an order
/// could not be made: the one is in `orders`, the other in `receipts`, so no index sees both.
const CREATE_LOCK: &str = "pg_advisory_xact_lock_shared(6072110951137)";
const REFUSAL_LOCK: &str = "pg_advisory_xact_lock(6072110951137)";

const CREATE: &str = "
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::bigint[], $6::text[],
        $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[],
        $13::timestamptz[], $14::timestamptz[], $15::integer[], $16::text[], $17::bytea[],
        $18::timestamptz[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[],
        $24::text[], $25::text[], $26::text[], $27::text[], $28::text[], $29::text[], $30::text[],
        $31::text[], $32::text[])
    AS i(change_id, decided_at, id, tenant, number, customer_id, external_reference, state,
        payment_state, currency, total_minor, version, created_at, updated_at, notes, create_key,
        create_fingerprint, create_key_expires_at, payments, progress, content, from_state, command,
        actor, reason, request_id, trace, kind, data, personal, note_author, note_text)
), made AS (
    INSERT INTO orders (id, tenant, number, customer_id, external_reference, state, payment_state,
        currency, total_minor, version, created_at, updated_at, notes, create_key,
        create_fingerprint, create_key_expires_at, payments, progress, content)
    SELECT id, tenant, number, customer_id, external_reference, state, payment_state, currency,
        total_minor, version, created_at, updated_at, notes, create_key, create_fingerprint,
        create_key_expires_at, payments, progress, content
    FROM input i
    WHERE NOT EXISTS (SELECT FROM receipts r WHERE r.tenant = i.tenant AND r.operation = 'create'
        AND r.key = i.create_key AND r.expires_at > i.decided_at)
    -- In one order, so that twins in two batches wait for each other one way only.
    ORDER BY tenant, create_key
    ON CONFLICT DO NOTHING
    RETURNING id
), done AS MATERIALIZED (
    SELECT i.* FROM input i JOIN made USING (id)
), history_made AS (
    INSERT INTO history (order_id, version, tenant, change_id, from_state, to_state, command, actor,
        reason, request_id, trace, at)
    SELECT id, version, tenant, change_id, from_state, state, command, actor, reason, request_id,
        trace, updated_at
    FROM done
), outbox_made AS (
    INSERT INTO outbox (tenant, order_id, version, change_id, kind, trace, at, data)
    SELECT tenant, id, version, change_id, kind, trace, updated_at, data FROM done
), personal_made AS (
    INSERT INTO personal (order_id, tenant, data)
    SELECT id, tenant, personal FROM done WHERE personal IS NOT NULL
), notes_made AS (
    INSERT INTO notes (order_id, version, tenant, at, author, text)
    SELECT id, version, tenant, updated_at, note_author, note_text
    FROM done WHERE note_text IS NOT NULL
), planned AS (
    INSERT INTO tasks (id, tenant, order_id, kind, due, tries, sent, epoch)
    SELECT p.id, p.tenant, p.order_id, p.kind, p.due, p.tries, p.sent, 0
    FROM unnest($33::uuid[], $34::uuid[], $35::text[], $36::uuid[], $37::text[], $38::timestamptz[],
        $39::bigint[], $40::timestamptz[])
    AS p(change_id, id, tenant, order_id, kind, due, tries, sent)
    JOIN done USING (change_id)
    ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, order_id = excluded.order_id,
        kind = excluded.kind, due = excluded.due, tries = excluded.tries, sent = excluded.sent,
        epoch = tasks.epoch + 1
)
SELECT change_id FROM done";

const CHANGE: &str = "
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::uuid[], $5::bigint[],
        $6::uuid[], $7::bigint[], $8::boolean[], $9::timestamptz[], $10::bigint[],
        $11::timestamptz[], $12::boolean[], $13::text[], $14::text[], $15::bigint[],
        $16::timestamptz[], $17::integer[], $18::text[], $19::text[], $20::text[], $21::text[],
        $22::text[], $23::text[], $24::text[], $25::text[], $26::text[], $27::text[], $28::text[],
        $29::text[], $30::text[], $31::text[], $32::bytea[], $33::uuid[], $34::text[],
        $35::timestamptz[])
    AS i(change_id, decided_at, tenant, order_id, expected, task, epoch, finish, due, tries, sent,
        writes, state, payment_state, version, updated_at, notes, payments, progress, from_state,
        command, actor, reason, request_id, trace, kind, data, note_author, note_text, operation,
        key, fingerprint, receipt_order, decision, expires_at)
), passed AS MATERIALIZED (
    SELECT i.* FROM input i
    LEFT JOIN orders o ON o.id = i.order_id AND o.tenant = i.tenant
    LEFT JOIN tasks t ON t.id = i.task
    LEFT JOIN receipts r ON r.tenant = i.tenant AND r.operation = i.operation AND r.key = i.key
        AND r.expires_at > i.decided_at
    WHERE (i.expected IS NULL OR o.version = i.expected)
        AND (i.task IS NULL OR t.epoch = i.epoch)
        AND r.key IS NULL
), remembered AS (
    INSERT INTO receipts (tenant, operation, key, fingerprint, order_id, change_id, decision,
        expires_at)
    SELECT tenant, operation, key, fingerprint, receipt_order, change_id, decision, expires_at
    FROM passed WHERE key IS NOT NULL ORDER BY tenant, operation, key
    ON CONFLICT (tenant, operation, key) DO UPDATE SET fingerprint = excluded.fingerprint,
        order_id = excluded.order_id, change_id = excluded.change_id,
        decision = excluded.decision, expires_at = excluded.expires_at
    WHERE receipts.expires_at <= (SELECT p.decided_at FROM passed p
        WHERE p.change_id = excluded.change_id)
    RETURNING change_id
), done AS MATERIALIZED (
    SELECT p.* FROM passed p LEFT JOIN remembered m USING (change_id)
    WHERE p.key IS NULL OR m.change_id IS NOT NULL
), changed AS (
    UPDATE orders o SET state = d.state, payment_state = d.payment_state, version = d.version,
        updated_at = d.updated_at, notes = d.notes, payments = d.payments, progress = d.progress
    FROM done d WHERE d.writes AND o.id = d.order_id
), history_made AS (
    INSERT INTO history (order_id, version, tenant, change_id, from_state, to_state, command, actor,
        reason, request_id, trace, at)
    SELECT order_id, version, tenant, change_id, from_state, state, command, actor, reason,
        request_id, trace, updated_at
    FROM done WHERE writes
), outbox_made AS (
    INSERT INTO outbox (tenant, order_id, version, change_id, kind, trace, at, data)
    SELECT tenant, order_id, version, change_id, kind, trace, updated_at, data
    FROM done WHERE writes
), notes_made AS (
    INSERT INTO notes (order_id, version, tenant, at, author, text)
    SELECT order_id, version, tenant, updated_at, note_author, note_text
    FROM done WHERE note_text IS NOT NULL
), finished AS (
    DELETE FROM tasks t USING done d WHERE d.finish AND t.id = d.task
), kept AS (
    UPDATE tasks t SET due = coalesce(d.due, t.due), tries = d.tries, sent = d.sent
    FROM done d WHERE NOT d.finish AND t.id = d.task
), planned AS (
    INSERT INTO tasks (id, tenant, order_id, kind, due, tries, sent, epoch)
    SELECT p.id, p.tenant, p.order_id, p.kind, p.due, p.tries, p.sent, 0
    FROM unnest($36::uuid[], $37::uuid[], $38::text[], $39::uuid[], $40::text[], $41::timestamptz[],
        $42::bigint[], $43::timestamptz[])
    AS p(change_id, id, tenant, order_id, kind, due, tries, sent)
    JOIN done USING (change_id)
    ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, order_id = excluded.order_id,
        kind = excluded.kind, due = excluded.due, tries = excluded.tries, sent = excluded.sent,
        epoch = tasks.epoch + 1
)
SELECT change_id FROM done";

const REMEMBER: &str = "
INSERT INTO receipts (tenant, operation, key, fingerprint, order_id, change_id, decision, expires_at)
SELECT $1, 'create', $2, $3, $4, NULL, $5, $6
WHERE NOT EXISTS (SELECT FROM orders WHERE tenant = $1 AND create_key = $2)
ON CONFLICT (tenant, operation, key) DO UPDATE SET fingerprint = excluded.fingerprint,
    order_id = excluded.order_id, change_id = NULL, decision = excluded.decision,
    expires_at = excluded.expires_at
WHERE receipts.expires_at <= $7
RETURNING true";

/// What a batch touches, so that no two of its changes touch the same.
#[derive(Debug, Default)]
struct Touched {
    ids: HashSet<Uuid>,
    keys: HashSet<(String, &'static str, String)>,
    numbers: HashSet<(String, u64)>,
    references: HashSet<(String, String)>,
}

impl Touched {
    /// Adds what a change touches, unless another touches some of it.
    fn add(&mut self, change: &Change) -> bool {
        let mut ids: Vec<Uuid> = change.plans.iter().map(|task| task.id.0).collect();
        ids.extend(change.lease.map(|lease| lease.task.0).filter(|id| !ids.contains(id)));
        let order = order_of(change);
        let order = order.filter(|id| !ids.contains(id));
        ids.extend(order);
        let tenant = || change.tenant.as_str().to_owned();
        let key = change.receipt.as_ref().map(|receipt| {
            (tenant(), receipt.key.operation.as_str(), receipt.key.key.as_str().to_owned())
        });
        let new = new_order(change).map(|write| &write.order);
        let number = new.map(|order| (tenant(), order.number.bits()));
        let reference = new.and_then(|order| order.external_reference.as_ref());
        let reference = reference.map(|reference| (tenant(), reference.as_str().to_owned()));
        let free = ids.iter().all(|id| !self.ids.contains(id))
            && key.as_ref().is_none_or(|key| !self.keys.contains(key))
            && number.as_ref().is_none_or(|number| !self.numbers.contains(number))
            && reference.as_ref().is_none_or(|reference| !self.references.contains(reference));
        if free {
            self.ids.extend(ids);
            self.keys.extend(key);
            self.numbers.extend(number);
            self.references.extend(reference);
        }
        free
    }
}

/// Which changes may be written together; the others, in their order, have to wait for them.
pub(super) fn split<T>(items: Vec<T>, change: impl Fn(&T) -> &Change) -> (Vec<T>, Vec<T>) {
    let mut touched = Touched::default();
    items.into_iter().partition(|item| touched.add(change(item)))
}

fn order_of(change: &Change) -> Option<Uuid> {
    match change.expects {
        Expects::New => change.write.as_ref().map(|write| write.order.id.0),
        Expects::Version(order, _) => Some(order.0),
        Expects::Task => None,
    }
}

/// What a change writes of an order that is to be new.
pub(super) fn new_order(change: &Change) -> Option<&Write> {
    change.write.as_deref().filter(|_| change.expects == Expects::New)
}

/// Writes those changes of a batch that pass their checks, and answers which.
pub(super) async fn write(
    client: &ClientWrapper,
    begin: &str,
    prepare: bool,
    batch: &[&Prepared],
) -> Result<HashSet<Uuid>, Failed> {
    let (new, old): (Vec<&Prepared>, Vec<&Prepared>) =
        batch.iter().partition(|prepared| new_order(&prepared.change).is_some());
    let (new, old) = (New::of(&new), Old::of(&old));
    let mut queries = Vec::new();
    let mut begin = begin.to_owned();
    if new.is_under_a_key() {
        begin.push_str("; SELECT ");
        begin.push_str(CREATE_LOCK);
    }
    // Locks come first, in one order, and the statements after them see what is there by then.
    let (orders, tasks) = (&old.locks_orders, &old.locks_tasks);
    if !orders.is_empty() {
        let sql = "SELECT FROM orders WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";
        queries.push(Query { sql, params: vec![(orders, Type::UUID_ARRAY)], answers: false });
    }
    if !tasks.is_empty() {
        let sql = "SELECT FROM tasks WHERE id = ANY($1) ORDER BY id FOR UPDATE";
        queries.push(Query { sql, params: vec![(tasks, Type::UUID_ARRAY)], answers: false });
    }
    if !new.change.is_empty() {
        queries.push(Query { sql: CREATE, params: new.params(), answers: true });
    }
    if !old.change.is_empty() {
        queries.push(Query { sql: CHANGE, params: old.params(), answers: true });
    }
    let rows = transaction(client, &begin, prepare, &queries).await?;
    rows.iter().flatten().map(|row| row.try_get(0).map_err(Failed::unread)).collect()
}

/// Remembers that an order could not be made, unless its key stands for something else by now; says
/// whether it does so.
pub(super) async fn remember_refusal(
    client: &ClientWrapper,
    begin: &str,
    prepare: bool,
    at: Timestamp,
    receipt: &Receipt,
) -> Result<bool, Failed> {
    let begin = format!("{begin}; SELECT {REFUSAL_LOCK}");
    let (tenant, key) = (receipt.key.tenant.as_str(), receipt.key.key.as_str());
    let (fingerprint, decision) = (&receipt.fingerprint.0[..], codec::encode(&receipt.decision));
    let query = Query {
        sql: REMEMBER,
        params: vec![
            (&tenant, Type::TEXT),
            (&key, Type::TEXT),
            (&fingerprint, Type::BYTEA),
            (&receipt.order.0, Type::UUID),
            (&decision, Type::TEXT),
            (&receipt.expires_at, Type::TIMESTAMPTZ),
            (&at, Type::TIMESTAMPTZ),
        ],
        answers: true,
    };
    let remembered = transaction(client, &begin, prepare, &[query]).await?;
    Ok(remembered.iter().any(|rows| !rows.is_empty()))
}

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

    fn params(&self) -> [Param<'_>; 8] {
        [
            (&self.change, Type::UUID_ARRAY),
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
struct New<'a> {
    change: Vec<Uuid>,
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
    fn of(batch: &[&'a Prepared]) -> Self {
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

    fn is_under_a_key(&self) -> bool {
        self.key.iter().any(Option::is_some)
    }

    fn params(&self) -> Vec<Param<'_>> {
        let tells = &self.tells;
        let mut params: Vec<Param<'_>> = vec![
            (&self.change, Type::UUID_ARRAY),
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
            (&tells.from, Type::TEXT_ARRAY),
            (&tells.command, Type::TEXT_ARRAY),
            (&tells.actor, Type::TEXT_ARRAY),
            (&tells.reason, Type::TEXT_ARRAY),
            (&tells.request_id, Type::TEXT_ARRAY),
            (&tells.trace, Type::TEXT_ARRAY),
            (&tells.kind, Type::TEXT_ARRAY),
            (&tells.data, Type::TEXT_ARRAY),
            (&self.personal, Type::TEXT_ARRAY),
            (&tells.note_author, Type::TEXT_ARRAY),
            (&tells.note_text, Type::TEXT_ARRAY),
        ];
        params.extend(self.plans.params());
        params
    }
}

/// Changes of what is there, column by column.
#[derive(Default)]
struct Old<'a> {
    locks_orders: Vec<Uuid>,
    locks_tasks: Vec<Uuid>,
    change: Vec<Uuid>,
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
    writes: Vec<bool>,
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
    fn of(batch: &[&'a Prepared]) -> Self {
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
        self.writes.push(change.write.is_some());
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

    fn params(&self) -> Vec<Param<'_>> {
        let tells = &self.tells;
        let mut params: Vec<Param<'_>> = vec![
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
            (&self.writes, Type::BOOL_ARRAY),
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
        params.extend(self.plans.params());
        params
    }
}
