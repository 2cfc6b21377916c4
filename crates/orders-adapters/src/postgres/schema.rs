//! The tables: how they are made, and whether a database is one to rely on.

use orders::domain::state::TRANSITIONS;
use tokio_postgres::{Client, Row};

use super::{
    Config,
    connect::{self, OpenError, Pool},
    session::told,
};

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

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
    let connected = connect::direct(config)?.connect(connect::tls(config)?).await;
    let (mut client, connection) = connected.map_err(OpenError::server)?;
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %error, "the migration's connection ended");
        }
    });
    client.batch_execute(MIGRATE_LOCK).await.map_err(OpenError::server)?;
    // A table that a long transaction uses must not stop everything behind a waiting migration.
    client.batch_execute("SET lock_timeout = '10s'").await.map_err(OpenError::server)?;
    let ran = embedded::migrations::runner().set_abort_missing(false).run_async(&mut client).await;
    let ran = ran.map_err(|error| OpenError::Migrate(error.into()))?;
    guard(&client).await?;
    let steps = ran.applied_migrations().iter().map(ToString::to_string).collect();
    Ok(Migrated { steps })
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
         CREATE OR REPLACE TRIGGER orders_guard BEFORE UPDATE ON orders
             FOR EACH ROW EXECUTE FUNCTION orders_guard();",
        moves.join(",")
    );
    client.batch_execute(&sql).await.map_err(OpenError::server)
}

/// The version of the tables that this code needs.
fn needed() -> i32 {
    let steps = embedded::migrations::runner();
    steps.get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0)
}

/// Checks that the database has the tables and that its settings keep what is promised; gives the
/// store's secret.
pub(super) async fn check(pool: &Pool) -> Result<[u8; 32], OpenError> {
    let client =
        pool.get().await.map_err(|error| OpenError::Unreachable(error.to_string().into()))?;
    let there = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    let row = client.query_typed_one(there, &[]).await.map_err(OpenError::server)?;
    if !get::<bool>(&row, 0)? {
        return Err(OpenError::Empty);
    }
    let version = "SELECT coalesce(max(version), 0)::int4 FROM refinery_schema_history";
    let row = client.query_typed_one(version, &[]).await.map_err(OpenError::server)?;
    let (there, needed) = (get::<i32>(&row, 0)?, needed());
    if there < needed {
        return Err(OpenError::Old { there, needed });
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
