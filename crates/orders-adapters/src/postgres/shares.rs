//! Which part of each rate limit each process may let pass: leased, by what is asked there.
//!
//! A tenth of a limit is shared out evenly, so that one where nothing was asked has something to begin
//! with, and the rest by what was asked. Nobody is given what another still has: it grows by what others
//! gave back, at their next lease or when theirs is over. So what is leased is never more than the whole,
//! by the clock of the database. A process that dies leaves its share to the others once its lease is
//! over; one that only cannot reach the database keeps it, as far as it knows, and may then let pass what
//! others may too.

use std::time::Duration;

use mainstay_context::Context;
use orders::ports::CommitError;
use tokio_postgres::{Error, Row, types::Type};

use super::{
    Shared,
    failed::Failed,
    session::{Param, Query},
};

/// Held by whoever leases, until the transaction ends.
const LOCK: &str = "SELECT pg_advisory_xact_lock(6072110951141)";

const LEASE: &str = "
WITH asked AS (
    SELECT * FROM unnest($2::text[], $3::int8[]) AS asked (name, demand)
), others AS (
    SELECT name, count(*) AS processes, sum(demand)::int8 AS demand, sum(share)::int8 AS share
    FROM limit_shares WHERE process <> $1 AND until > now() GROUP BY name
), gone AS (
    DELETE FROM limit_shares WHERE process <> $1 AND until <= now()
), known AS (
    SELECT asked.name, asked.demand, 1 + coalesce(others.processes, 0) AS processes,
        asked.demand + coalesce(others.demand, 0) AS total, coalesce(others.share, 0) AS taken
    FROM asked LEFT JOIN others ON others.name = asked.name
), fair AS (
    SELECT name, demand, taken,
        100000 / processes
            + CASE WHEN total > 0 THEN 900000 * demand / total ELSE 900000 / processes END AS share
    FROM known
)
INSERT INTO limit_shares (name, process, demand, share, until)
SELECT name, $1, demand, greatest(least(share, 1000000 - taken), 0), now() + $4 * interval '1 second'
FROM fair
ON CONFLICT (name, process) DO UPDATE
    SET demand = excluded.demand, share = excluded.share, until = excluded.until
RETURNING name, share";

pub(super) async fn lease(
    shared: &Shared,
    cx: &Context,
    process: &str,
    asked: &[(&str, u64)],
    lasts: Duration,
) -> Result<Vec<(String, u32)>, CommitError> {
    let names: Vec<&str> = asked.iter().map(|(name, _)| *name).collect();
    // So large that none is larger, and so small that the sum fits.
    let bounded = |demand: u64| i64::from(u32::try_from(demand).unwrap_or(u32::MAX));
    let demands: Vec<i64> = asked.iter().map(|(_, demand)| bounded(*demand)).collect();
    let seconds = lasts.as_secs_f64();
    let params: Vec<Param<'_>> = vec![
        (&process, Type::TEXT),
        (&names, Type::TEXT_ARRAY),
        (&demands, Type::INT8_ARRAY),
        (&seconds, Type::FLOAT8),
    ];
    let queries = [
        Query { sql: LOCK, params: Vec::new(), answers: false },
        Query { sql: LEASE, params, answers: true },
    ];
    let rows = shared.write_alone(cx, &queries).await?;
    let read: Result<Vec<_>, Error> = rows.iter().map(read).collect();
    read.map_err(|error| Failed::unread(error).commit_error())
}

fn read(row: &Row) -> Result<(String, u32), Error> {
    let share: i32 = row.try_get(1)?;
    Ok((row.try_get(0)?, u32::try_from(share).unwrap_or(0)))
}
