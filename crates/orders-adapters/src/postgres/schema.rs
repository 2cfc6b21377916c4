//! The tables: how they are made, and whether a database is one to rely on.

use std::{error::Error, time::Duration};

use orders::domain::state::TRANSITIONS;
use refinery::Target;
use tokio::time::sleep;
use tokio_postgres::{Client, Row, error::SqlState};

use super::{
    Config,
    connect::{self, OpenError, Pool},
    session::told,
};

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// The oldest tables that this version works with. What came after them it can do without, so that it
/// may start before a migration and be rolled back behind one.
const OLDEST: i32 = 1;

/// How often a step is tried whose table is in use, and how long others go first in between.
const LOCK_TRIES: u32 = 15;
const LOCK_PAUSE: Duration = Duration::from_secs(2);

/// Held by whoever brings the tables to its version.
const MIGRATE_LOCK: &str = "SELECT pg_advisory_lock(6072110951140)";

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The steps that were carried out, in order; none when the tables were of this version.
    pub steps: Vec<String>,
}

/// Brings the tables to this version, one process at a time. Every step leaves what the version before
/// needs, so that it may run beside.
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
    let steps = embedded::migrations::runner();
    let newest = steps.get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0);
    if !(OLDEST..=newest).contains(&step) {
        return Err(OpenError::NoStep { step, oldest: OLDEST, newest });
    }
    run(config, Target::Version(step)).await
}

async fn run(config: &Config, target: Target) -> Result<Migrated, OpenError> {
    let (mut client, connection) = connect::direct(config).await?;
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %error, "the migration's connection ended");
        }
    });
    client.batch_execute(MIGRATE_LOCK).await.map_err(OpenError::server)?;
    // Everybody else waits behind a migration that waits for a table: so not for long, and again.
    client.batch_execute("SET lock_timeout = '1s'").await.map_err(OpenError::server)?;
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
            Err(error) => return Err(OpenError::Migrate(error.into())),
        }
    }
    guard(&client).await?;
    Ok(Migrated { steps: done })
}

fn applied(report: &refinery::Report) -> impl Iterator<Item = String> {
    report.applied_migrations().iter().map(ToString::to_string)
}

/// Whether a step had to wait too long for a table.
fn is_locked(error: &refinery::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        let code = error.downcast_ref::<tokio_postgres::Error>().and_then(|error| error.code());
        if code == Some(&SqlState::LOCK_NOT_AVAILABLE) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Sets a trigger that refuses what the table of transitions does not hold, whoever writes.
async fn guard(client: &Client) -> Result<(), OpenError> {
    let moves: Vec<String> = TRANSITIONS
        .iter()
        .filter_map(|t| t.from.map(|from| format!("'{from}>{}'", t.to)))
        .collect();
    let sql = format!(
        "CREATE OR REPLACE FUNCTION orders_guard() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF new.version <> old.version + 1
                 OR old.state || '>' || new.state NOT IN ({}) THEN
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
         $$;",
        moves.join(",")
    );
    client.batch_execute(&sql).await.map_err(OpenError::server)
}

/// Checks that the database has the tables and that its settings keep what is promised; gives the
/// store's secret.
pub(super) async fn check(pool: &Pool) -> Result<[u8; 32], OpenError> {
    let client = pool.get().await.map_err(OpenError::pool)?;
    let there = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    let row = client.query_typed_one(there, &[]).await.map_err(OpenError::server)?;
    if !get::<bool>(&row, 0)? {
        return Err(OpenError::Empty);
    }
    let version = "SELECT coalesce(max(version), 0)::int4 FROM refinery_schema_history";
    let row = client.query_typed_one(version, &[]).await.map_err(OpenError::server)?;
    let there: i32 = get(&row, 0)?;
    if there < OLDEST {
        return Err(OpenError::Old { there, needed: OLDEST });
    }
    settings(&client).await?;
    let secret = "SELECT page_secret FROM meta";
    let row = client.query_typed_one(secret, &[]).await.map_err(OpenError::server)?;
    let secret: Vec<u8> = get(&row, 0)?;
    let first = secret.get(..32).and_then(|secret| secret.try_into().ok());
    first.ok_or_else(|| OpenError::Unreachable("the store's secret is too short".into()))
}

/// Refuses settings that make a promise void, and warns of those that weaken one.
async fn settings(client: &Client) -> Result<(), OpenError> {
    let sql = "SELECT current_setting('fsync'), current_setting('full_page_writes'),
            current_setting('synchronous_commit'),
            (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user),
            current_user::text";
    let row = client.query_typed_one(sql, &[]).await.map_err(OpenError::server)?;
    for (at, name) in ["fsync", "full_page_writes"].into_iter().enumerate() {
        if get::<String>(&row, at)? == "off" {
            let hint = "set it to on";
            return Err(OpenError::Unsafe { setting: format!("{name} = off"), hint });
        }
    }
    let commits: String = get(&row, 2)?;
    if commits == "off" {
        let hint = "set it to on for this database or this role";
        return Err(OpenError::Unsafe { setting: format!("synchronous_commit = {commits}"), hint });
    }
    if commits == "local" {
        tracing::warn!(
            "the server has synchronous_commit = local: an acknowledged order may be missing on a \
             standby that is promoted"
        );
    }
    if get::<Option<bool>>(&row, 3)? == Some(true) {
        tracing::warn!(
            user = get::<String>(&row, 4)?,
            "connected as a role that row-level security does not hold for: a second wall between \
             tenants is missing; use a role that is neither superuser nor BYPASSRLS"
        );
    }
    Ok(())
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, OpenError> {
    row.try_get(at).map_err(|error| OpenError::Unreachable(told(&error).into()))
}
