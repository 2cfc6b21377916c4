use crate::server::{Mode, Server};
use axum::Router;
use std::{io, thread};
use tokio::{
    runtime::Builder,
    sync::{oneshot, watch},
};

/// Serves the admin listener on a thread and a runtime of its own until `modes` tells to drain: it
/// answers while every worker of the main runtime is busy.
///
/// # Errors
///
/// Fails when the operating system gives no thread or no event queue.
pub(crate) async fn serve_on_thread(
    server: Server,
    router: Router,
    modes: watch::Receiver<Mode>,
) -> io::Result<()> {
    let (end, ended) = oneshot::channel();
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        // After a forced end nobody reads it.
        let _unread = end.send(serve(server, router, modes));
    })?;
    ended.await.unwrap_or_else(|_gone| Err(io::Error::other("its thread panicked")))
}

fn serve(server: Server, router: Router, modes: watch::Receiver<Mode>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        server.into_this_runtime()?.run_by(router, modes).await;
        Ok(())
    });
    // Without waiting: something of the service's that is stuck must not hold up the end.
    runtime.shutdown_background();
    ended
}
