//! Whether the database can be used, asked by one task on behalf of all.
//!
//! While it cannot, callers are answered at once instead of each trying by itself; so an outage costs
//! one connection attempt at a time, and ends as soon as one succeeds. The task keeps a connection of
//! its own, so that a database with no room for another one does not count as one that is away. Now and
//! then it asks without being in doubt: settings that make a promise void may be changed under open
//! connections, and then the database is not used either.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{Object, PoolError};
use mainstay::telemetry::error_chain;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_postgres::error::SqlState;

use super::{
    Config, OpenError, Shared, connect,
    failed::{Failed, What},
    schema,
};

/// Between two looks at a database that is down: soon enough that its return is noticed within a
/// second.
const AGAIN: Duration = Duration::from_millis(200);

/// An answer that takes longer has somebody look whether the database is still there.
const LONG: Duration = Duration::from_secs(1);

/// What is known of the database.
#[derive(Debug, Default)]
pub(super) struct Health {
    is_down: AtomicBool,
    trouble: Mutex<Option<Trouble>>,
    doubted: Notify,
}

/// Why the database is not used.
#[derive(Debug)]
struct Trouble {
    told: String,
    /// It answered, and must not be written to: that holds until it is asked again.
    is_unreliable: bool,
}

impl Health {
    pub(super) fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::Relaxed)
    }

    /// Why it is not up.
    pub(super) fn trouble(&self) -> Option<String> {
        self.known().as_ref().map(|trouble| trouble.told.clone())
    }

    /// Has somebody look whether the database is there.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    fn known(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_unreliable(&self) -> bool {
        self.known().as_ref().is_some_and(|trouble| trouble.is_unreliable)
    }

    /// Takes note that it cannot be used. It is told once: the words for an outage change with every
    /// host that is asked.
    fn fails(&self, error: OpenError, config: &Config) {
        let (was_down, was_unreliable) = (!self.is_up(), self.is_unreliable());
        let is_unreliable = error.is_unreliable() || was_unreliable;
        let told = error_chain(&error.at(connect::near(config)));
        if is_unreliable && !was_unreliable {
            tracing::error!(error = told, "the database is not used until it can be relied on");
        } else if !was_down {
            tracing::error!(error = told, "the database is unavailable");
        }
        *self.known() = Some(Trouble { told, is_unreliable });
        self.is_down.store(true, Ordering::Relaxed);
    }

    fn works(&self) {
        *self.known() = None;
        if self.is_down.swap(false, Ordering::Relaxed) {
            tracing::info!("the database is available again");
        }
    }
}

impl Shared {
    /// Takes note of a failure. When the server said that it ends, or was lost under a transaction, idle
    /// connections to it are worth nothing either.
    pub(super) fn note(&self, failed: &Failed) {
        match failed.what {
            What::Gone | What::Unknown => {
                self.clear();
                self.health.doubt();
            }
            What::Unavailable => {
                // A session from before may be set otherwise than those that are made now.
                let said = failed.cause.downcast_ref::<OpenError>();
                if said.is_some_and(OpenError::is_unreliable) {
                    self.probe.retain(|_, _| false);
                }
                self.health.doubt();
            }
            What::Refused
            | What::Decided
            | What::Contended
            | What::Full
            | What::Expired
            | What::Outdated => {}
        }
    }

    /// Lets go of idle connections.
    fn clear(&self) {
        self.pool.retain(|_, _| false);
        self.writers.retain(|_, _| false);
    }

    /// Waits for an answer; when it takes long, somebody looks whether any will come.
    pub(super) async fn attended<T>(&self, mut answer: impl Future<Output = T> + Unpin) -> T {
        loop {
            match timeout(LONG, &mut answer).await {
                Ok(answer) => return answer,
                Err(_) => self.health.doubt(),
            }
        }
    }
}

/// Looks at the database whenever it is in doubt, and now and then, until the store closes.
pub(super) async fn run(shared: Arc<Shared>) {
    let work = async {
        loop {
            // Whether it is in doubt or it is only time to look.
            let _doubted = timeout(shared.config.poll, shared.health.doubted.notified()).await;
            look(&shared).await;
        }
    };
    shared.while_open(work).await;
}

/// Looks until the database answers and can be relied on. It is down when a new connection is not
/// answered either; and when only a new one is, nothing good comes of those from before.
async fn look(shared: &Shared) {
    let mut anew = None;
    loop {
        let is_kept = shared.probe.status().size > 0;
        let Err(Unanswered { is_silent, why }) = ask(shared).await else { break };
        let is_unreliable = why.is_unreliable();
        if is_silent || is_unreliable || !is_kept {
            anew.get_or_insert_with(|| shared.servers.begin_anew());
        }
        // Of the server a lost connection says nothing yet.
        if is_kept && !is_unreliable {
            continue;
        }
        shared.health.fails(why, &shared.config);
        sleep(AGAIN).await;
    }
    if let Some(age) = anew.filter(|_| shared.probe.status().size > 0) {
        shared.servers.cut_before(age);
        shared.clear();
    }
    shared.health.works();
}

struct Unanswered {
    is_silent: bool,
    why: OpenError,
}

/// Asks on the connection that is kept for this, or on a new one.
async fn ask(shared: &Shared) -> Result<(), Unanswered> {
    let client = match shared.probe.get().await {
        Ok(client) => client,
        // It answers; only it has no room for one more, and nothing speaks against it.
        Err(PoolError::Backend(error))
            if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
                && !shared.health.is_unreliable() =>
        {
            return Ok(());
        }
        Err(error) => return Err(Unanswered { is_silent: false, why: OpenError::pool(error) }),
    };
    // It may be another server than before, or be set otherwise by now.
    let asked = timeout(shared.config.connect_timeout, schema::settings(&client)).await;
    let unanswered = match asked {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(why)) => Unanswered { is_silent: false, why },
        Err(_) => Unanswered { is_silent: true, why: OpenError::silent() },
    };
    // Another look is another connection: this one may wait for a peer that is no more.
    drop(Object::take(client));
    Err(unanswered)
}
