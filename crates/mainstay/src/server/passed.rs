//! Sockets that were open before the process was, as systemd passes them.
//!
//! With such a socket no connection is refused while the service restarts: those that come
//! meanwhile wait in it for the successor. Nothing is set on it that would outlive this process, so
//! the kernel turns nobody away on our behalf. Not here: sockets that are not TCP.

use super::{Config, Server};
use listenfd::ListenFd;
use std::{fmt, io};
use tokio::net::TcpListener;

/// The sockets passed in by `LISTEN_FDS`, each of which can be taken once.
pub struct Sockets(ListenFd);

impl Sockets {
    /// Those of this process; none if it was not started with any.
    pub fn from_env() -> Self {
        Self(ListenFd::from_env())
    }

    /// A server on the next socket, the first of which has the index 0, if it was passed in.
    ///
    /// # Errors
    ///
    /// Fails when what was passed in is not a TCP socket that listens.
    ///
    /// # Panics
    ///
    /// Panics outside a Tokio runtime.
    pub fn server(&mut self, index: usize, config: Config) -> io::Result<Option<Server>> {
        let Some(socket) = self.0.take_tcp_listener(index)? else { return Ok(None) };
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket)?;
        Ok(Some(Server::from_listener(listener, config)))
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets").field("count", &self.0.len()).finish()
    }
}
