//! Whether the database can be used, asked by one task on behalf of all.
//!
//! While it cannot, callers are answered at once instead of each trying by itself; so an outage costs
//! one connection attempt at a time, and ends as soon as one succeeds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::Object;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{OpenError, Shared, schema, session::Failed};

/// Between two looks at a database that is down: soon enough that its return is noticed within a
/// second.
const AGAIN: Duration = Duration::from_millis(200);

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
}

impl Shared {
    /// Takes note of a failure: one of the server makes every idle connection worthless, and has
    /// somebody look whether it is still there.
    pub(super) fn note(&self, failed: &Failed) {
        if failed.is_of_the_server() {
            self.pool.retain(|_, _| false);
            self.writers.retain(|_, _| false);
            self.probe.retain(|_, _| false);
            self.health.doubted.notify_one();
        }
    }
}

/// Looks at the database whenever it is in doubt, until the store closes.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut closing = shared.closing.subscribe();
    let work = async {
        loop {
            shared.health.doubted.notified().await;
            while let Err(error) = answers(&shared).await {
                if !shared.health.is_down.swap(true, Ordering::Relaxed) {
                    tracing::error!(error, "the database is unavailable");
                }
                sleep(AGAIN).await;
            }
            if shared.health.is_down.swap(false, Ordering::Relaxed) {
                tracing::info!("the database is available again");
            }
        }
    };
    tokio::select! {
        biased;
        _ = closing.wait_for(|closing| *closing) => {}
        () = work => {}
    }
}

async fn answers(shared: &Shared) -> Result<(), String> {
    let client = shared.probe.get().await.map_err(|error| error.to_string())?;
    // It may be another server than before, which is set otherwise.
    let asked = timeout(shared.config.connect_timeout, schema::settings(&client)).await;
    let failed = match asked {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(OpenError::Unreachable(cause))) => cause.to_string(),
        Ok(Err(unsafe_settings)) => unsafe_settings.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    // Another look is another connection: this one may wait for a peer that is no more.
    drop(Object::take(client));
    Err(failed)
}
