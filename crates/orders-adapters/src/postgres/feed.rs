//! The feed: how committed events get their places, who is told, and what is forgotten of it.
//!
//! Rows become visible in the order of their commits and not in that of their ids, so whoever reads
//! "everything after the last id" loses events. Therefore an event first goes to `outbox`, with its
//! change; afterwards, when it is committed and seen, it is given the next position and moved to
//! `events`. Only one transaction of a database does that at a time, behind a lock that ends with it,
//! so positions have no gap and never change. Any process may be the one. In each, one task does it, in
//! rounds: when something was committed there, unless another process has just made one, and when
//! somebody reads the feed to its end, for what is left. Within an order, versions come in their order:
//! a version is committed only after the one before was seen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use mainstay::{
    metrics::{Gauge, Metrics},
    telemetry::error_chain,
};
use mainstay_context::Context;
use orders::{
    domain::Position,
    ports::{CommitError, Cutoff, FeedPage, Forgotten, Page, ReadError, Scope},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_postgres::{AsyncMessage, Client, Row, types::Type};

use super::{
    OpenError, Shared, connect,
    read::{Sees, deadline, own},
    rows::{self, EVENT},
    session::{Param, Query},
};
use crate::stored::{Read, count, position};

/// Held by whoever gives positions, until the transaction ends.
const STAMP_LOCK: &str = "pg_advisory_xact_lock(6072110951138)";
/// The channel on which the last position is told.
const CHANNEL: &str = "orderly_feed";
/// Events that are given positions in one transaction.
const STAMPS: i64 = 2_000;
/// Between two rounds that give positions, at least: so that under load each has many events, and does
/// not take the server from those who commit.
const PACE: Duration = Duration::from_millis(25);
/// Between two tries of what cannot be had now.
const AGAIN: Duration = Duration::from_millis(500);
/// Rounds that fail before it is told: one that waits too long for another process is no trouble.
const TROUBLE: u32 = 3;
/// Between two looks whether the connection that listens is still there.
const HEARD: Duration = Duration::from_secs(5);

/// The feed's end and its beginning come from one statement, so that it sees one state.
const STAMP: &str = "
WITH taken AS (
    -- By where they lie, which nobody changes: otherwise the server would look them up again, or read the
    -- whole table, which holds little and is large, for all that went through it since it was vacuumed.
    DELETE FROM outbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM outbox ORDER BY seq LIMIT $1))
    RETURNING *
), base AS (
    SELECT greatest(coalesce((SELECT max(position) FROM events), 0), forgotten) AS head FROM meta
), given AS (
    INSERT INTO events (position, tenant, order_id, version, change_id, kind, trace, at, data)
    SELECT base.head + row_number() OVER (ORDER BY taken.seq), tenant, aggregateid, version, id, type,
        traceparent, at, payload
    FROM taken, base
    RETURNING position
), told AS (
    SELECT count(*) AS given, greatest((SELECT head FROM base), max(position)) AS head FROM given
)
SELECT given, head,
    CASE WHEN given > 0 THEN pg_notify($2, head::text) IS NULL END FROM told";

/// How far the feed was forgotten, where it ends, and whether events wait for a place in it.
pub(super) const SPAN: &str = "
SELECT forgotten, coalesce((SELECT max(position) FROM events), 0), EXISTS (SELECT FROM outbox)
FROM meta";

fn stamp_params<'a>() -> Vec<Param<'a>> {
    vec![(&STAMPS, Type::INT8), (&CHANNEL, Type::TEXT)]
}

impl Shared {
    /// Gives positions to events that are committed; says how many there were, up to a bound.
    async fn stamp(&self) -> Result<i64, CommitError> {
        let Ok(request) = "stamp".parse() else { return Ok(0) };
        let lock = format!("SELECT {STAMP_LOCK}");
        let queries = [
            Query { sql: &lock, params: Vec::new(), answers: false },
            Query { sql: STAMP, params: stamp_params(), answers: true },
        ];
        let rows = self.write_alone(&Context::new(request), &queries).await?;
        let unread = |error: tokio_postgres::Error| CommitError::Unavailable(Some(error.into()));
        let Some(row) = rows.first() else { return Ok(0) };
        self.head_is(position(row.try_get(1).map_err(unread)?));
        row.try_get(0).map_err(unread)
    }

    /// Tells who waits how far the feed goes. It never goes back.
    fn head_is(&self, position: Position) {
        self.head.send_if_modified(|head| {
            let grew = position > *head;
            *head = position.max(*head);
            grew
        });
    }
}

/// The rounds in which this process gives positions, one after the other.
#[derive(Debug)]
pub(super) struct Rounds {
    now: watch::Sender<Round>,
    /// Somebody waits for the next round.
    asked: AtomicBool,
    oldest: Gauge,
}

#[derive(Clone, Copy, Debug, Default)]
struct Round {
    begun: u64,
    ended: u64,
    /// Whether the last one that ended gave all of them.
    is_whole: bool,
}

impl Rounds {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let help = "For how long the oldest of the committed events has had no place in the feed, \
                    while places cannot be given";
        Self {
            now: watch::Sender::default(),
            asked: AtomicBool::new(false),
            oldest: metrics.gauge("feed_unplaced_oldest_seconds", help, &[]),
        }
    }
}

impl Shared {
    /// Gives positions to all that is committed when this begins, and tells who waits for that.
    async fn round(&self) -> Result<(), CommitError> {
        self.rounds.now.send_modify(|round| round.begun += 1);
        let given = loop {
            match self.stamp().await {
                Ok(given) if given < STAMPS => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        self.rounds.now.send_modify(|round| {
            round.ended = round.begun;
            round.is_whole = given.is_ok();
        });
        given
    }

    /// Has a round made; says whether it gave positions to all that is committed now.
    async fn next_round(&self) -> bool {
        let mut rounds = self.rounds.now.subscribe();
        // One that is under way may have looked before.
        let begun = rounds.borrow_and_update().begun;
        self.rounds.asked.store(true, Ordering::Relaxed);
        self.unstamped.notify_one();
        rounds.wait_for(|round| round.ended > begun).await.is_ok_and(|round| round.is_whole)
    }

    /// Tells since when events wait for their places, as far as that can be found out now.
    async fn tell_oldest(&self) {
        let Ok(request) = "stamp".parse() else { return };
        let limit = Instant::now() + self.config.connect_timeout;
        let cx = Context::new(request).with_deadline(limit.into_std());
        let sql = "SELECT greatest(extract(epoch FROM clock_timestamp() - at), 0)::float8
            FROM outbox ORDER BY seq LIMIT 1";
        let query = Query { sql, params: Vec::new(), answers: true };
        let found = self.read(&cx, Sees::Everybody, &[query]).await;
        if let Some(row) = found.ok().as_ref().and_then(|rows| rows.first()?.first())
            && let Ok(seconds) = row.try_get(0)
        {
            self.rounds.oldest.set(seconds, &[]);
        }
    }
}

/// Gives positions whenever something was committed here or somebody asks, and looks for what others
/// left, until the store closes.
///
/// A round gives places to the events of all processes. So while another makes them, as is heard from it,
/// this one leaves it to that, unless somebody here waits for one.
pub(super) async fn stamp_on_news(shared: Arc<Shared>) {
    let work = async {
        let (mut failures, mut next) = (0, Instant::now());
        let mut head = shared.head.subscribe();
        loop {
            sleep_until(next).await;
            // Whether news came or it was only time to look.
            let _told = timeout(shared.config.poll, shared.unstamped.notified()).await;
            next = Instant::now() + PACE;
            let is_asked = shared.rounds.asked.swap(false, Ordering::Relaxed);
            // After failures it sees for itself that they are over.
            let is_left_to_another =
                !is_asked && failures == 0 && head.has_changed().unwrap_or(false);
            head.mark_unchanged();
            if is_left_to_another {
                // What was committed here since is looked for next time.
                shared.unstamped.notify_one();
                continue;
            }
            let made = shared.round().await;
            head.mark_unchanged();
            match made {
                Ok(()) => {
                    if failures >= TROUBLE {
                        tracing::info!("events are given their places in the feed again");
                    }
                    failures = 0;
                    shared.rounds.oldest.set(0.0, &[]);
                }
                Err(error) => {
                    failures += 1;
                    went_wrong(&error, failures);
                    shared.tell_oldest().await;
                    if failures > 1 {
                        sleep(AGAIN).await;
                    }
                }
            }
        }
    };
    shared.while_open(work).await;
}

/// Tells of a round that failed; aloud when it is not the first, and once.
fn went_wrong(error: &CommitError, failures: u32) {
    let error = error_chain(error);
    if failures == TROUBLE {
        tracing::warn!(
            error,
            "committed events are not given their places in the feed; nobody sees them until they are"
        );
    } else {
        tracing::debug!(error, "events could not be given positions");
    }
}

/// Reads the feed. What is committed when this is called is in it: events that have no position yet
/// are given one first.
pub(super) async fn events(
    shared: &Shared,
    cx: &Context,
    scope: &Scope,
    page: Page<Position>,
) -> Result<FeedPage, ReadError> {
    let (first, is_behind) = page_of(shared, cx, scope, page).await?;
    // A full page too: who stands at the head takes it that nothing more is committed.
    if !is_behind || first.next < first.head {
        return Ok(first);
    }
    match timeout_at(deadline(cx), shared.while_open(shared.next_round())).await {
        Ok(Some(true)) => Ok(page_of(shared, cx, scope, page).await?.0),
        // Who cannot write now, or not in time, still reads what has its place.
        Ok(Some(false) | None) | Err(_) => Ok(first),
    }
}

/// A page of the feed as it stands, and whether there are events without a position.
async fn page_of(
    shared: &Shared,
    cx: &Context,
    scope: &Scope,
    page: Page<Position>,
) -> Result<(FeedPage, bool), ReadError> {
    let after = page.after.map(|after| count(after.0));
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let (condition, tenant) = match scope {
        Scope::Tenant(tenant) => (own("tenant", "$3"), tenant.as_str()),
        Scope::All => ("$3 = '*'".to_owned(), "*"),
    };
    let sql = format!(
        "SELECT {EVENT} FROM events
         WHERE {condition} AND position > coalesce($1, (SELECT forgotten FROM meta))
         ORDER BY position LIMIT $2"
    );
    let queries = [
        Query { sql: SPAN, params: Vec::new(), answers: true },
        // The feed's span is everybody's; its events are not.
        Query {
            sql: "SELECT set_config('orderly.tenant', $1, true)",
            params: vec![(&tenant, Type::TEXT)],
            answers: false,
        },
        Query {
            sql: &sql,
            params: vec![(&after, Type::INT8), (&limit, Type::INT8), (&tenant, Type::TEXT)],
            answers: true,
        },
    ];
    let found = shared.read(cx, Sees::Everybody, &queries).await?;
    let unread = |cause| ReadError::Unavailable(Some(cause));
    let (Some(span), Some(found)) = (found.first().and_then(|rows| rows.first()), found.get(1))
    else {
        return Err(unread("the feed has no span".into()));
    };
    let (forgotten, head, is_behind) = read_span(span).map_err(unread)?;
    if page.after.is_some_and(|after| after < forgotten) {
        return Err(ReadError::CursorTooOld { oldest: forgotten.next() });
    }
    let events: Read<Vec<_>> = found.iter().map(rows::event).collect();
    let events = events.map_err(unread)?;
    let next = match events.last() {
        Some(last) if events.len() >= page.limit => last.position,
        // Also of a cursor past the head, which can only come from another store's feed.
        _ => head,
    };
    Ok((FeedPage { events, next, head }, is_behind))
}

/// The last position that was forgotten, the last one given, and whether events wait for one.
pub(super) fn read_span(row: &Row) -> Read<(Position, Position, bool)> {
    let (forgotten, last) = (position(row.try_get(0)?), position(row.try_get(1)?));
    Ok((forgotten, forgotten.max(last), row.try_get(2)?))
}

pub(super) async fn published(
    shared: &Shared,
    cx: &Context,
) -> Result<Option<Position>, ReadError> {
    let query = Query { sql: "SELECT published FROM meta", params: Vec::new(), answers: true };
    let found = shared.read(cx, Sees::Everybody, &[query]).await?;
    let unread = |error: tokio_postgres::Error| ReadError::Unavailable(Some(error.into()));
    match found.first().and_then(|rows| rows.first()) {
        Some(row) => Ok(row.try_get::<_, Option<i64>>(0).map_err(unread)?.map(position)),
        None => Ok(None),
    }
}

pub(super) async fn mark_published(
    shared: &Shared,
    cx: &Context,
    to: Position,
) -> Result<(), CommitError> {
    let to = count(to.0);
    let query = Query {
        sql: "UPDATE meta SET published = $1 WHERE published IS NULL OR published < $1",
        params: vec![(&to, Type::INT8)],
        answers: false,
    };
    shared.write_alone(cx, &[query]).await.map(drop)
}

/// Forgets what is past its time, the oldest events first, without leaving a hole.
///
/// Times may jump either way, positions never do: only an unbroken run of old events counts. A time
/// that is still to come says nothing of when an event was made; its successor's does.
pub(super) async fn forget(
    shared: &Shared,
    cx: &Context,
    cutoff: Cutoff,
    limit: usize,
) -> Result<Forgotten, CommitError> {
    const EVENTS: &str = "
WITH walked AS (
    SELECT position, at, max(CASE WHEN at <= $3 THEN at END) OVER (ORDER BY position) AS newest
    FROM (SELECT position, at FROM events ORDER BY position LIMIT $1) AS oldest
), seen AS MATERIALIZED (
    SELECT coalesce(
        (SELECT max(position) FROM walked WHERE newest < $2 AND at <= $3),
        -- The oldest may all have times to come, more of them than are looked at above.
        (SELECT min(least(next.position, oldest.position + $1) - 1)
            FROM (SELECT position, at FROM events WHERE at <= $3 ORDER BY position LIMIT 1) AS next,
                (SELECT min(position) AS position FROM events) AS oldest
            WHERE next.at < $2 AND next.position > oldest.position)) AS last
), old AS (
    -- Of a feed that nobody publishes that is NULL, which bounds nothing.
    SELECT least(last, CASE WHEN NOT $4 THEN (SELECT published FROM meta) END) AS last
    FROM seen WHERE last IS NOT NULL
), noted AS (
    UPDATE meta SET forgotten = greatest(forgotten, last) FROM old
), gone AS (
    -- By an array, for which the server expects a few rows: it takes `position <= last` for a third of
    -- the feed, and would look for the places of these few in all of history.
    DELETE FROM events WHERE position = ANY (ARRAY(
        SELECT position FROM events, old WHERE position <= last ORDER BY position LIMIT $1))
    RETURNING position, order_id, version
), placed AS (
    UPDATE history h SET position = gone.position FROM gone
    WHERE h.order_id = gone.order_id AND h.version = gone.version
)
SELECT count(*) FROM gone";
    const RECEIPTS: &str = "
WITH gone AS (
    DELETE FROM receipts WHERE (tenant, operation, key) IN
        (SELECT tenant, operation, key FROM receipts WHERE expires_at <= $1 LIMIT $2)
    RETURNING key
)
SELECT count(*) FROM gone";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let lock = format!("SELECT {STAMP_LOCK}");
    let events: Vec<Param<'_>> = vec![
        (&limit, Type::INT8),
        (&cutoff.events_before, Type::TIMESTAMPTZ),
        (&cutoff.now, Type::TIMESTAMPTZ),
        (&cutoff.unpublished, Type::BOOL),
    ];
    let receipts: Vec<Param<'_>> =
        vec![(&cutoff.receipts_before, Type::TIMESTAMPTZ), (&limit, Type::INT8)];
    let queries = [
        Query { sql: &lock, params: Vec::new(), answers: false },
        Query { sql: STAMP, params: stamp_params(), answers: false },
        Query { sql: EVENTS, params: events, answers: true },
        Query { sql: RECEIPTS, params: receipts, answers: true },
    ];
    let rows = shared.write_alone(cx, &queries).await?;
    let gone = |at: usize| {
        let number: Option<i64> = rows.get(at).and_then(|row| row.try_get(0).ok());
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or(0)
    };
    Ok(Forgotten { events: gone(0), receipts: gone(1) })
}

/// Hears from other processes how far the feed goes, until the store closes. Polling is what is relied
/// on; this is what makes it quick.
pub(super) async fn listen(shared: Arc<Shared>) {
    let work = async {
        loop {
            if let Err(error) = hear(&shared).await {
                tracing::debug!(error = error_chain(&error), "nobody tells of events for a while");
            }
            sleep(AGAIN).await;
        }
    };
    shared.while_open(work).await;
}

async fn hear(shared: &Shared) -> Result<(), OpenError> {
    let (client, mut connection) = connect::direct(&shared.config).await?;
    let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
    let listening = async {
        run(&client, &format!("LISTEN {CHANNEL}"), shared.config.connect_timeout).await?;
        loop {
            sleep(HEARD).await;
            run(&client, "", shared.config.connect_timeout).await?;
        }
    };
    let hearing = async {
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notification(told) = message.map_err(OpenError::server)?
                && let Ok(head) = told.payload().parse()
            {
                shared.head_is(Position(head));
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = listening => ended,
        ended = hearing => ended,
    }
}

async fn run(client: &Client, sql: &str, patience: Duration) -> Result<(), OpenError> {
    let ran = timeout(patience, client.batch_execute(sql)).await;
    ran.map_err(|_| OpenError::silent())?.map_err(OpenError::server)
}
