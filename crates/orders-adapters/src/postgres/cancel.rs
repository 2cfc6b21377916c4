//! Cancels what the server still does for a caller that is gone.
//!
//! That takes a connection of its own, which a caller that is being dropped cannot wait for; so one task
//! does it for all. When it cannot keep up, the time limit that every read carries ends it instead.

use std::time::Duration;

use tokio::{sync::mpsc, time::timeout};
use tokio_postgres::CancelToken;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Reads that may wait to be cancelled.
const BOUND: usize = 64;

/// Where reads are handed in that nobody waits for any more.
#[derive(Debug)]
pub(super) struct Cancels(mpsc::Sender<CancelToken>);

impl Cancels {
    pub(super) fn cancel(&self, token: CancelToken) {
        let _too_many = self.0.try_send(token).is_err();
    }
}

pub(super) fn channel() -> (Cancels, mpsc::Receiver<CancelToken>) {
    let (sender, receiver) = mpsc::channel(BOUND);
    (Cancels(sender), receiver)
}

/// Cancels what is handed in, until nobody can hand in any more or the task is ended.
pub(super) async fn run(
    mut cancelled: mpsc::Receiver<CancelToken>,
    tls: MakeRustlsConnect,
    patience: Duration,
) {
    while let Some(token) = cancelled.recv().await {
        match timeout(patience, token.cancel_query(tls.clone())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = %error, "a read could not be cancelled"),
            Err(_) => tracing::debug!("a read could not be cancelled in time"),
        }
    }
}
