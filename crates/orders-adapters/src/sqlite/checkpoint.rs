//! Moves the write-ahead log into the database, on a thread of its own, so that commits do not wait
//! for it.
//!
//! Under a load without pauses that alone would never empty the log: it starts over only when all of
//! it has been moved and nobody added more meanwhile. Past its limit the writer therefore moves the
//! rest itself, between two batches; see [`Writer`](super::Writer).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use mainstay::{metrics::Histogram, telemetry::error_chain};
use rusqlite::{Connection, wal::CheckpointMode};

use super::{
    Config, OpenError, schema,
    thread::{Shared, Vital, spawn},
    writer::{Broken, Severity, severity},
};

/// How often the log is moved. Measured on two cores with 64 callers, together with a log limit twice
/// as large: p99 10 to 12 ms at 1 s, 20 ms at 200 ms, where the same pages are moved more often and
/// commits wait behind more syncs of the store's file. Which of the two changes did it was not told
/// apart.
const EVERY: Duration = Duration::from_secs(1);

/// How large the log is: bytes that commits have added since it last started over.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<AtomicU64>);

impl Log {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn is(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Moves what can be moved without anybody waiting; says whether that was all of it.
///
/// # Errors
/// [`Broken`] when a write or a sync failed. A sync that failed once may succeed the next time
/// although the pages never reached the disk, so there is no trying again.
pub(super) fn passive(connection: &Connection) -> Result<bool, Broken> {
    match connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE) {
        Ok((frames, moved)) => Ok(frames == moved),
        Err(error) => match severity(&error) {
            Severity::Broken => Err(Broken(error)),
            // No room in the database, or another checkpoint is at it: the log keeps what it holds.
            Severity::Full | Severity::Busy | Severity::Unknown | Severity::Change => {
                tracing::debug!(%error, "the write-ahead log could not be moved");
                Ok(false)
            }
        },
    }
}

pub(super) fn start(
    shared: Arc<Shared>,
    config: &Config,
    took: Histogram,
) -> Result<JoinHandle<()>, OpenError> {
    let connection = Connection::open(&config.path).and_then(|connection| {
        schema::set_durability(&connection, config.durable)?;
        Ok(connection)
    });
    let connection = connection.map_err(OpenError::sqlite(&config.path))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(OpenError::Thread)?;
    spawn("orders-checkpoint", move || {
        let _vital = Vital(Arc::clone(&shared));
        let mut closing = shared.closing();
        loop {
            let closed = closing.wait_for(|closing| *closing);
            let closed = runtime.block_on(async { tokio::time::timeout(EVERY, closed).await });
            if closed.is_ok() {
                break;
            }
            let began = tokio::time::Instant::now();
            let moved = passive(&connection);
            took.observe(began.elapsed().as_secs_f64(), &[]);
            match moved {
                Ok(true) => shared.log.is(0),
                Ok(false) => {}
                Err(broken) => return shared.fail(error_chain(&broken)),
            }
        }
    })
}
