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

#[path = "bench/load.rs"]
mod load;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use mainstay_context::Context;
use orders::ports::{Answer, Change, Store as _};
use orders_adapters::sqlite::{Config, Prepared, Sqlite, Writer};
use rusqlite::{Connection, wal::CheckpointMode};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::load::{Turn, change, drive, figures, options, placement, runtime};

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
