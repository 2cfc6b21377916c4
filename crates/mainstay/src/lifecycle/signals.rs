use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a process to stop: SIGTERM and SIGINT.
///
/// None is lost between two calls of [`next`](Self::next).
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on; the signals no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// Fails when the operating system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and tells its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits for one SIGTERM or SIGINT and tells its name, for a service without a
/// [`Lifecycle`](super::Lifecycle).
///
/// # Errors
///
/// Fails when the operating system refuses.
pub async fn stop_signal() -> io::Result<&'static str> {
    Ok(Signals::listen()?.next().await)
}
