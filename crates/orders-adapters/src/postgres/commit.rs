//! The one write, as SQL: a batch of changes as a few statements of many rows, sent in one go with the
//! transaction around them.
//!
//! New orders are inserted without a question, which is quickest by far; one that cannot be, for a key
//! that is decided under or a reference that is taken, undoes its batch. Then the writer looks at the
//! facts, answers whom they speak against, and sends the rest again. Changes of what is there are refused
//! more often: one statement checks each by itself, writes those that pass, and answers which.
//!
//! Within a batch no two changes touch the same row, which [`Hold`](super::touched::Hold) sees to.

use std::collections::{BTreeSet, HashSet};

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use orders::{
    codec,
    ports::{Change, Expects, Receipt, Write},
};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    columns::{New, Old},
    failed::Failed,
    prepared::Prepared,
    session::{Param, Query, transaction, transaction_telling},
};

/// Takes places for keys that are decided under; see [`remember_refusals`]. They are taken in one order,
/// and before any row.
macro_rules! hold {
    ($lock:literal) => {
        concat!("SELECT ", $lock, "(607211095, place) FROM unnest($1::integer[]) AS place")
    };
}

const HOLD_SHARED: &str = hold!("pg_advisory_xact_lock_shared");
const HOLD_ALONE: &str = hold!("pg_advisory_xact_lock");

/// The places that keys have. Each is a lock of the transaction, however large the batch.
const PLACES: i32 = 16;

/// Makes orders, each with its history and its event, or fails: with a key, number or reference that is
/// taken, or, for the lack of an id, under a key of which a refusal is remembered.
const MAKE: &str = "
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::timestamptz[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[],
        $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::timestamptz[],
        $13::timestamptz[], $14::integer[], $15::text[], $16::bytea[], $17::timestamptz[], $18::text[],
        $19::text[], $20::text[], $21::uuid[], $22::text[], $23::text[], $24::text[], $25::text[],
        $26::text[], $27::text[], $28::text[], $29::text[])
    AS i(decided_at, order_id, tenant, number, customer_id, external_reference, state, payment_state,
        currency, total_minor, version, created_at, updated_at, notes, create_key, create_fingerprint,
        create_key_expires_at, payments, progress, content, change_id, from_state, command, actor,
        reason, request_id, trace, kind, data)
), orders_made AS (
    INSERT INTO orders (id, tenant, number, customer_id, external_reference, state, payment_state,
        currency, total_minor, version, created_at, updated_at, notes, create_key, create_fingerprint,
        create_key_expires_at, payments, progress, content)
    SELECT CASE WHEN NOT EXISTS (SELECT FROM receipts r WHERE r.tenant = i.tenant
            AND r.operation = 'create' AND r.key = i.create_key AND r.expires_at > i.decided_at)
        THEN order_id END,
        tenant, number, customer_id, external_reference, state, payment_state, currency, total_minor,
        version, created_at, updated_at, notes, create_key, create_fingerprint, create_key_expires_at,
        payments, progress, content
    FROM input i
), history_made AS (
    INSERT INTO history (order_id, version, tenant, change_id, from_state, to_state, command, actor,
        reason, request_id, trace, at)
    SELECT order_id, version, tenant, change_id, from_state, state, command, actor, reason, request_id,
        trace, updated_at
    FROM input
)
INSERT INTO outbox (id, aggregateid, type, payload, tenant, version, at, traceparent)
SELECT change_id, order_id, kind, data, tenant, version, updated_at, trace FROM input";

const PERSONAL: &str = "
INSERT INTO personal (order_id, tenant, data)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) AS i(order_id, tenant, data)
WHERE data IS NOT NULL";

const NOTES: &str = "
INSERT INTO notes (order_id, version, tenant, at, author, text)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::timestamptz[], $5::text[], $6::text[])
AS i(order_id, version, tenant, at, author, text) WHERE text IS NOT NULL";

const TASKS: &str = "
INSERT INTO tasks (id, tenant, order_id, kind, due, tries, sent, epoch)
SELECT id, tenant, order_id, kind, due, tries, sent, 0
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[], $6::bigint[],
    $7::timestamptz[]) AS p(id, tenant, order_id, kind, due, tries, sent)
ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, order_id = excluded.order_id,
    kind = excluded.kind, due = excluded.due, tries = excluded.tries, sent = excluded.sent,
    epoch = tasks.epoch + 1";

const CHANGE: &str = "
WITH input AS (
    SELECT * FROM unnest($9::uuid[], $10::timestamptz[], $11::text[], $12::uuid[], $13::bigint[],
        $14::uuid[], $15::bigint[], $16::boolean[], $17::timestamptz[], $18::bigint[],
        $19::timestamptz[], $20::text[], $21::text[], $22::bigint[], $23::timestamptz[], $24::integer[],
        $25::text[], $26::text[], $27::text[], $28::text[], $29::text[], $30::text[], $31::text[],
        $32::text[], $33::text[], $34::text[], $35::text[], $36::text[], $37::text[], $38::text[],
        $39::bytea[], $40::uuid[], $41::text[], $42::timestamptz[])
    AS i(change_id, decided_at, tenant, order_id, expected, task, epoch, finish, due, tries, sent,
        state, payment_state, version, updated_at, notes, payments, progress, from_state, command,
        actor, reason, request_id, trace, kind, data, note_author, note_text, operation, key,
        fingerprint, receipt_order, decision, expires_at)
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
    FROM done d WHERE d.version IS NOT NULL AND o.id = d.order_id
), finished AS (
    DELETE FROM tasks t USING done d WHERE d.finish AND t.id = d.task
), kept AS (
    UPDATE tasks t SET due = coalesce(d.due, t.due), tries = d.tries, sent = d.sent
    FROM done d WHERE NOT d.finish AND t.id = d.task
), history_made AS (
    INSERT INTO history (order_id, version, tenant, change_id, from_state, to_state, command, actor,
        reason, request_id, trace, at)
    SELECT order_id, version, tenant, change_id, from_state, state, command, actor, reason,
        request_id, trace, updated_at
    FROM done WHERE version IS NOT NULL
), outbox_made AS (
    INSERT INTO outbox (id, aggregateid, type, payload, tenant, version, at, traceparent)
    SELECT change_id, order_id, kind, data, tenant, version, updated_at, trace
    FROM done WHERE version IS NOT NULL
), notes_made AS (
    INSERT INTO notes (order_id, version, tenant, at, author, text)
    SELECT order_id, version, tenant, updated_at, note_author, note_text
    FROM done WHERE note_text IS NOT NULL
), planned AS (
    INSERT INTO tasks (id, tenant, order_id, kind, due, tries, sent, epoch)
    SELECT p.id, p.tenant, p.order_id, p.kind, p.due, p.tries, p.sent, 0
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::timestamptz[],
        $7::bigint[], $8::timestamptz[])
    AS p(change_id, id, tenant, order_id, kind, due, tries, sent)
    JOIN done USING (change_id)
    ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, order_id = excluded.order_id,
        kind = excluded.kind, due = excluded.due, tries = excluded.tries, sent = excluded.sent,
        epoch = tasks.epoch + 1
)
SELECT change_id FROM done";

/// Remembers refusals, each unless its key stands for something else; answers of each, in their order,
/// whether it does so.
const REMEMBER: &str = "
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[], $5::text[], $6::timestamptz[],
        $7::timestamptz[]) WITH ORDINALITY
    AS i(tenant, key, fingerprint, order_id, decision, expires_at, decided_at, ordinal)
), remembered AS (
    INSERT INTO receipts (tenant, operation, key, fingerprint, order_id, decision, expires_at)
    SELECT tenant, 'create', key, fingerprint, order_id, decision, expires_at
    FROM input i
    WHERE NOT EXISTS (SELECT FROM orders o WHERE o.tenant = i.tenant AND o.create_key = i.key)
    ON CONFLICT (tenant, operation, key) DO UPDATE SET fingerprint = excluded.fingerprint,
        order_id = excluded.order_id, change_id = NULL, decision = excluded.decision,
        expires_at = excluded.expires_at
    WHERE receipts.expires_at <= (SELECT i.decided_at FROM input i
        WHERE i.tenant = excluded.tenant AND i.key = excluded.key)
    RETURNING tenant, key
)
SELECT r.key IS NOT NULL FROM input LEFT JOIN remembered r USING (tenant, key) ORDER BY ordinal";

/// What a change writes of an order that is to be new.
pub(super) fn new_order(change: &Change) -> Option<&Write> {
    change.write.as_deref().filter(|_| change.expects == Expects::New)
}

/// Writes a batch: all of its new orders or nothing at all, and of the other changes those that pass
/// their checks. Answers which are written; says before when the commit is all that is left.
///
/// # Errors
/// [`What::Decided`](super::failed::What::Decided) when a new order's key, number or reference is taken.
pub(super) async fn write(
    client: &ClientWrapper,
    begin: &str,
    prepare: bool,
    batch: &[&Prepared],
    carried_out: impl FnOnce(),
) -> Result<HashSet<Uuid>, Failed> {
    let (mut new, old): (Vec<&Prepared>, Vec<&Prepared>) =
        batch.iter().partition(|prepared| new_order(&prepared.change).is_some());
    // In one order, so that twins in two batches wait for each other one way only.
    new.sort_by_cached_key(|prepared| prepared.change.receipt.as_ref().map(|receipt| &receipt.key));
    let (new, old) = (New::of(&new), Old::of(&old));
    let places = places(new.keys());
    let mut queries = Vec::new();
    // Locks come first, in one order, and the statements after them see what is there by then.
    if !places.is_empty() {
        let params: Vec<Param<'_>> = vec![(&places, Type::INT4_ARRAY)];
        queries.push(Query { sql: HOLD_SHARED, params, answers: false });
    }
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
        queries.extend(make(&new));
    }
    if !old.change.is_empty() {
        queries.push(Query { sql: CHANGE, params: old.params(), answers: true });
    }
    let begin = planned_once(begin);
    let rows = transaction_telling(client, &begin, prepare, &queries, carried_out).await?;
    let changed = rows.iter().flatten().map(|row| row.try_get(0).map_err(Failed::unread));
    new.change.iter().copied().map(Ok).chain(changed).collect()
}

/// How a transaction begins whose statements are planned once: by themselves they are planned anew each
/// time, which takes longer than to carry them out. And never by a table that happened to be small then, and
/// is read whole ever after.
fn planned_once(begin: &str) -> String {
    format!(
        "{begin}; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"
    )
}

/// What makes new orders. One statement for what each of them has, and one for the rest only if one has it:
/// to begin a statement takes the server as long as to insert several rows.
fn make<'a>(new: &'a New<'_>) -> impl Iterator<Item = Query<'a>> {
    let made = [
        (MAKE, Some(new.orders())),
        (PERSONAL, new.personal()),
        (NOTES, new.notes()),
        (TASKS, new.tasks()),
    ];
    let made = made.into_iter().filter_map(|(sql, params)| Some((sql, params?)));
    made.map(|(sql, params)| Query { sql, params, answers: false })
}

/// The places of keys, each once, in order. Any version of the service must find the same for a key.
fn places<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<i32> {
    let place = |key: &str| key.bytes().map(i32::from).sum::<i32>() % PLACES;
    keys.map(place).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Remembers of keys that an order could not be made, each unless it stands for something else by now;
/// says of each whether it does so. No two are of one key.
///
/// An order that a key made is in `orders` and a refusal is in `receipts`, so no index sees both. So
/// whoever makes orders holds the places of their keys, shared, and this holds those of its keys alone,
/// each until its commit, and each takes all of its own in one order before it does anything else. Of two
/// that decide under one key one therefore gets the place when the other's decision can be seen; its next
/// statement looks at what is there from then on (the transaction is READ COMMITTED), finds the decision
/// and makes no other. Two orders under one key meet in `orders_create_key`, two refusals in the key of
/// `receipts`.
pub(super) async fn remember_refusals(
    client: &ClientWrapper,
    begin: &str,
    prepare: bool,
    refusals: &[(Timestamp, &Receipt)],
) -> Result<Vec<bool>, Failed> {
    let receipts = || refusals.iter().map(|(_, receipt)| *receipt);
    let tenants: Vec<_> = receipts().map(|receipt| receipt.key.tenant.as_str()).collect();
    let keys: Vec<_> = receipts().map(|receipt| receipt.key.key.as_str()).collect();
    let fingerprints: Vec<_> = receipts().map(|receipt| &receipt.fingerprint.0[..]).collect();
    let orders: Vec<_> = receipts().map(|receipt| receipt.order.0).collect();
    let decisions: Vec<_> = receipts().map(|receipt| codec::encode(&receipt.decision)).collect();
    let expiries: Vec<_> = receipts().map(|receipt| receipt.expires_at).collect();
    let times: Vec<_> = refusals.iter().map(|(at, _)| *at).collect();
    let places = places(keys.iter().copied());
    let params: Vec<Param<'_>> = vec![(&places, Type::INT4_ARRAY)];
    let hold = Query { sql: HOLD_ALONE, params, answers: false };
    let remember = Query {
        sql: REMEMBER,
        params: vec![
            (&tenants, Type::TEXT_ARRAY),
            (&keys, Type::TEXT_ARRAY),
            (&fingerprints, Type::BYTEA_ARRAY),
            (&orders, Type::UUID_ARRAY),
            (&decisions, Type::TEXT_ARRAY),
            (&expiries, Type::TIMESTAMPTZ_ARRAY),
            (&times, Type::TIMESTAMPTZ_ARRAY),
        ],
        answers: true,
    };
    let rows = transaction(client, &planned_once(begin), prepare, &[hold, remember]).await?;
    rows.iter().flatten().map(|row| row.try_get(0).map_err(Failed::unread)).collect()
}
