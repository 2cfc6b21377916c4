//! Two replicas with group commit against a transaction per order, in turns, on one PostgreSQL.
//!
//! `cargo run --release -p orders-adapters --features postgres --example pg_bench -- --admin URL
//! [--seconds 5] [--rounds 6]` prints a JSON record. URL is that of a superuser; each turn has a
//! database of its own. Both sides write the same rows into the same tables with the same durability.
//! The rival has a pool of 20 connections and prepared statements, and sends its statements one by one,
//! as most services do; it gives no positions to its events, which our side's time includes.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a tool for measuring: it prints figures and fails by panicking"
)]

#[path = "bench/load.rs"]
mod load;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{Manager, Pool, Transaction};
use mainstay::metrics::Metrics;
use mainstay_context::Context;
use orders::ports::{Answer, Change, Store as _};
use orders_adapters::postgres::{self, Config, Postgres};
use serde_json::{Value, json};
use tokio_postgres::{NoTls, types::ToSql};

use self::load::{drive, figures, options, runtime};

const CALLERS: usize = 64;
const REPLICAS: usize = 2;
/// The rival's connections.
const POOL: usize = 20;

/// What is measured, and how: a fresh database, callers, how long.
type Side = (&'static str, fn(&str, usize, Duration) -> Value);

fn main() {
    let options = options();
    let number = |name: &str, default: u64| {
        options.get(name).map_or(default, |value| value.parse().unwrap())
    };
    let admin = options.get("admin").unwrap();
    let span = Duration::from_secs(number("seconds", 5));
    let mut rounds = Vec::new();
    for round in 0..number("rounds", 6) {
        let mut sides: [Side; 2] = [("group", group_commit), ("transaction", transaction_each)];
        // Turned round every other time: a machine that gets slower or faster favours nobody.
        if round % 2 == 1 {
            sides.reverse();
        }
        let mut taken = BTreeMap::new();
        for callers in [CALLERS, 1] {
            for (side, run) in sides {
                let name = format!("bench_{side}_{callers}_{round}");
                let figures = fresh(admin, &name, |url| run(url, callers, span));
                taken.insert(format!("{side}_{callers}"), figures);
            }
        }
        rounds.push(json!(taken));
    }
    println!("{:#}", json!({ "rounds": rounds }));
}

/// Runs on a database that is not there before or after.
fn fresh(admin: &str, name: &str, run: impl FnOnce(&str) -> Value) -> Value {
    tell(admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
    tell(admin, &format!("CREATE DATABASE {name} OWNER orderly"));
    let url = format!("{}/{name}", admin.rsplit_once('/').unwrap().0);
    let url = url.replace("//postgres@", "//orderly@");
    let config = Config::at(url.clone());
    runtime().block_on(postgres::migrate(&config)).unwrap();
    let figures = run(&url);
    tell(admin, &format!("DROP DATABASE {name} WITH (FORCE)"));
    // The next side does not pay for what this one left to be written.
    tell(admin, "CHECKPOINT");
    figures
}

fn tell(admin: &str, sql: &str) {
    runtime().block_on(async {
        let (client, connection) = tokio_postgres::connect(admin, NoTls).await.unwrap();
        let told = client.batch_execute(sql);
        tokio::select! {
            told = told => told.unwrap(),
            ended = connection => ended.unwrap(),
        }
    });
}

fn group_commit(url: &str, callers: usize, span: Duration) -> Value {
    let runtime = runtime();
    let open =
        async || Arc::new(Postgres::open(&Config::at(url), &Metrics::new("bench")).await.unwrap());
    let stores: Vec<Arc<Postgres>> = runtime.block_on(async {
        let mut stores = Vec::new();
        for _ in 0..REPLICAS {
            stores.push(open().await);
        }
        stores
    });
    let turn = Arc::new(AtomicUsize::new(0));
    let commit = move |change: Change| {
        // A caller goes to whichever replica the balancer picks.
        let at = turn.fetch_add(1, Ordering::Relaxed) % stores.len();
        let store = Arc::clone(&stores[at]);
        async move {
            let cx = Context::new("bench".parse().unwrap());
            store.commit(&cx, change).await.unwrap()
        }
    };
    figures(runtime.block_on(drive(commit, callers, span)), span)
}

/// A transaction per order: the key is looked for, then the order, its history and its event are
/// written, each with a round trip.
fn transaction_each(url: &str, callers: usize, span: Duration) -> Value {
    let runtime = runtime();
    // Row-level security costs it no round trip.
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    config.options("-c orderly.tenant=*");
    let manager = Manager::new(config, NoTls);
    let pool = Pool::builder(manager).max_size(POOL).build().unwrap();
    let commit = move |change: Change| {
        let pool = pool.clone();
        async move {
            alone(&pool, &change).await.unwrap();
            Answer::Committed
        }
    };
    figures(runtime.block_on(drive(commit, callers, span)), span)
}

async fn alone(pool: &Pool, change: &Change) -> Result<(), Refused> {
    let (tenant, key) = (change.tenant.as_str(), &change.receipt.as_ref().unwrap().key.key);
    let mut client = pool.get().await.unwrap();
    let transaction = client.transaction().await?;
    let sql = "SELECT id FROM orders WHERE tenant = $1 AND create_key = $2";
    let seen = transaction.prepare_cached(sql).await?;
    assert!(transaction.query_opt(&seen, &[&tenant, &key.as_str()]).await?.is_none());
    insert_order(&transaction, change).await?;
    insert_history(&transaction, change).await?;
    insert_event(&transaction, change).await?;
    transaction.commit().await
}

type Refused = tokio_postgres::Error;

async fn insert_order(transaction: &Transaction<'_>, change: &Change) -> Result<(), Refused> {
    let (order, receipt) =
        (&change.write.as_ref().unwrap().order, change.receipt.as_ref().unwrap());
    let sql = "INSERT INTO orders (id, tenant, number, customer_id, state, payment_state, currency,
            total_minor, version, created_at, updated_at, notes, create_key, create_fingerprint,
            create_key_expires_at, payments, progress, content)
        VALUES ($1, $2, $3, $4, $5, 'NONE', $6, $7, 1, $8, $8, 0, $9, $10, $11, '[]', '[]', $12)";
    let insert = transaction.prepare_cached(sql).await?;
    let number = i64::try_from(order.number.bits()).unwrap();
    let fingerprint = &receipt.fingerprint.0[..];
    // As long as the store's own column, which is made in here.
    let skus: Vec<_> = order.goods.lines.iter().map(|line| line.sku.as_str()).collect();
    let content = format!("{:<700}", skus.join(","));
    let params: &[&(dyn ToSql + Sync)] = &[
        &order.id.0,
        &change.tenant.as_str(),
        &number,
        &order.customer_id.as_str(),
        &order.state.as_str(),
        &order.goods.currency.code(),
        &order.pricing().totals.total.minor,
        &order.created_at,
        &receipt.key.key.as_str(),
        &fingerprint,
        &receipt.expires_at,
        &content,
    ];
    transaction.execute(&insert, params).await.map(drop)
}

async fn insert_history(transaction: &Transaction<'_>, change: &Change) -> Result<(), Refused> {
    let entry = &change.write.as_ref().unwrap().entry;
    let sql = "INSERT INTO history (order_id, version, tenant, change_id, to_state, command, actor,
            request_id, at)
        VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8)";
    let insert = transaction.prepare_cached(sql).await?;
    let params: &[&(dyn ToSql + Sync)] = &[
        &entry.order.0,
        &change.tenant.as_str(),
        &change.id.0,
        &entry.to.as_str(),
        &entry.command.as_str(),
        &&*entry.actor,
        &entry.request_id.as_str(),
        &entry.at,
    ];
    transaction.execute(&insert, params).await.map(drop)
}

async fn insert_event(transaction: &Transaction<'_>, change: &Change) -> Result<(), Refused> {
    let write = change.write.as_ref().unwrap();
    let sql = "INSERT INTO outbox (id, aggregateid, type, payload, tenant, version, at)
        VALUES ($1, $2, $3, $4, $5, 1, $6)";
    let insert = transaction.prepare_cached(sql).await?;
    let (kind, data) = (write.event.kind, write.event.data.as_str());
    let params: &[&(dyn ToSql + Sync)] =
        &[&change.id.0, &write.order.id.0, &kind, &data, &change.tenant.as_str(), &write.entry.at];
    transaction.execute(&insert, params).await.map(drop)
}
