//! Cancels what the server still does for a caller that is gone.
//!
//! That takes a connection of its own, which a caller that is being dropped cannot wait for; so one task
//! does it for all. When it cannot keep up, the time limit that every read carries ends it instead. So
//! it does behind a pooler that knows no prepared statements: PgBouncer before 1.21 may end itself when it
//! is asked to cancel what has just finished (its issues 822 and 904).

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use tokio::{sync::mpsc, time::timeout};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Shared;

/// Reads that may wait to be cancelled.
const BOUND: usize = 64;

/// Where reads are handed in that nobody waits for any more. Each stays connected until it is
/// cancelled: a pooler cancels nothing for a client that is gone.
#[derive(Debug)]
pub(super) struct Cancels(mpsc::Sender<ClientWrapper>);

impl Cancels {
    pub(super) fn cancel(&self, client: ClientWrapper) {
        let _too_many = self.0.try_send(client).is_err();
    }
}

pub(super) fn channel() -> (Cancels, mpsc::Receiver<ClientWrapper>) {
    let (sender, receiver) = mpsc::channel(BOUND);
    (Cancels(sender), receiver)
}

/// Cancels what is handed in, until the store closes.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut gone: mpsc::Receiver<ClientWrapper>,
    tls: MakeRustlsConnect,
) {
    let mut closing = shared.closing.subscribe();
    let work = async {
        while let Some(client) = gone.recv().await {
            let token = client.cancel_token();
            let cancelled = token.cancel_query(tls.clone());
            match timeout(shared.config.connect_timeout, cancelled).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(error = %error, "a read could not be cancelled"),
                Err(_) => tracing::debug!("a read could not be cancelled in time"),
            }
        }
    };
    tokio::select! {
        biased;
        _ = closing.wait_for(|closing| *closing) => {}
        () = work => {}
    }
}
