//! Group commit against one commit per order behind a mutex, in turns, on this machine's disk.
//!
//! `cargo run --release -p orders-adapters --example store_bench -- [--seconds 5] [--rounds 12]
//! [--sustain 600] [--dir FOLDER]` prints a JSON record. All sides write the same rows by the same
//! statements with the same durability, and have their log moved as often; the grouping differs, and
//! by whom a change is handed over.

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
        mpsc::{self, RecvTimeoutError},
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
use rusqlite::{Connection, wal::CheckpointMode};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::JoinSet, time::Instant};

const CALLERS: usize = 64;

/// Until the log is as long as it gets: appending to it costs more than writing over it.
const WARM_UP: Duration = Duration::from_secs(2);

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
    for round in 0..number("rounds", 12) {
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
    // The next side does not pay for what this one left to be written.
    assert!(std::process::Command::new("sync").status().unwrap().success());
    figures
}

fn group_commit(path: &Path, callers: usize, span: Duration) -> Value {
    let store = Arc::new(Sqlite::open(&Config::at(path)).unwrap());
    let commit = move |change: Change| {
        let store = Arc::clone(&store);
        async move {
            let cx = Context::new("bench".parse().unwrap());
            store.commit(&cx, change).await.unwrap()
        }
    };
    figures(runtime().block_on(drive(commit, callers, span)), span)
}

/// One commit per order behind a mutex, from async callers, who must not block their thread.
fn behind_a_mutex(path: &Path, callers: usize, span: Duration) -> Value {
    let writer = Arc::new(Mutex::new(Writer::open(&Config::at(path)).unwrap()));
    let commit = move |change: Change| {
        let writer = Arc::clone(&writer);
        let alone = move || commit_alone(&writer, change);
        async move { tokio::task::spawn_blocking(alone).await.unwrap() }
    };
    let latencies = checkpointed(path, || runtime().block_on(drive(commit, callers, span)));
    figures(latencies, span)
}

/// The same with an operating system thread per caller: nothing is handed over.
fn on_threads(path: &Path, callers: usize, span: Duration) -> Value {
    let writer = Mutex::new(Writer::open(&Config::at(path)).unwrap());
    let (placement, turn) = (placement(), Turn::begin(span));
    let work = |caller: usize| {
        let (writer, placement) = (&writer, &placement);
        move || {
            let mut latencies = Vec::new();
            for count in turn.counts() {
                let change = change(placement, caller, count);
                let start = Instant::now();
                let answer = commit_alone(writer, change);
                turn.keep(&mut latencies, start, &answer);
            }
            latencies
        }
    };
    let latencies = checkpointed(path, || {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..callers).map(|caller| scope.spawn(work(caller))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    });
    figures(latencies, span)
}

fn commit_alone(writer: &Mutex<Writer>, change: Change) -> Answer {
    let prepared = Prepared::new(change);
    writer.lock().unwrap().apply(&[prepared]).unwrap().remove(0).unwrap()
}

/// Moves the rival's log as often as the store moves its own, on a thread beside it.
fn checkpointed<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let (done, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let connection = Connection::open(path).unwrap();
            connection.pragma_update(None, "synchronous", "FULL").unwrap();
            while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                // The writer may be at it itself: then the log is being moved.
                let moved = connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE);
                assert!(moved.is_ok() || is_busy(&moved), "{moved:?}");
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn is_busy<T>(result: &rusqlite::Result<T>) -> bool {
    let code = result.as_ref().err().and_then(rusqlite::Error::sqlite_error_code);
    code == Some(rusqlite::ErrorCode::DatabaseBusy)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// One side's time: what is done before `from` warms up and is not counted.
#[derive(Clone, Copy)]
struct Turn {
    from: Instant,
    until: Instant,
}

impl Turn {
    fn begin(span: Duration) -> Self {
        let from = Instant::now() + WARM_UP;
        Self { from, until: from + span }
    }

    fn counts(self) -> impl Iterator<Item = usize> {
        (0..).take_while(move |_| Instant::now() < self.until)
    }

    fn keep(self, latencies: &mut Vec<Duration>, start: Instant, answer: &Answer) {
        // Among millions of orders a random number meets another; the use case draws again, and
        // so does this.
        if matches!(answer, Answer::Taken(Unique::Number, _)) {
            return;
        }
        assert_eq!(*answer, Answer::Committed);
        if start >= self.from {
            latencies.push(start.elapsed());
        }
    }
}

/// Callers, each a task, that commit one change after another until the time is up.
async fn drive<C, F>(commit: C, callers: usize, span: Duration) -> Vec<Duration>
where
    C: Fn(Change) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let (placement, turn) = (Arc::new(placement()), Turn::begin(span));
    let mut calls = JoinSet::new();
    for caller in 0..callers {
        let (commit, placement) = (commit.clone(), Arc::clone(&placement));
        calls.spawn(async move {
            let mut latencies = Vec::new();
            for count in turn.counts() {
                let change = change(&placement, caller, count);
                let start = Instant::now();
                let answer = commit(change).await;
                turn.keep(&mut latencies, start, &answer);
            }
            latencies
        });
    }
    calls.join_all().await.concat()
}

/// Full load for a long time: how large does the write-ahead log get?
fn sustained(path: &Path, span: Duration) -> Value {
    let wal = PathBuf::from(format!("{}-wal", path.display()));
    let (done, ended) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let mut most = 0;
        while ended.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
            most = most.max(std::fs::metadata(&wal).map_or(0, |file| file.len()));
        }
        most
    });
    let mut figures = group_commit(path, CALLERS, span);
    drop(done);
    figures["wal_limit_bytes"] = json!(Config::at(path).wal_limit);
    figures["wal_file_most_bytes"] = json!(watch.join().unwrap());
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
        "p999_us": at(0.999),
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
        lease: None,
        plans: Vec::new(),
    }
}
