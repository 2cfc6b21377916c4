//! The tables: how they are made, and whether a database is one to rely on.

use std::{error::Error, time::Duration};

use orders::domain::state::TRANSITIONS;
use refinery::Target;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Row, error::SqlState, types::Type};

use super::{
    Config, OpenError,
    connect::{self, Pool},
    open_error::hint,
    session::{Param, told},
};

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// The oldest tables that this version works with. What came after them it can do without, so that it
/// may start before a migration and be rolled back behind one.
const OLDEST: i32 = 1;

/// How often a step is tried whose table is in use, and how long others go first in between. Everybody
/// else waits behind a step that waits for a table, so it does that for much less than they have.
const LOCK_TRIES: u32 = 50;
const LOCK_WAIT: &str = "SET lock_timeout = '100ms'";
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// Held by whoever brings the tables to its version, and how often another one asks for it, twice a
/// second: for ten minutes.
const MIGRATE_LOCK: &str = "SELECT pg_try_advisory_lock(6072110951140)";
const MIGRATE_TRIES: u32 = 1_200;

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The steps that were carried out, in order; none when the tables were of this version.
    pub steps: Vec<String>,
}

/// Brings the tables to this version, one process at a time. Every step leaves what the version before
/// needs, so that it may run beside. No tables are made where a store could not be relied on.
///
/// # Errors
/// [`OpenError`] says what stands in the way.
pub async fn migrate(config: &Config) -> Result<Migrated, OpenError> {
    run(config, Target::Latest).await
}

/// As [`migrate`], and no further than a step.
///
/// # Errors
/// As [`migrate`], and [`OpenError::NoStep`].
pub async fn migrate_to(config: &Config, step: i32) -> Result<Migrated, OpenError> {
    let newest = newest();
    if !(OLDEST..=newest).contains(&step) {
        return Err(OpenError::NoStep { step, oldest: OLDEST, newest });
    }
    run(config, Target::Version(step)).await
}

async fn run(config: &Config, target: Target) -> Result<Migrated, OpenError> {
    let migrated = steps(config, target).await;
    migrated.map_err(|error| error.at(connect::past_pooler(config)))
}

async fn steps(config: &Config, target: Target) -> Result<Migrated, OpenError> {
    let (mut client, connection) = connect::direct(config).await?;
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %error, "the migration's connection ended");
        }
    });
    settings(&client).await?;
    client.batch_execute(LOCK_WAIT).await.map_err(OpenError::server)?;
    take_turn(&client).await?;
    let steps = embedded::migrations::runner().set_abort_missing(false).set_target(target);
    let mut done = Vec::new();
    for left in (0..LOCK_TRIES).rev() {
        match steps.run_async(&mut client).await {
            Ok(ran) => {
                done.extend(applied(&ran));
                break;
            }
            Err(error) if left > 0 && is_locked(&error) => {
                done.extend(error.report().into_iter().flat_map(applied));
                tracing::info!("a long transaction uses a table; trying again");
                sleep(LOCK_PAUSE).await;
            }
            Err(error) => {
                let hint = said(&error).map_or("another program or build may have made them", hint);
                return Err(OpenError::Migrate { hint, cause: error.into() });
            }
        }
    }
    guard(&client).await?;
    Ok(Migrated { steps: done })
}

/// Waits until no other process brings the tables to its version.
async fn take_turn(client: &Client) -> Result<(), OpenError> {
    for tried in 0..MIGRATE_TRIES {
        let row = client.query_typed_one(MIGRATE_LOCK, &[]).await.map_err(OpenError::server)?;
        if get(&row, 0)? {
            return Ok(());
        }
        if tried == 0 {
            tracing::info!("another migration is under way; waiting for it");
        }
        sleep(LOCK_PAUSE).await;
    }
    let hint = "wait for the other one, or end it, and run `orderly migrate` again";
    let cause = "another migration has not ended in ten minutes".into();
    Err(OpenError::Migrate { hint, cause })
}

/// The newest tables that this version knows.
fn newest() -> i32 {
    let steps = embedded::migrations::runner();
    steps.get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0)
}

/// The step that the tables are at.
async fn version(client: &Client) -> Result<i32, OpenError> {
    let sql = "SELECT coalesce(max(version), 0)::int4 FROM refinery_schema_history";
    let row = client.query_typed_one(sql, &[]).await.map_err(OpenError::server)?;
    get(&row, 0)
}

fn applied(report: &refinery::Report) -> impl Iterator<Item = String> {
    report.applied_migrations().iter().map(ToString::to_string)
}

/// Whether a step had to wait too long for a table.
fn is_locked(error: &refinery::Error) -> bool {
    said(error).and_then(tokio_postgres::Error::code) == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// What the server said to a step, if it was that which failed.
fn said(error: &refinery::Error) -> Option<&tokio_postgres::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(said) = error.downcast_ref() {
            return Some(said);
        }
        cause = error.source();
    }
    None
}

/// Sets a trigger that refuses what no version's table of transitions holds, whoever writes.
///
/// Versions run side by side, before and after a migration, so moves are only ever added: a version
/// never meets a guard that refuses its own. To drop one takes a step, after the last version that makes
/// it is gone. And whoever finds tables newer than it knows leaves the guard to those who made them.
async fn guard(client: &Client) -> Result<(), OpenError> {
    if version(client).await? > newest() {
        return Ok(());
    }
    let moves = TRANSITIONS.iter().filter_map(|t| Some((t.from?.as_str(), t.to.as_str())));
    let (from, to): (Vec<&str>, Vec<&str>) = moves.unzip();
    let add = "INSERT INTO moves SELECT DISTINCT * FROM unnest($1::text[], $2::text[])
        ON CONFLICT DO NOTHING";
    let params: [Param<'_>; 2] = [(&from, Type::TEXT_ARRAY), (&to, Type::TEXT_ARRAY)];
    client.query_typed(add, &params).await.map_err(OpenError::server)?;
    // The moves stand in the function, since to look them up would cost every change of an order.
    let all = "SELECT string_agg(quote_literal(from_state || '>' || to_state), ',') FROM moves";
    let row = client.query_typed_one(all, &[]).await.map_err(OpenError::server)?;
    let moves: String = get(&row, 0)?;
    let sql = format!(
        "CREATE OR REPLACE FUNCTION orders_guard() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF new.version <> old.version + 1
                 OR old.state || '>' || new.state NOT IN ({moves}) THEN
                 RAISE EXCEPTION 'not a legal change of an order';
             END IF;
             RETURN new;
         END
         $$;
         DO $$
         BEGIN
             -- To replace one would wait for every commit under way, and let the next ones wait.
             IF NOT EXISTS (SELECT FROM pg_trigger
                 WHERE tgname = 'orders_guard' AND tgrelid = 'orders'::regclass) THEN
                 CREATE TRIGGER orders_guard BEFORE UPDATE ON orders
                     FOR EACH ROW EXECUTE FUNCTION orders_guard();
             END IF;
         END
         $$;"
    );
    client.batch_execute(&sql).await.map_err(OpenError::server)
}

/// Checks that the settings of the database keep what is promised and that it has the tables; gives the
/// store's secret.
pub(super) async fn check(pool: &Pool, patience: Duration) -> Result<[u8; 32], OpenError> {
    let client = pool.get().await.map_err(OpenError::pool)?;
    let checked = timeout(patience, check_on(&client)).await;
    checked.unwrap_or_else(|_| Err(OpenError::silent()))
}

/// As [`check`], over this connection.
pub(super) async fn check_on(client: &Client) -> Result<[u8; 32], OpenError> {
    settings(client).await?;
    let there = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    let row = client.query_typed_one(there, &[]).await.map_err(OpenError::server)?;
    if !get::<bool>(&row, 0)? {
        return Err(OpenError::Empty);
    }
    let there = version(client).await?;
    if there < OLDEST {
        return Err(OpenError::Old { there, needed: OLDEST });
    }
    weaknesses(client).await?;
    let secret = "SELECT page_secret FROM meta";
    let row = client.query_typed_one(secret, &[]).await.map_err(OpenError::server)?;
    let secret: Vec<u8> = get(&row, 0)?;
    let first = secret.get(..32).and_then(|secret| secret.try_into().ok());
    first.ok_or_else(|| OpenError::strange("the store's secret is too short".to_owned()))
}

/// Refuses settings that make a promise void. Asked before tables are made, of every server that is
/// connected to, since one that took over may be set otherwise, and again and again after that: they may
/// be changed under open connections.
pub(super) async fn settings(client: &Client) -> Result<(), OpenError> {
    let sql = "SELECT current_setting('fsync'), current_setting('full_page_writes'),
        current_setting('synchronous_commit'), current_setting('server_encoding')";
    let row = client.query_typed_one(sql, &[]).await.map_err(OpenError::server)?;
    for (at, name, hint) in [
        (0, "fsync", "`ALTER SYSTEM SET fsync = on` and `SELECT pg_reload_conf()`"),
        (
            1,
            "full_page_writes",
            "`ALTER SYSTEM SET full_page_writes = on` and `SELECT pg_reload_conf()`",
        ),
        (2, "synchronous_commit", "`ALTER ROLE CURRENT_USER SET synchronous_commit = on`"),
    ] {
        if get::<String>(&row, at)? == "off" {
            return Err(OpenError::Unsafe { setting: format!("{name} = off"), hint });
        }
    }
    let encoding: String = get(&row, 3)?;
    if encoding == "UTF8" { Ok(()) } else { Err(OpenError::Encoding(encoding)) }
}

/// Warns of what weakens a promise.
async fn weaknesses(client: &Client) -> Result<(), OpenError> {
    let sql = "SELECT current_setting('synchronous_commit'), current_user::text,
            (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)";
    let row = client.query_typed_one(sql, &[]).await.map_err(OpenError::server)?;
    if get::<String>(&row, 0)? == "local" {
        tracing::warn!(
            "the server has synchronous_commit = local: an acknowledged order may be missing on a \
             standby that is promoted"
        );
    }
    if get::<Option<bool>>(&row, 2)? == Some(true) {
        tracing::warn!(
            user = get::<String>(&row, 1)?,
            "connected as a role that row-level security does not hold for: a second wall between \
             tenants is missing; use a role that is neither superuser nor BYPASSRLS"
        );
    }
    Ok(())
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, OpenError> {
    row.try_get(at).map_err(|error| OpenError::strange(told(&error)))
}
