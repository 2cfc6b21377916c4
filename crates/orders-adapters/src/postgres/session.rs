//! What is said to PostgreSQL: whole transactions, each sent in one go.
//!
//! BEGIN, the statements and COMMIT are all handed to the connection before the first answer is waited
//! for. So a transaction takes one round trip; and a caller that is gone at any await leaves no half of
//! one: the server has all of it, or undoes what it has. A statement whose parameters cannot be sent is
//! known by then, and ROLLBACK is sent for COMMIT: the others alone would be half a transaction too.

use std::{
    error::Error as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use deadpool_postgres::ClientWrapper;
use futures_util::future::{join_all, join3};
use tokio_postgres::{
    Error, Row, Statement,
    types::{ToSql, Type},
};

use super::failed::{Failed, What};

/// A parameter and its type.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// One statement with its parameters.
pub(super) struct Query<'a> {
    pub(super) sql: &'a str,
    pub(super) params: Vec<Param<'a>>,
    /// Whether its rows are wanted.
    pub(super) answers: bool,
}

/// How a transaction that writes begins: it works for every tenant, and waits for no row for longer
/// than that.
///
/// Two settings are not left to the database or the role. A snapshot from before a lock was had would
/// miss what its last holder wrote. And a time limit that ends the wait for a synchronous standby makes
/// PostgreSQL say that it has committed.
pub(super) fn begin_write(patience: Duration) -> String {
    // None at all would be waited for without end.
    let wait = patience.as_millis().max(1);
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; \
         SET LOCAL orderly.tenant = '*'; SET LOCAL lock_timeout = {wait}"
    )
}

/// Runs a transaction and gives the rows of each statement that answers.
pub(super) async fn transaction(
    client: &ClientWrapper,
    begin: &str,
    prepare: bool,
    queries: &[Query<'_>],
) -> Result<Vec<Vec<Row>>, Failed> {
    transaction_telling(client, begin, prepare, queries, || {}).await
}

/// As [`transaction`]; tells when all but the commit is carried out.
pub(super) async fn transaction_telling(
    client: &ClientWrapper,
    begin: &str,
    prepare: bool,
    queries: &[Query<'_>],
    carried_out: impl FnOnce(),
) -> Result<Vec<Vec<Row>>, Failed> {
    if client.is_closed() {
        return Err(Failed::unsent("the connection is closed"));
    }
    let statements = statements(client, prepare, queries).await?;
    let has_failed = AtomicBool::new(false);
    let asked = queries.iter().zip(&statements).map(async |(query, statement)| {
        let answer = match statement {
            Some(statement) => {
                let params: Vec<&(dyn ToSql + Sync)> =
                    query.params.iter().map(|(param, _)| *param).collect();
                client.query(statement, &params).await
            }
            None => client.query_typed(query.sql, &query.params).await,
        };
        if answer.is_err() {
            has_failed.store(true, Ordering::Relaxed);
        }
        answer
    });
    let asked = async {
        let answers = join_all(asked).await;
        carried_out();
        answers
    };
    let end = async {
        // So early only one can have failed that was not sent.
        let is_undone = has_failed.load(Ordering::Relaxed);
        let ended = client.batch_execute(if is_undone { "ROLLBACK" } else { "COMMIT" }).await;
        (is_undone, ended)
    };
    // Polled in this order, and so sent in this order.
    let (opened, answers, (is_undone, ended)) =
        join3(client.batch_execute(begin), asked, end).await;
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
        let answer = answer.map_err(|error| {
            if is_undone && error.code().is_none() {
                Failed::kept_back(error)
            } else {
                Failed::before_commit(error)
            }
        })?;
        if query.answers {
            rows.push(answer);
        }
    }
    ended.map_err(Failed::committing)?;
    Ok(rows)
}

/// What each of these is on this connection, where statements are prepared.
async fn statements(
    client: &ClientWrapper,
    prepare: bool,
    queries: &[Query<'_>],
) -> Result<Vec<Option<Statement>>, Failed> {
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
    Ok(statements)
}

/// What PostgreSQL says, without what tokio-postgres puts before it.
pub(super) fn told(error: &Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use std::error;

    use bytes::BytesMut;
    use deadpool_postgres::Object;
    use orders_testkit::servers;
    use tokio_postgres::types::IsNull;

    use super::*;
    use crate::postgres::{
        Config,
        connect::{Pool, Servers},
    };

    /// A new database: its only connection, and the pool that keeps it open.
    async fn alone() -> (Object, Pool) {
        let config = Config::at(servers::postgres().database());
        let pool = Servers::new(&config).unwrap().pool(1).unwrap();
        (pool.get().await.unwrap(), pool)
    }

    /// A transaction that begins so and makes a table.
    async fn begun_by(begin: &str) -> (What, bool) {
        let (client, _pool) = alone().await;
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

    /// A value that cannot be put as the server takes it.
    #[derive(Debug)]
    struct Unsayable;

    impl ToSql for Unsayable {
        fn to_sql(
            &self,
            _: &Type,
            _: &mut BytesMut,
        ) -> Result<IsNull, Box<dyn error::Error + Sync + Send>> {
            Err("there are no words for it".into())
        }

        fn accepts(_: &Type) -> bool {
            true
        }

        fn to_sql_checked(
            &self,
            of: &Type,
            out: &mut BytesMut,
        ) -> Result<IsNull, Box<dyn error::Error + Sync + Send>> {
            self.to_sql(of, out)
        }
    }

    fn note(number: &(dyn ToSql + Sync)) -> Query<'_> {
        let sql = "INSERT INTO noted VALUES ($1)";
        Query { sql, params: vec![(number, Type::INT4)], answers: false }
    }

    #[tokio::test]
    async fn a_transaction_with_a_statement_that_cannot_be_sent_writes_nothing() {
        let (client, _pool) = alone().await;
        client.batch_execute("CREATE TABLE noted (number integer NOT NULL)").await.unwrap();
        for prepare in [false, true] {
            let queries = [note(&1_i32), note(&Unsayable), note(&2_i32)];
            let failed = transaction(&client, "BEGIN", prepare, &queries).await.unwrap_err();
            assert_eq!(failed.what, What::Refused);
            // Nor does it stand open on the connection.
            transaction(&client, "BEGIN", prepare, &[note(&3_i32)]).await.unwrap();
            let noted = "DELETE FROM noted RETURNING number";
            let rows = client.query_typed(noted, &[]).await.unwrap();
            let numbers: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
            assert_eq!(numbers, [3]);
        }
    }
}
