//! Whether the database can be used, asked by one task on behalf of all.
//!
//! While it cannot, callers are answered at once instead of each trying by itself; so an outage costs
//! one connection attempt at a time, and ends as soon as one succeeds. The task keeps a connection of
//! its own, so that a database with no room for another one does not count as one that is away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{Object, PoolError};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_postgres::error::SqlState;

use super::{
    OpenError, Shared,
    connect::pool_told,
    schema,
    session::{Failed, What},
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
    doubted: Notify,
}

impl Health {
    pub(super) fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::Relaxed)
    }

    /// Has somebody look whether the database is there.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
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
            What::Unavailable => self.health.doubt(),
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

/// Looks at the database whenever it is in doubt, until the store closes.
pub(super) async fn run(shared: Arc<Shared>) {
    let work = async {
        loop {
            shared.health.doubted.notified().await;
            look(&shared).await;
        }
    };
    shared.while_open(work).await;
}

/// Looks until the database answers. It is down when a new connection is not answered either; and when
/// only a new one is, nothing comes on those from before.
async fn look(shared: &Shared) {
    let mut anew = None;
    loop {
        let is_kept = shared.probe.status().size > 0;
        let Err(unanswered) = ask(shared).await else { break };
        if unanswered.is_silent || !is_kept {
            anew.get_or_insert_with(|| shared.servers.begin_anew());
        }
        if is_kept {
            continue;
        }
        if !shared.health.is_down.swap(true, Ordering::Relaxed) {
            tracing::error!(error = unanswered.why, "the database is unavailable");
        }
        sleep(AGAIN).await;
    }
    if let Some(age) = anew.filter(|_| shared.probe.status().size > 0) {
        shared.servers.cut_before(age);
        shared.clear();
    }
    if shared.health.is_down.swap(false, Ordering::Relaxed) {
        tracing::info!("the database is available again");
    }
}

struct Unanswered {
    is_silent: bool,
    why: String,
}

/// Asks on the connection that is kept for this, or on a new one.
async fn ask(shared: &Shared) -> Result<(), Unanswered> {
    let client = match shared.probe.get().await {
        Ok(client) => client,
        // It answers; only it has no room for one more.
        Err(PoolError::Backend(error)) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => {
            return Ok(());
        }
        Err(error) => return Err(Unanswered { is_silent: false, why: pool_told(&error) }),
    };
    // It may be another server than before, which is set otherwise.
    let asked = timeout(shared.config.connect_timeout, schema::settings(&client)).await;
    let unanswered = match asked {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(OpenError::Unreachable(cause))) => {
            Unanswered { is_silent: false, why: cause.to_string() }
        }
        Ok(Err(unsafe_settings)) => {
            Unanswered { is_silent: false, why: unsafe_settings.to_string() }
        }
        Err(_) => Unanswered { is_silent: true, why: "it does not answer".to_owned() },
    };
    // Another look is another connection: this one may wait for a peer that is no more.
    drop(Object::take(client));
    Err(unanswered)
}
