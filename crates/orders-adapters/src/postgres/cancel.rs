//! What becomes of a connection whose answers nobody waits for any more.
//!
//! Most of them come in a moment, and then the connection is as good as any. What goes on is cancelled
//! at the server. That takes a connection of its own, which a caller that is being dropped cannot wait
//! for; so one task does it for all. Meanwhile the pool counts the connection as in use: however many
//! callers go away, the server has no more connections than the settings say.
//!
//! Behind a pooler that knows no prepared statements nothing is cancelled, and the time limit that every
//! read carries ends it instead: PgBouncer before 1.21 may end itself when it is asked to cancel what
//! has just finished (its issues 822 and 904).

use std::{sync::Arc, time::Duration};

use deadpool_postgres::Object;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::Shared;

/// How long answers may take that nobody waits for.
const MOMENT: Duration = Duration::from_millis(100);

/// Where connections are handed in. Each stays connected until it is done with: a pooler cancels
/// nothing for a client that is gone.
#[derive(Debug)]
pub(super) struct Cancels(mpsc::Sender<Object>);

impl Cancels {
    pub(super) fn leave(&self, client: Object) {
        if let Err(refused) = self.0.try_send(client) {
            drop(Object::take(refused.into_inner()));
        }
    }
}

/// With room for all that a pool of so many connections can lend.
pub(super) fn channel(most: usize) -> (Cancels, mpsc::Receiver<Object>) {
    let (sender, receiver) = mpsc::channel(most.max(1));
    (Cancels(sender), receiver)
}

/// Sees to what is handed in, until the store closes.
pub(super) async fn run(shared: Arc<Shared>, mut left: mpsc::Receiver<Object>) {
    let work = async {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                Some(client) = left.recv() => {
                    under_way.spawn(end(Arc::clone(&shared), client));
                }
                Some(_ended) = under_way.join_next() => {}
                else => return,
            }
        }
    };
    shared.while_open(work).await;
}

async fn end(shared: Arc<Shared>, client: Object) {
    // The answer to this comes after those to all that was asked before.
    if let Ok(Ok(())) = timeout(MOMENT, client.batch_execute("")).await {
        return;
    }
    if shared.config.prepare && !client.is_closed() {
        let token = client.cancel_token();
        let cancelled = token.cancel_query(shared.servers.tls());
        match timeout(shared.config.connect_timeout, cancelled).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = %error, "a read could not be cancelled"),
            Err(_) => tracing::debug!("a read could not be cancelled in time"),
        }
    }
    // A cancel that comes late would hit what is asked next.
    drop(Object::take(client));
}
