//! What really happened: operations, keys and events in one SQLite file.
//!
//! Guarantees: an operation, its key and its event are one transaction, synced before it returns;
//! one writer at a time, so that a twin of a key waits for the first and finds its answer.
//! Everything here blocks; callers in async code put it on a blocking thread.
//!
//! Deliberately absent: faults. A fault can say that a key is forgotten early and how an event is
//! delivered, and that is all the ledger hears of it.

mod apply;
mod outbox;
mod read;
mod rows;
mod schema;

pub use self::{
    outbox::Delivery,
    read::{Counts, Page, Payment, Query, Recorded, SeveralOf, Summary, Webhook},
    schema::OpenError,
};

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainstay::config::duration;
use rusqlite::{Connection, TransactionBehavior};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::schema::Lock;
use crate::operation::{Decline, Id, Operation};

/// Where the ledger is, and how long it remembers keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file, relative to the working directory. Beside it stand `-wal`, `-shm` and `-lock`.
    /// Default: `data/gateway-sim.db`.
    pub path: PathBuf,
    /// How long a key is remembered from its first request on. Default 24 h.
    #[serde(with = "duration::Text")]
    pub idempotency_window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: "data/gateway-sim.db".into(), idempotency_window: Duration::from_hours(24) }
    }
}

/// The ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the ledger failed")]
pub struct LedgerError(
    #[from]
    #[source]
    pub(crate) rusqlite::Error,
);

/// What is special about one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// A decline that its instrument brings, whatever the payment allows.
    pub refusal: Option<Decline>,
    /// Its key is forgotten as soon as it is done.
    pub forget_key: bool,
    /// How its event is delivered; none is sent without it.
    pub delivery: Option<Delivery>,
}

/// The answer to an operation under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was decided now.
    Decided(Operation),
    /// It was decided by an earlier request with the same key.
    Replayed(Operation),
    /// The key stands for another request.
    KeyReused,
    /// Another key stands for the reference.
    ReferenceInUse,
}

/// The ledger, open for writing.
pub struct Ledger {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    window: Duration,
    _lock: Lock,
}

impl Ledger {
    /// Opens the file, and makes it where there is none.
    ///
    /// # Errors
    /// Fails when another process has it open, and when it cannot be used.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        let lock = schema::lock(&config.path)?;
        let writer = schema::writer(&config.path)?;
        let reader = schema::reader(&config.path)?;
        let window = config.idempotency_window;
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(reader), window, _lock: lock })
    }

    /// How long a key is remembered.
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// Forgets everything: payments, operations, keys and events.
    ///
    /// # Errors
    /// Fails when the file does.
    pub fn reset(&self) -> Result<(), LedgerError> {
        Ok(self.writer().execute_batch(
            "BEGIN IMMEDIATE; DELETE FROM payments; DELETE FROM operations; DELETE FROM keys;
             DELETE FROM outbox; DELETE FROM tried; COMMIT;",
        )?)
    }

    /// Whether this is the first time that a token's fault meets this reference, restarts included.
    ///
    /// # Errors
    /// Fails when the file does.
    pub fn first_try(&self, reference: Id) -> Result<bool, LedgerError> {
        let sql = "INSERT OR IGNORE INTO tried (reference) VALUES (?1)";
        let added = self.writer().prepare_cached(sql)?.execute([reference.to_string()])?;
        Ok(added > 0)
    }

    /// What `work` does on a blocking thread, to its end even if nobody waits for it any more.
    pub(crate) async fn blocking<T: Send + 'static>(
        ledger: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let ledger = Arc::clone(ledger);
        match tokio::task::spawn_blocking(move || work(&ledger)).await {
            Ok(done) => done,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and this future with it.
                Err(_cancelled) => std::future::pending().await,
            },
        }
    }

    /// All or nothing of what `work` writes.
    fn write<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// What `work` reads, out of one state of the file.
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = reader.transaction()?;
        Ok(work(&snapshot)?)
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("window", &self.window).finish_non_exhaustive()
    }
}
