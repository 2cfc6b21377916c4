//! What is said to PostgreSQL: whole transactions, each sent in one go.
//!
//! BEGIN, the statements and COMMIT are all handed to the connection before the first answer is waited
//! for. So a transaction takes one round trip; and a caller that is gone at any await leaves no half of
//! one: the server has all of it, or undoes what it has.

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
    /// A key, number or reference is somebody's by now: nothing was written.
    Decided,
    /// It stood in another's way: nothing was written.
    Contended,
    /// No room on the server's disk: nothing was written.
    Full,
    /// It was cut short by its time limit: nothing was written.
    Expired,
    /// What the connection has prepared is not there any more, or not as the tables are now: nothing
    /// was written, and another connection serves.
    Outdated,
    /// No connection can be had, or the server is too busy for us: nothing was written.
    Unavailable,
    /// The server ends, or takes no writes any more: nothing was written.
    Gone,
    /// The connection was lost before the answer came.
    Unknown,
}

impl Failed {
    /// An answer that is not what was asked for, of a transaction that was committed.
    pub(super) fn unread(error: Error) -> Self {
        Self { what: What::Unknown, cause: error.into() }
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

    /// Whether its connection is not to be used again.
    pub(super) fn is_of_the_connection(&self) -> bool {
        matches!(self.what, What::Outdated | What::Unavailable | What::Gone | What::Unknown)
    }
}

fn what(code: &SqlState) -> What {
    match code.code() {
        "55P03" | "40P01" | "40001" => What::Contended,
        // An index holds the same, or an order was given no id; see `commit`.
        "23505" | "23502" => What::Decided,
        "53100" => What::Full,
        "57014" => What::Expired,
        // Gone, there already, or with a plan whose result has other types by now.
        "26000" | "42P05" | "0A000" => What::Outdated,
        // Read-only since a failover; shutting down, or starting up.
        "25006" | "57P01" | "57P02" | "57P03" => What::Gone,
        code if code.starts_with("53") => What::Unavailable,
        // A pooler lost the server, which had all of the transaction by then, its COMMIT too.
        code if code.starts_with("08") => What::Unknown,
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
    transaction_that(client, begin, prepare, queries, || {}).await
}

/// As [`transaction`]; says when all but the commit is carried out.
pub(super) async fn transaction_that(
    client: &ClientWrapper,
    begin: &str,
    prepare: bool,
    queries: &[Query<'_>],
    carried_out: impl FnOnce(),
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
    let asked = async {
        let answers = join_all(asked).await;
        carried_out();
        answers
    };
    // Polled in this order, and so sent in this order.
    let (opened, answers, committed) =
        join3(client.batch_execute(begin), asked, client.batch_execute("COMMIT")).await;
    if let Err(error) = opened {
        let failed = Failed::before_commit(error);
        // Without BEGIN, what came after it was a transaction of its own.
        let is_written = answers.iter().any(Result::is_ok);
        return Err(Failed {
            what: if is_written { What::Unknown } else { failed.what },
            ..failed
        });
    }
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

#[cfg(test)]
mod tests {
    use orders_testkit::servers;

    use super::*;
    use crate::postgres::{Config, connect};

    /// A transaction that begins so and makes a table.
    async fn begun_by(begin: &str) -> (What, bool) {
        let config = Config::at(servers::postgres().database());
        let pool = connect::Servers::new(&config).unwrap().pool(1).unwrap();
        let client = pool.get().await.unwrap();
        let make = Query { sql: "CREATE TABLE made ()", params: Vec::new(), answers: false };
        let failed = transaction(&client, begin, false, &[make]).await.unwrap_err();
        let there = "SELECT to_regclass('made') IS NOT NULL";
        let row = client.query_typed_one(there, &[]).await.unwrap();
        (failed.what, row.try_get(0).unwrap())
    }

    #[tokio::test]
    async fn a_transaction_that_fails_as_it_begins_writes_nothing() {
        assert_eq!(begun_by("BEGIN; SELECT 1/0").await, (What::Refused, false));
    }

    #[tokio::test]
    async fn what_was_written_without_a_transaction_is_not_told_as_not_written() {
        assert_eq!(begun_by("SELECT 1/0").await, (What::Unknown, true));
    }

    #[test]
    fn only_what_the_server_itself_undid_is_told_as_not_written() {
        for (code, expected) in [
            (SqlState::LOCK_NOT_AVAILABLE, What::Contended),
            (SqlState::DISK_FULL, What::Full),
            (SqlState::READ_ONLY_SQL_TRANSACTION, What::Gone),
            (SqlState::ADMIN_SHUTDOWN, What::Gone),
            (SqlState::TOO_MANY_CONNECTIONS, What::Unavailable),
            (SqlState::INVALID_SQL_STATEMENT_NAME, What::Outdated),
            (SqlState::FEATURE_NOT_SUPPORTED, What::Outdated),
            (SqlState::CHECK_VIOLATION, What::Refused),
            (SqlState::UNIQUE_VIOLATION, What::Decided),
            // What a pooler says when it has lost the server.
            (SqlState::PROTOCOL_VIOLATION, What::Unknown),
            (SqlState::CONNECTION_FAILURE, What::Unknown),
        ] {
            assert_eq!(what(&code), expected, "{code:?}");
        }
    }
}
