//! What is said to PostgreSQL: whole transactions, each sent in one go.
//!
//! BEGIN, the statements and COMMIT are all handed to the connection before the first answer is waited
//! for. So a transaction takes one round trip; and a caller that is gone at any await leaves a
//! connection that finishes the transaction by itself, never one with half a transaction open.

use std::error::Error as _;

use deadpool_postgres::ClientWrapper;
use futures_util::future::{join_all, join3};
use orders::ports::Cause;
use tokio_postgres::{
    Error, Row,
    error::SqlState,
    types::{ToSql, Type},
};

/// A parameter and its type.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// One statement with its parameters.
pub(super) struct Query<'a> {
    pub(super) sql: &'a str,
    pub(super) params: Vec<Param<'a>>,
    /// Whether its rows are wanted.
    pub(super) answers: bool,
}

/// Why a transaction has no answer.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) what: What,
    pub(super) cause: Cause,
}

/// What is known of a transaction that failed, and of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The server refused a statement: nothing was written, and the same again would be refused.
    Refused,
    /// It stood in another's way: nothing was written.
    Contended,
    /// No room on the server's disk: nothing was written.
    Full,
    /// It was cut short by its time limit: nothing was written.
    Expired,
    /// The server cannot serve now, or not here: nothing was written.
    Unavailable,
    /// The connection was lost before the answer came.
    Unknown,
}

impl Failed {
    /// An answer that is not what was asked for.
    pub(super) fn unread(error: Error) -> Self {
        Self { what: What::Refused, cause: error.into() }
    }

    /// A statement before COMMIT failed, so COMMIT could only undo.
    pub(super) fn before_commit(error: Error) -> Self {
        let what = error.code().map_or(What::Unknown, what);
        Self { what, cause: error.into() }
    }

    /// The connection could not even be had.
    pub(super) fn unsent(error: impl Into<Cause>) -> Self {
        Self { what: What::Unavailable, cause: error.into() }
    }

    /// COMMIT itself failed, or its answer was lost.
    fn committing(error: Error) -> Self {
        let refused = error.code().is_some_and(|code| {
            [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED].contains(&code)
        });
        let what = if refused { What::Contended } else { What::Unknown };
        Self { what, cause: error.into() }
    }

    /// Whether other connections to the same server are worth nothing either.
    pub(super) fn is_of_the_server(&self) -> bool {
        matches!(self.what, What::Unavailable | What::Unknown)
    }
}

fn what(code: &SqlState) -> What {
    match code.code() {
        "55P03" | "40P01" | "40001" => What::Contended,
        "53100" => What::Full,
        "57014" => What::Expired,
        // Read-only since a failover; shutting down, starting up, or too busy for us.
        "25006" | "57P01" | "57P02" | "57P03" => What::Unavailable,
        code if code.starts_with("53") || code.starts_with("08") => What::Unavailable,
        _ => What::Refused,
    }
}

/// Runs a transaction and gives the rows of each statement that answers.
pub(super) async fn transaction(
    client: &ClientWrapper,
    begin: &str,
    prepare: bool,
    queries: &[Query<'_>],
) -> Result<Vec<Vec<Row>>, Failed> {
    if client.is_closed() {
        return Err(Failed::unsent("the connection is closed"));
    }
    let mut statements = Vec::with_capacity(queries.len());
    for query in queries {
        let types: Vec<Type> = query.params.iter().map(|(_, of)| of.clone()).collect();
        statements.push(if prepare {
            let prepared = client.prepare_typed_cached(query.sql, &types).await;
            Some(prepared.map_err(|error| match error.code() {
                Some(_) => Failed::before_commit(error),
                None => Failed::unsent(error),
            })?)
        } else {
            None
        });
    }
    let asked = queries.iter().zip(&statements).map(async |(query, statement)| match statement {
        Some(statement) => {
            let params: Vec<&(dyn ToSql + Sync)> = query.params.iter().map(|(p, _)| *p).collect();
            client.query(statement, &params).await
        }
        None => client.query_typed(query.sql, &query.params).await,
    });
    // Polled in this order, and so sent in this order.
    let (began, answers, committed) =
        join3(client.batch_execute(begin), join_all(asked), client.batch_execute("COMMIT")).await;
    began.map_err(Failed::before_commit)?;
    let mut rows = Vec::new();
    for (query, answer) in queries.iter().zip(answers) {
        let answer = answer.map_err(Failed::before_commit)?;
        if query.answers {
            rows.push(answer);
        }
    }
    committed.map_err(Failed::committing)?;
    Ok(rows)
}

/// What PostgreSQL says, without what tokio-postgres puts before it.
pub(super) fn told(error: &Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
