//! The service at the other end: its connections, and one try of a call.

use super::{Answer, Config, Error, NotSent, TlsError, Tries, connection::Connection};
use crate::{
    client::{
        ask::Ask,
        dial::Dialer,
        limit::{Cut, Limit},
    },
    http::propagate,
};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::Instant;

/// Connections to one service. Clones share them.
#[derive(Clone)]
pub(super) struct Origin(Arc<Shared>);

struct Shared {
    config: Config,
    dialer: Dialer,
    /// The one that rested the shortest is last, and is used first.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Origin {
    pub(super) fn new(config: &Config) -> Result<Self, TlsError> {
        let dialer = Dialer::new(config, None)?;
        Ok(Self(Arc::new(Shared { config: config.clone(), dialer, idle: Mutex::default() })))
    }

    /// How many connections rest.
    pub(super) fn idle(&self) -> usize {
        self.0.idle().len()
    }

    /// Makes one try of a call.
    pub(super) async fn attempt(self, ask: Ask) -> Result<Answer, Error> {
        let mut answer = self.0.attempt(&ask).await?;
        let tries = Tries::of(&ask.cx, answer.headers());
        answer.extensions_mut().insert(tries);
        Ok(answer)
    }
}

impl Shared {
    async fn attempt(&self, ask: &Ask) -> Result<Answer, Error> {
        let limit = Limit::new(&ask.cx, self.config.try_timeout);
        let request = ask.request(&limit, propagate).map_err(Error::NotSent)?.map(Full::new);
        // Each was opened before, so that this ends.
        while let Some(connection) = self.take_idle() {
            match self.exchange(connection, request.clone(), &limit).await {
                // It was closed while it rested, and tells it only now.
                Err(Error::NotSent(NotSent::Unwritten(_))) if !limit.is_over() => {}
                result => return result,
            }
        }
        let connection = self.connect(&limit).await.map_err(Error::NotSent)?;
        self.exchange(connection, request, &limit).await
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
        limit: &Limit<'_>,
    ) -> Result<Answer, Error> {
        let exchange = connection.exchange(request, self.config.reply_limit);
        let result = limit.hold(exchange).await;
        match result {
            Ok(Ok(answer)) => {
                self.rest(connection);
                Ok(answer)
            }
            Ok(Err(error)) => Err(error),
            Err(cut) if connection.has_written() => Err(Error::Unknown(cut.after(limit))),
            Err(cut) => Err(Error::NotSent(cut.before())),
        }
    }

    async fn connect(&self, limit: &Limit<'_>) -> Result<Connection, NotSent> {
        let connecting = tokio::time::timeout(self.config.connect_timeout, self.open());
        match limit.hold(connecting).await {
            Ok(Ok(opened)) => opened.map_err(NotSent::Connect),
            Ok(Err(_)) | Err(Cut::Try) => Err(NotSent::Connect(io::ErrorKind::TimedOut.into())),
            Err(Cut::Ended(cause)) => Err(NotSent::Ended(cause)),
        }
    }

    async fn open(&self) -> io::Result<Connection> {
        Connection::begin(self.dialer.dial().await?).await
    }

    /// A connection that can be used again; those that cannot are closed on the way.
    fn take_idle(&self) -> Option<Connection> {
        loop {
            let Idle { mut connection, since } = self.idle().pop()?;
            if since.elapsed() < self.config.idle_timeout && connection.is_usable() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next call, and closes those that rested too long.
    fn rest(&self, mut connection: Connection) {
        if !connection.is_usable() {
            return;
        }
        let mut idle = self.idle();
        idle.retain(|idle| idle.since.elapsed() < self.config.idle_timeout);
        if idle.len() < self.config.max_in_flight {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
