//! Two replicas with group commit against a transaction per order, in turns, on one PostgreSQL.
//!
//! `cargo run --release -p orders-adapters --features postgres --example pg_bench -- --admin URL
//! [--seconds 5] [--rounds 6] [--server PID]` prints a JSON record. URL is that of a superuser; each turn
//! has a database of its own. With the process id of the server, on the same machine, it also tells the
//! processor time per order of both, which a busy machine changes less than the rate.
//!
//! Both sides write the same rows into the same tables with the same durability.
//! The rival has a pool of 20 connections and prepared statements, and sends its statements one by one,
//! as most services do. What our side's time includes, that events get their places in the feed, `transaction`
//! leaves out; in `swept` a task takes them out of the outbox, as the publisher of such a service does.
//! Of both `outbox_left` tells how many of these were still to do when the time was up.

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

use self::load::{WARM_UP, drive, figures, options, runtime};

const CALLERS: usize = 64;
const REPLICAS: usize = 2;
/// The rival's connections.
const POOL: usize = 20;

/// What is measured, and how: a fresh database, callers, how long, the server's process.
type Side = (&'static str, fn(&str, usize, Duration, Option<u32>) -> Value);

fn main() {
    let options = options();
    let number = |name: &str, default: u64| {
        options.get(name).map_or(default, |value| value.parse().unwrap())
    };
    let admin = options.get("admin").unwrap();
    let span = Duration::from_secs(number("seconds", 5));
    let server = options.get("server").map(|pid| pid.parse().unwrap());
    let mut rounds = Vec::new();
    for round in 0..number("rounds", 6) {
        let mut sides: [Side; 3] = [
            ("group", group_commit),
            ("transaction", transaction_each),
            ("swept", transaction_each_swept),
        ];
        // Turned round every other time: a machine that gets slower or faster favours nobody.
        if round % 2 == 1 {
            sides.reverse();
        }
        let mut taken = BTreeMap::new();
        for callers in [CALLERS, 1] {
            for (side, run) in sides {
                let name = format!("bench_{side}_{callers}_{round}");
                let figures = fresh(admin, &name, |url| run(url, callers, span, server));
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

fn group_commit(url: &str, callers: usize, span: Duration, server: Option<u32>) -> Value {
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
    let counted = stores.clone();
    let commit = move |change: Change| {
        // A caller goes to whichever replica the balancer picks.
        let at = turn.fetch_add(1, Ordering::Relaxed) % stores.len();
        let store = Arc::clone(&stores[at]);
        async move {
            let cx = Context::new("bench".parse().unwrap());
            store.commit(&cx, change).await.unwrap()
        }
    };
    let (mut figures, outbox_left) = runtime.block_on(async {
        let figures = measured(commit, callers, span, server).await;
        (figures, left(&pool(url)).await)
    });
    figures["outbox_left"] = json!(outbox_left);
    let (changes, batches) = counted
        .iter()
        .map(|store| store.counters())
        .fold((0, 0), |(changes, batches), counters| {
            (changes + counters.changes, batches + counters.batches)
        });
    figures["changes_per_batch"] = json!(changes as f64 / batches as f64);
    figures
}

/// Drives one side, and adds the processor time per order to its figures.
async fn measured<C, F>(commit: C, callers: usize, span: Duration, server: Option<u32>) -> Value
where
    C: Fn(Change) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let spent = || (server.map(tree), cpu("self").own);
    let warm = async {
        tokio::time::sleep(WARM_UP).await;
        spent()
    };
    let (latencies, before) = tokio::join!(drive(commit, callers, span), warm);
    let after = spent();
    let orders = latencies.len() as f64;
    let mut figures = figures(latencies, span);
    // The clock of /proc ticks a hundred times a second.
    let each = |ticks: u64| ticks as f64 * 1e4 / orders;
    figures["client_cpu_us"] = json!(each(after.1 - before.1));
    if let (Some(before), Some(after)) = (before.0, after.0) {
        figures["server_cpu_us"] = json!(each(after - before));
    }
    figures
}

/// Processor time of a process, in ticks.
struct Spent {
    parent: u32,
    own: u64,
    /// Of those of its children that have ended.
    ended: u64,
}

fn cpu(pid: &str) -> Spent {
    let none = Spent { parent: 0, own: 0, ended: 0 };
    // It may have ended since it was listed.
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return none };
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Spent {
        parent: fields[1].parse().unwrap(),
        own: ticks(11) + ticks(12),
        ended: ticks(13) + ticks(14),
    }
}

/// What a server and its backends have spent.
fn tree(server: u32) -> u64 {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let pids = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let backends = pids.map(|pid| cpu(&pid)).filter(|spent| spent.parent == server);
    let postmaster = cpu(&server.to_string());
    postmaster.own + postmaster.ended + backends.map(|backend| backend.own).sum::<u64>()
}

/// A transaction per order: the key is looked for, then the order, its history and its event are
/// written, each with a round trip.
fn transaction_each(url: &str, callers: usize, span: Duration, server: Option<u32>) -> Value {
    let (runtime, pool) = (runtime(), pool(url));
    let commit = move |change: Change| alone_of(pool.clone(), change);
    runtime.block_on(measured(commit, callers, span, server))
}

/// The same, and what was written is taken out of the outbox, some hundreds at a time.
fn transaction_each_swept(url: &str, callers: usize, span: Duration, server: Option<u32>) -> Value {
    let (runtime, pool) = (runtime(), pool(url));
    let swept = pool.clone();
    let commit = move |change: Change| alone_of(pool.clone(), change);
    runtime.block_on(async {
        let mut figures = tokio::select! {
            () = sweep(&swept) => unreachable!("it goes on"),
            figures = measured(commit, callers, span, server) => figures,
        };
        figures["outbox_left"] = json!(left(&swept).await);
        figures
    })
}

/// Events that were not taken out of the outbox yet.
async fn left(pool: &Pool) -> i64 {
    let client = pool.get().await.unwrap();
    client.query_one("SELECT count(*) FROM outbox", &[]).await.unwrap().get(0)
}

async fn sweep(pool: &Pool) {
    loop {
        let client = pool.get().await.unwrap();
        let sql = "DELETE FROM outbox WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM outbox ORDER BY seq LIMIT 500))
            RETURNING id, aggregateid, type, payload";
        let sweep = client.prepare_cached(sql).await.unwrap();
        let swept = client.query(&sweep, &[]).await.unwrap();
        drop(client);
        if swept.len() < 500 {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

fn pool(url: &str) -> Pool {
    // Row-level security costs it no round trip.
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    config.options("-c orderly.tenant=*");
    Pool::builder(Manager::new(config, NoTls)).max_size(POOL).build().unwrap()
}

async fn alone_of(pool: Pool, change: Change) -> Answer {
    alone(&pool, &change).await.unwrap();
    Answer::Committed
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
