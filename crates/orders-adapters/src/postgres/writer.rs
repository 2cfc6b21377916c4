//! The writers: each takes whatever waits, commits it at once, answers each.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Instant as Deadline,
};

use deadpool_postgres::Object;
use jiff::Timestamp;
use mainstay_context::{Activity, Context};
use orders::ports::{Answer, Change, CommitError, Leased, NotWritten};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    Shared, begin_write, commit,
    facts::{self, Verdict},
    prepared::Prepared,
    rows,
    session::{Failed, Param, Query, What, transaction},
};
use crate::instruments::{Queued, now};

type Outcome = Result<Answer, CommitError>;

/// How often a change is tried again of which nothing can be seen that speaks against it.
const ROUNDS: usize = 3;

/// Nobody has taken the work yet.
const WAITING: u8 = 0;
/// A writer has it: it may be written from now on.
const TAKEN: u8 = 1;
/// The caller has given up before anybody took it.
const GONE: u8 = 2;

/// A change that waits for a writer.
pub(super) struct Job {
    cx: Context,
    prepared: Prepared,
    queued: Queued,
    state: Arc<AtomicU8>,
    reply: oneshot::Sender<Outcome>,
}

/// Shows nothing of the change: it holds personal data.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.prepared.change.id).finish()
    }
}

/// What a caller waits with for its change's answer.
pub(super) struct Ticket {
    state: Arc<AtomicU8>,
    answer: oneshot::Receiver<Outcome>,
}

impl Job {
    pub(super) fn new(cx: Context, prepared: Prepared, queued: Queued) -> (Self, Ticket) {
        let (reply, answer) = oneshot::channel();
        let state = Arc::new(AtomicU8::new(WAITING));
        let ticket = Ticket { state: Arc::clone(&state), answer };
        (Self { cx, prepared, queued, state, reply }, ticket)
    }

    fn change(&self) -> &Change {
        &self.prepared.change
    }

    /// Takes it off its caller's hands, if that still waits.
    fn take(&self, taken: Instant) -> bool {
        if self.cx.ended(taken.into_std()).is_some() {
            return false;
        }
        let was = self.state.compare_exchange(WAITING, TAKEN, Ordering::AcqRel, Ordering::Acquire);
        if was.is_ok() {
            self.cx.enter(Activity::Storing, taken.into_std());
        }
        was.is_ok()
    }

    /// Answers a caller, who may be gone: what was committed stays committed.
    fn answer(self, outcome: Outcome) {
        drop(self.reply.send(outcome));
    }
}

impl Ticket {
    /// The answer, by the deadline: what no writer had taken by then is not written.
    pub(super) async fn answer(self, deadline: Option<Deadline>) -> Outcome {
        let Self { state, answer } = self;
        // A writer that is gone may have written before it went.
        let answered = async { answer.await.unwrap_or(Err(CommitError::OutcomeUnknown)) };
        let Some(deadline) = deadline else { return answered.await };
        match timeout_at(Instant::from_std(deadline), answered).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let was =
                    state.compare_exchange(WAITING, GONE, Ordering::AcqRel, Ordering::Acquire);
                Err(match was {
                    Ok(_) => CommitError::NotWritten(NotWritten::Expired),
                    Err(_) => CommitError::OutcomeUnknown,
                })
            }
        }
    }
}

/// One writer, until the queue is closed and empty.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut waiting = Vec::new();
    loop {
        if waiting.is_empty() {
            let Some(jobs) = shared.queue.taken(shared.config.batch).await else { return };
            waiting = taken(&shared, jobs);
        }
        let (batch, rest) = commit::split(waiting, Job::change);
        waiting = rest;
        if !batch.is_empty() {
            work(&shared, batch).await;
        }
    }
}

/// Those jobs that somebody still waits for.
fn taken(shared: &Shared, jobs: Vec<Job>) -> Vec<Job> {
    let at = Instant::now();
    let mut batch = Vec::with_capacity(jobs.len());
    for job in jobs {
        shared.instruments.waited(&job.queued, at);
        if job.take(at) {
            batch.push(job);
        } else {
            job.answer(Err(CommitError::NotWritten(NotWritten::Expired)));
        }
    }
    for job in &batch {
        job.queued.span.record("db.operation.batch.size", batch.len());
    }
    batch
}

/// Commits a batch and answers each of its jobs.
async fn work(shared: &Shared, batch: Vec<Job>) {
    let began = Instant::now();
    let mut client = None;
    let changes: Vec<&Prepared> = batch.iter().map(|job| &job.prepared).collect();
    let outcomes = settle(shared, &mut client, &changes).await;
    shared.instruments.committed(batch.len(), began.elapsed());
    if outcomes.iter().any(|outcome| matches!(outcome, Ok(Answer::Committed))) {
        shared.unstamped.notify_one();
    }
    for (job, outcome) in batch.into_iter().zip(outcomes) {
        job.answer(outcome);
    }
}

/// A connection that is kept for as long as it works.
type Client = Option<Object>;

/// Commits changes and says what became of each, in their order.
async fn settle(shared: &Shared, client: &mut Client, changes: &[&Prepared]) -> Vec<Outcome> {
    match write(shared, client, changes).await {
        Ok(outcomes) => outcomes,
        // One that stands in the way, or that the server refuses, is not to take others with it.
        Err(failed) if changes.len() > 1 && failed.is_of_a_change() => {
            let mut outcomes = Vec::with_capacity(changes.len());
            for change in changes {
                let alone = write(shared, client, &[*change]).await;
                outcomes.extend(alone.unwrap_or_else(|failed| vec![Err(failed.commit_error())]));
            }
            outcomes
        }
        Err(failed) => {
            let mut cause = Some(failed.cause);
            let again = |cause| Failed { what: failed.what, cause }.commit_error();
            let told = |_: &&Prepared| {
                Err(again(cause.take().unwrap_or_else(|| "as another of its batch".into())))
            };
            changes.iter().map(told).collect()
        }
    }
}

impl Failed {
    /// Whether another batch might pass on the same connection.
    fn is_of_a_change(&self) -> bool {
        matches!(self.what, What::Refused | What::Contended)
    }
}

/// Writes what passes, and finds out why the rest did not.
async fn write(
    shared: &Shared,
    client: &mut Client,
    changes: &[&Prepared],
) -> Result<Vec<Outcome>, Failed> {
    let (begin, prepare) = (begin_write(&shared.config), shared.config.prepare);
    let connection = connected(shared, client).await?;
    let writing = commit::write(connection, &begin, prepare, changes);
    let written: HashSet<Uuid> = bounded(shared, client, writing).await?;
    let mut outcomes: Vec<Option<Outcome>> = changes
        .iter()
        .map(|prepared| written.contains(&prepared.change.id.0).then_some(Ok(Answer::Committed)))
        .collect();
    let mut open: Vec<usize> = (0..changes.len()).filter(|at| outcomes[*at].is_none()).collect();
    for _ in 0..ROUNDS {
        if open.is_empty() {
            break;
        }
        let left: Vec<&Change> = open.iter().map(|at| &changes[*at].change).collect();
        // What is written is written: a failure from here on is that of the others alone.
        match judge(shared, client, &left).await {
            Ok(verdicts) => {
                let mut again = Vec::new();
                for (at, verdict) in open.into_iter().zip(verdicts) {
                    let outcome = follow(shared, client, changes[at], verdict).await;
                    if outcome.is_none() {
                        again.push(at);
                    }
                    outcomes[at] = outcome;
                }
                open = again;
            }
            Err(failed) => {
                let mut cause = Some(failed.cause);
                for at in open.drain(..) {
                    let cause = cause.take().unwrap_or_else(|| "as another's".into());
                    // Nothing of these was written, whatever became of the question.
                    outcomes[at] = Some(Err(CommitError::Unavailable(Some(cause))));
                }
            }
        }
    }
    let busy = || Err(CommitError::NotWritten(NotWritten::Busy));
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(busy)).collect())
}

/// What the facts say of changes that were not written.
async fn judge(
    shared: &Shared,
    client: &mut Client,
    changes: &[&Change],
) -> Result<Vec<Verdict>, Failed> {
    let (begin, prepare) = (begin_write(&shared.config), shared.config.prepare);
    let connection = connected(shared, client).await?;
    let gathering = facts::gather(connection, &begin, prepare, changes);
    let facts = bounded(shared, client, gathering).await?;
    let verdicts = facts.iter().zip(changes).map(|(facts, change)| facts.judge(change));
    verdicts.collect::<Result<_, _>>().map_err(Failed::unsent)
}

/// Does what a verdict asks for; `None` when the facts have to be looked at again.
async fn follow(
    shared: &Shared,
    client: &mut Client,
    prepared: &Prepared,
    verdict: Verdict,
) -> Option<Outcome> {
    let (begin, prepare) = (begin_write(&shared.config), shared.config.prepare);
    let (change, connection) = (&prepared.change, connected(shared, client).await);
    let connection = match connection {
        Ok(connection) => connection,
        Err(failed) => return Some(Err(failed.commit_error())),
    };
    match verdict {
        Verdict::Answer(answer) => Some(Ok(answer)),
        Verdict::Remember(answer, receipt) => {
            let remembering =
                commit::remember_refusal(connection, &begin, prepare, change.at, &receipt);
            match bounded(shared, client, remembering).await {
                Ok(true) => Some(Ok(answer)),
                Ok(false) => None,
                Err(failed) => Some(Err(failed.commit_error())),
            }
        }
        Verdict::Write => {
            let writing = commit::write(connection, &begin, prepare, std::slice::from_ref(&prepared));
            match bounded(shared, client, writing).await {
                Ok(written) => (!written.is_empty()).then_some(Ok(Answer::Committed)),
                Err(failed) => Some(Err(failed.commit_error())),
            }
        }
    }
}

/// The connection at hand, or another.
async fn connected<'a>(shared: &Shared, client: &'a mut Client) -> Result<&'a Object, Failed> {
    if client.as_ref().is_none_or(|client| client.is_closed()) {
        *client = match shared.writers.get().await {
            Ok(made) => Some(made),
            Err(error) => {
                let failed = Failed::unsent(error);
                shared.note(&failed);
                return Err(failed);
            }
        };
    }
    client.as_ref().ok_or_else(|| Failed::unsent("no connection"))
}

/// Waits for a transaction's answer, and no longer than that may take. A connection that did not give
/// one is not used again.
async fn bounded<T>(
    shared: &Shared,
    client: &mut Client,
    work: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    let answered = timeout(shared.config.answer_timeout, work).await;
    let answered = answered.unwrap_or_else(|_| {
        Err(Failed { what: What::Unknown, cause: "no answer in time".into() })
    });
    if let Err(failed) = &answered
        && failed.is_of_the_server()
    {
        drop(client.take().map(Object::take));
        shared.note(failed);
    }
    answered
}

/// Hands out tasks that are due, the longest due first.
pub(super) async fn lease(
    shared: &Shared,
    cx: &Context,
    at: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Leased>, CommitError> {
    let sql = format!(
        "UPDATE tasks SET epoch = epoch + 1, due = $2
         WHERE id IN (SELECT id FROM tasks WHERE due <= $1 ORDER BY due, id LIMIT $3
             FOR UPDATE SKIP LOCKED)
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
        let failed = |failed: Failed| {
            self.note(&failed);
            failed.commit_error()
        };
        let got = timeout(self.config.connect_timeout.saturating_mul(2), self.pool.get()).await;
        let client = match got {
            Ok(got) => got.map_err(|error| failed(Failed::unsent(error)))?,
            Err(_) => return Err(CommitError::NotWritten(NotWritten::Busy)),
        };
        let begin = begin_write(&self.config);
        let work = transaction(&client, &begin, self.config.prepare, queries);
        match timeout(self.config.answer_timeout, work).await {
            Ok(rows) => rows.map(|rows| rows.into_iter().flatten().collect()).map_err(failed),
            Err(_) => {
                drop(Object::take(client));
                Err(failed(Failed { what: What::Unknown, cause: "no answer in time".into() }))
            }
        }
    }
}
