//! HTTP/2 streams, each of which can be ended without its connection.
//!
//! hyper does not ask an answer for more while the peer's window is shut, so an answer cannot end its
//! own stream. But hyper has its streams run by an executor: one that drops a stream resets it.

use crate::tasks::Tasks;
use std::sync::Arc;
use tokio::sync::Notify;

tokio::task_local! {
    // hyper does not tell a request which stream it is on.
    static STALL: Stall;
}

/// Ends a stream whose peer takes nothing of it. Clones are of the same stream.
#[derive(Clone, Debug)]
pub(super) struct Stall(Arc<Notify>);

impl Stall {
    /// The one of the stream that the caller runs on; none on HTTP/1.
    pub(super) fn of_this_stream() -> Option<Self> {
        STALL.try_with(Self::clone).ok()
    }

    /// Resets the stream.
    pub(super) fn end(&self) {
        self.0.notify_one();
    }
}

/// Runs streams as tasks.
#[derive(Clone)]
pub(super) struct Streams(pub(super) Tasks);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let stall = Stall(Arc::default());
        let ended = stall.clone();
        let stream = STALL.scope(stall, stream);
        self.0.spawn("stream", async move {
            tokio::select! {
                _done = stream => {}
                () = ended.0.notified() => tracing::debug!("the peer takes nothing of an answer"),
            }
        });
    }
}
