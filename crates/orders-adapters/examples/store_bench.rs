//! Group commit against one commit per order behind a mutex, in turns, on this machine's disk.
//!
//! `cargo run --release -p orders-adapters --example store_bench -- [--seconds 5] [--rounds 11]
//! [--sustain 600] [--dir FOLDER]` prints a JSON record. Both sides write the same rows by the same
//! statements with the same durability; only the grouping differs.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a tool for measuring: it prints figures and fails by panicking"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay_context::{Context, TraceContext};
use orders::{
    codec,
    domain::{ChangeId, Draft, DraftLine, Money, Order, OrderId, Placement, Stamp, UnitPrice},
    ports::{
        Answer, Change, Clock as _, Decision, Expects, Ids as _, NewEvent, Operation, Receipt,
        ReceiptKey, Store as _, Unique, Write,
    },
};
use orders_adapters::{
    SystemClock, SystemIds,
    sqlite::{Config, Prepared, Sqlite, Writer},
};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, time::Instant};

const CALLERS: usize = 64;

/// What is measured, and how: a file that is not there, callers, how long.
type Side = (&'static str, fn(&Path, usize, Duration) -> Value);

fn main() {
    let options = options();
    let number = |name: &str, default: u64| {
        options.get(name).map_or(default, |value| value.parse().unwrap())
    };
    let folder = options.get("dir").map_or_else(std::env::temp_dir, PathBuf::from);
    let span = Duration::from_secs(number("seconds", 5));
    let mut rounds = Vec::new();
    for round in 0..number("rounds", 11) {
        let file = |side: &str| folder.join(format!("store-bench-{side}-{round}.db"));
        let mut sides: [Side; 3] =
            [("group", group_commit), ("mutex", behind_a_mutex), ("threads", on_threads)];
        // Turned round every other time: a machine that gets slower or faster favours nobody.
        if round % 2 == 1 {
            sides.reverse();
        }
        let mut taken = BTreeMap::new();
        for callers in [CALLERS, 1] {
            for (side, run) in sides {
                let figures = fresh(&file(side), |path| run(path, callers, span));
                taken.insert(format!("{side}_{callers}"), figures);
            }
        }
        rounds.push(json!(taken));
    }
    let mut record = json!({ "rounds": rounds });
    let sustain = number("sustain", 0);
    if sustain > 0 {
        let path = folder.join("store-bench-sustain.db");
        record["sustain"] = fresh(&path, |path| sustained(path, Duration::from_secs(sustain)));
    }
    println!("{record:#}");
}

fn options() -> BTreeMap<String, String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    words
        .chunks(2)
        .map(|pair| (pair[0].trim_start_matches("--").to_owned(), pair[1].clone()))
        .collect()
}

/// Runs on a file that is not there before or after.
fn fresh(path: &Path, run: impl FnOnce(&Path) -> Value) -> Value {
    let remove = || {
        for ending in ["", "-wal", "-shm", "-lock"] {
            drop(std::fs::remove_file(format!("{}{ending}", path.display())));
        }
    };
    remove();
    let figures = run(path);
    remove();
    figures
}

fn group_commit(path: &Path, callers: usize, span: Duration) -> Value {
    let store = Arc::new(Sqlite::open(&Config::at(path)).unwrap());
    let cx = Context::new("bench".parse().unwrap());
    let commit = async |change: Change| store.commit(&cx, change).await.unwrap();
    figures(runtime().block_on(drive(commit, callers, span)), span)
}

/// One commit per order behind a mutex, from async callers as a service has them.
fn behind_a_mutex(path: &Path, callers: usize, span: Duration) -> Value {
    let writer = Arc::new(Mutex::new(Writer::open(&Config::at(path)).unwrap()));
    let commit = async |change: Change| {
        let writer = Arc::clone(&writer);
        tokio::task::spawn_blocking(move || commit_alone(&writer, change)).await.unwrap()
    };
    figures(runtime().block_on(drive(commit, callers, span)), span)
}

/// The same with a thread per caller, as no service has them: nothing is handed over.
fn on_threads(path: &Path, callers: usize, span: Duration) -> Value {
    let writer = Mutex::new(Writer::open(&Config::at(path)).unwrap());
    let placement = placement();
    let until = Instant::now() + span;
    let latencies = std::thread::scope(|scope| {
        let work = |caller: usize| {
            let (writer, placement) = (&writer, &placement);
            move || {
                let mut latencies = Vec::new();
                while Instant::now() < until {
                    let change = change(placement, caller, latencies.len());
                    let start = Instant::now();
                    assert_eq!(commit_alone(writer, change), Answer::Committed);
                    latencies.push(start.elapsed());
                }
                latencies
            }
        };
        let threads: Vec<_> = (0..callers).map(|caller| scope.spawn(work(caller))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    figures(latencies, span)
}

fn commit_alone(writer: &Mutex<Writer>, change: Change) -> Answer {
    let prepared = Prepared::new(change);
    writer.lock().unwrap().apply(&[prepared]).unwrap().remove(0).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// Callers that commit one change after another until the time is up.
async fn drive(
    commit: impl AsyncFn(Change) -> Answer,
    callers: usize,
    span: Duration,
) -> Vec<Duration> {
    let placement = placement();
    let until = Instant::now() + span;
    let call = async |caller: usize| {
        let mut latencies = Vec::new();
        while Instant::now() < until {
            let change = change(&placement, caller, latencies.len());
            let start = Instant::now();
            let answer = commit(change).await;
            // Among millions of orders a random number meets another; the use case draws again,
            // and so does this.
            if !matches!(answer, Answer::Taken(Unique::Number, _)) {
                assert_eq!(answer, Answer::Committed);
                latencies.push(start.elapsed());
            }
        }
        latencies
    };
    let calls = (0..callers).map(&call);
    futures_util::future::join_all(calls).await.concat()
}

/// Full load for a long time: how large does the write-ahead log get?
fn sustained(path: &Path, span: Duration) -> Value {
    let (runtime, config) = (runtime(), Config::at(path));
    let store = Arc::new(Sqlite::open(&config).unwrap());
    let wal = PathBuf::from(format!("{}-wal", path.display()));
    let (done, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let latencies = std::thread::scope(|scope| {
        scope.spawn(|| {
            let patience = runtime.handle().clone();
            while !done.load(Ordering::Relaxed) {
                let size = std::fs::metadata(&wal).map_or(0, |file| file.len());
                most.fetch_max(size, Ordering::Relaxed);
                patience.block_on(async { tokio::time::sleep(Duration::from_millis(100)).await });
            }
        });
        let cx = Context::new("bench".parse().unwrap());
        let commit = async |change: Change| store.commit(&cx, change).await.unwrap();
        let latencies = runtime.block_on(drive(commit, CALLERS, span));
        done.store(true, Ordering::Relaxed);
        latencies
    });
    let mut figures = figures(latencies, span);
    figures["wal_limit_bytes"] = json!(config.wal_limit);
    figures["wal_file_most_bytes"] = json!(most.load(Ordering::Relaxed));
    figures["store_bytes"] = json!(std::fs::metadata(path).unwrap().len());
    figures
}

fn figures(mut latencies: Vec<Duration>, span: Duration) -> Value {
    latencies.sort_unstable();
    let at = |part: f64| {
        let index = ((latencies.len() - 1) as f64 * part) as usize;
        latencies[index].as_secs_f64() * 1e6
    };
    json!({
        "orders": latencies.len(),
        "orders_per_second": latencies.len() as f64 / span.as_secs_f64(),
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "max_us": at(1.0),
    })
}

/// Nine lines, as the average real basket has.
fn placement() -> Placement {
    let usd = "USD".parse().unwrap();
    let line = |at: i64| DraftLine {
        sku: (1_000_000 + at * 7919).to_string(),
        name: Some("SOUP: CONDENSED, CANNED".to_owned()),
        quantity: 1 + at % 3,
        unit_price: UnitPrice::parse("133.333333", usd).unwrap(),
        discount: (at % 2 == 0).then(|| Money::new(10, usd)),
        tax: None,
    };
    let draft = Draft {
        customer_id: "c-1".to_owned(),
        lines: (0..9).map(line).collect(),
        metadata: BTreeMap::from([("store".to_owned(), "330".to_owned())]),
        ..Draft::default()
    };
    draft.check().unwrap()
}

fn change(placement: &Placement, caller: usize, count: usize) -> Change {
    let at = SystemClock.now();
    let stamp = Stamp {
        change: ChangeId(SystemIds.uuid(at)),
        at,
        actor: "bench".into(),
        request_id: "bench".parse().unwrap(),
        trace: TraceContext::default(),
    };
    let id = OrderId(SystemIds.uuid(at));
    let tenant: orders::domain::TenantId = "bench".parse().unwrap();
    let applied = Order::place(id, SystemIds.number(), tenant.clone(), placement, &stamp);
    let key = format!("bench-key-{caller:04}-{count:08}").parse().unwrap();
    let receipt = Receipt {
        key: ReceiptKey { tenant: tenant.clone(), operation: Operation::Create, key },
        fingerprint: codec::create_fingerprint(placement),
        order: id,
        decision: Decision::Accepted { version: applied.order.version },
        expires_at: at + Duration::from_hours(7 * 24),
    };
    let data = codec::event_data(&applied.order, &applied.entry);
    let event = NewEvent { kind: applied.event, data };
    Change {
        id: stamp.change,
        tenant,
        at,
        expects: Expects::New,
        write: Some(Box::new(Write {
            order: applied.order,
            entry: applied.entry,
            event,
            note: None,
            personal: None,
        })),
        receipt: Some(receipt),
    }
}
