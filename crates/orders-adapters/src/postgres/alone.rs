//! What is written outside of batches: leases of tasks, and what keeps the store itself.

use std::pin::pin;

use deadpool_postgres::Object;
use jiff::Timestamp;
use mainstay_context::Context;
use orders::ports::{CommitError, Leased, NotWritten};
use tokio::time::timeout;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    Shared,
    failed::{Failed, What},
    rows,
    session::{Param, Query, begin_write, transaction},
};
use crate::instruments::now;

/// Hands out tasks that are due, the longest due first.
pub(super) async fn lease(
    shared: &Shared,
    cx: &Context,
    at: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Leased>, CommitError> {
    let sql = format!(
        "WITH next AS MATERIALIZED (
             -- Once: looked up again for every task, it would go on behind its limit.
             SELECT id FROM tasks WHERE due <= $1 ORDER BY due, id LIMIT $3 FOR UPDATE SKIP LOCKED
         )
         UPDATE tasks SET epoch = epoch + 1, due = $2 WHERE id IN (SELECT id FROM next)
         RETURNING {}",
        rows::TASK
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params: Vec<Param<'_>> =
        vec![(&at, Type::TIMESTAMPTZ), (&until, Type::TIMESTAMPTZ), (&limit, Type::INT8)];
    let query = Query { sql: &sql, params, answers: true };
    let found = shared.write_alone(cx, &[query]).await?;
    let mut leased = Vec::with_capacity(found.len());
    for row in &found {
        match rows::leased(row) {
            Ok(one) => leased.push(one),
            // Its lease keeps it from the others for a while; nobody else could read it either.
            Err(error) => {
                let id: Option<Uuid> = row.try_get(0).ok();
                shared.instruments.unreadable_tasks.inc(&[]);
                tracing::error!(task.id = ?id, error = %error, "a task cannot be read");
            }
        }
    }
    Ok(leased)
}

/// A connection that writes for one caller. Unless its transaction was answered it is not used again:
/// what a caller that is gone left under way is neither waited for nor cancelled by the next one.
struct Lent(Option<Object>);

impl Drop for Lent {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

impl Shared {
    /// A transaction that writes and that no change shares.
    pub(super) async fn write_alone(
        &self,
        cx: &Context,
        queries: &[Query<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, CommitError> {
        if !self.health.is_up() {
            return Err(CommitError::Unavailable(None));
        }
        if cx.ended(now()).is_some() {
            return Err(CommitError::NotWritten(NotWritten::Expired));
        }
        let answered = self.write_on_one(queries).await;
        answered.inspect_err(|failed| self.note(failed)).map_err(Failed::commit_error)
    }

    async fn write_on_one(
        &self,
        queries: &[Query<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, Failed> {
        let patience = self.config.answer_timeout;
        let Ok(got) = timeout(patience, self.pool.get()).await else {
            return Err(Failed { what: What::Contended, cause: "no connection is free".into() });
        };
        let mut lent = Lent(Some(got.map_err(Failed::unsent)?));
        let Some(client) = &lent.0 else { return Err(Failed::unsent("no connection")) };
        let begin = begin_write(self.config.lock_timeout);
        let answered = {
            let work = pin!(transaction(client, &begin, self.config.prepare, queries));
            timeout(patience, self.attended(work)).await
        };
        let answered = answered.unwrap_or_else(|_| Err(Failed::unanswered()));
        if answered.as_ref().err().is_none_or(|failed| !failed.is_of_the_connection()) {
            drop(lent.0.take());
        }
        Ok(answered?.into_iter().flatten().collect())
    }
}
