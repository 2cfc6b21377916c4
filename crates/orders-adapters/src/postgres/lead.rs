//! The lead: of all processes on one database, one carries the feed out of it.
//!
//! It is a lock that a session of the database holds, so the server takes it back when that ends. On a
//! connection that a pooler lends to others the lock would be theirs too; there nobody leads.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_postgres::{Client, Row, types::Type};

use super::{
    Config, OpenError,
    connect::{self, Driven},
    session::{Param, told},
};

/// Held by the one process that carries the feed out of this database.
const LOCK: i64 = 6_072_110_951_139;
/// Between two tries to have the lead, and between two looks whether it is still held.
const AGAIN: Duration = Duration::from_millis(500);
/// How often it is looked whether a pooler lends the connection to others.
const LOOKS: usize = 3;

/// While this is held, no other process carries the feed out of this database.
#[derive(Debug)]
pub struct Lead {
    session: Session,
}

impl Lead {
    /// Looks whether a process could wait for the lead of this database.
    ///
    /// # Errors
    /// When the database cannot be reached past its pooler, [`OpenError::Pooled`] when that shows.
    pub async fn probe(config: &Config) -> Result<(), OpenError> {
        let found = unlent(config).await.map(drop);
        found.map_err(|error| error.at(connect::past_pooler(config)))
    }

    /// Waits until the lead is lost, as far as that shows: the server may have given it to another
    /// some time before.
    pub async fn lost(&mut self) {
        let Session { client, connection, patience } = &mut self.session;
        let silence = async {
            while let Ok(Ok(())) = timeout(*patience, client.batch_execute("")).await {
                sleep(AGAIN).await;
            }
        };
        tokio::select! {
            _ended = connection.join_next() => {}
            () = silence => {}
        }
    }
}

/// Waits for the lead.
pub(super) async fn lead(config: &Config) -> Result<Lead, OpenError> {
    let had = held(config).await;
    had.map_err(|error| error.at(connect::past_pooler(config)))
}

async fn held(config: &Config) -> Result<Lead, OpenError> {
    let session = unlent(config).await?;
    let params: [Param<'_>; 1] = [(&LOCK, Type::INT8)];
    while !session.ask("SELECT pg_try_advisory_lock($1)", &params, |row| row.try_get(0)).await? {
        sleep(AGAIN).await;
    }
    Ok(Lead { session })
}

/// A session that is not seen to be lent to others.
async fn unlent(config: &Config) -> Result<Session, OpenError> {
    let session = Session::open(config).await?;
    let other = Session::open(config).await?;
    if is_lent(&session, &other).await? { Err(OpenError::Pooled) } else { Ok(session) }
}

/// Whether sessions share a process of the server, or change it, as only a pooler makes them do. That
/// none is seen to does not prove that they cannot: a pooler that is busy may hide it.
async fn is_lent(one: &Session, other: &Session) -> Result<bool, OpenError> {
    let first = one.process().await?;
    for _ in 0..LOOKS {
        if other.process().await? == first || one.process().await? != first {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A session past any pooler.
#[derive(Debug)]
struct Session {
    client: Client,
    /// Ends when the connection does, and with it the lock.
    connection: JoinSet<()>,
    patience: Duration,
}

impl Session {
    async fn open(config: &Config) -> Result<Self, OpenError> {
        let (client, driven) = connect::direct(config).await?;
        let mut connection = JoinSet::new();
        connection.spawn(drive(driven));
        Ok(Self { client, connection, patience: config.connect_timeout })
    }

    /// The one row that a query gives, and no longer than that may take.
    async fn ask<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl FnOnce(Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, OpenError> {
        let asked = timeout(self.patience, self.client.query_typed_one(sql, params)).await;
        asked.map_err(|_| OpenError::silent())?.and_then(read).map_err(OpenError::server)
    }

    /// The server's process that serves it, by a name that no other has, also of another server.
    async fn process(&self) -> Result<String, OpenError> {
        let sql = "SELECT concat(pg_backend_pid(), ' since ', pg_postmaster_start_time())";
        self.ask(sql, &[], |row| row.try_get(0)).await
    }
}

async fn drive(driven: Driven) {
    if let Err(error) = driven.await {
        tracing::debug!(error = told(&error), "the relay's connection ended");
    }
}
