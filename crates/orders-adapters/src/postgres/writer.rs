//! The writers: each takes whatever waits, commits it at once, answers each.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use deadpool_postgres::Object;
use jiff::Timestamp;
use orders::ports::{Answer, Change, CommitError, NotWritten, Receipt};
use tokio::{
    sync::{self, OwnedMutexGuard},
    task::yield_now,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{
    Shared, commit, facts,
    failed::{Failed, What},
    job::{Job, Outcome},
    prepared::Prepared,
    schema,
    session::begin_write,
    touched::Hold,
};
use crate::{
    checks::{self, Verdict},
    instruments::now,
    stored::Read,
};

/// How often a change is tried again of which nothing can be seen that speaks against it.
const ROUNDS: usize = 3;

/// By how much less the parts of a batch wait for rows than the batch did, so that together they do not
/// wait much longer.
const HASTE: u32 = 16;

/// For how long a writer keeps its turn at most: one that waits for a row is not to hold up the others.
const STUCK: Duration = Duration::from_millis(20);

/// One writer, until the queue is closed and empty.
///
/// Writers take turns: what comes while the server carries out one batch makes one large batch for the next,
/// which costs it much less than several small ones. When a batch is only being made durable and as much
/// waits already, or when it is stuck, the next begins.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let turn = Turn::wait(&shared.turn).await;
        let Some((jobs, hold)) = next(&shared).await else { break };
        let count = jobs.len();
        shared.pace.begin(count, now());
        see_to(&shared, jobs, hold, &turn).await;
        shared.pace.end(count, now());
        // Whom it answered may have more: that is taken with the rest.
        yield_now().await;
    }
}

/// Works at a batch, and neither keeps its turn nor holds what it touches for longer than others are to
/// wait for it.
async fn see_to(shared: &Shared, jobs: Vec<Job>, hold: Hold<'_>, turn: &Turn) {
    let mut work = pin!(work(shared, jobs, turn));
    if timeout(STUCK, &mut work).await.is_ok() {
        return;
    }
    turn.end();
    if timeout(shared.config.lock_timeout, &mut work).await.is_ok() {
        return;
    }
    // Its connection may be silent, and who asks for the same again has another one.
    drop(hold);
    work.await;
}

/// A writer's turn, until it says so, or is done.
struct Turn(Mutex<Option<OwnedMutexGuard<()>>>);

impl Turn {
    async fn wait(turn: &Arc<sync::Mutex<()>>) -> Self {
        Self(Mutex::new(Some(Arc::clone(turn).lock_owned().await)))
    }

    fn end(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// The next jobs that may be written together, and a hold of what they touch. What touches the same as one
/// of them, or of another writer's, stays in the queue, where its deadline is watched, and others go past
/// it.
async fn next(shared: &Shared) -> Option<(Vec<Job>, Hold<'_>)> {
    let mut hold = Hold::of_nothing(shared);
    let fits = |job: &Job| {
        let fits = job.is_over() || hold.add(job.change());
        if !fits {
            job.stay_behind();
        }
        fits
    };
    let jobs = shared.queue.taken(shared.config.batch, fits).await?;
    Some((jobs, hold))
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

/// Commits jobs as one batch and answers each.
async fn work(shared: &Shared, jobs: Vec<Job>, turn: &Turn) {
    let mut desk =
        Desk { shared, turn, begin: begin_write(shared.config.lock_timeout), client: None };
    // This may take long, so it comes before anything is taken off its caller's hands.
    let connected = desk.client().await;
    let batch = taken(shared, jobs);
    if batch.is_empty() {
        return;
    }
    let began = Instant::now();
    let outcomes = match connected {
        Ok(client) => {
            desk.client = Some(client);
            desk.settle(&batch).await
        }
        Err(failed) => failed.for_each(batch.len()),
    };
    shared.instruments.committed(batch.len(), began.elapsed());
    shared.tally.changes.fetch_add(batch.len() as u64, Ordering::Relaxed);
    shared.tally.batches.fetch_add(1, Ordering::Relaxed);
    if outcomes.iter().any(|outcome| matches!(outcome, Ok(Answer::Committed))) {
        shared.unstamped.notify_one();
    }
    for (job, outcome) in batch.into_iter().zip(outcomes) {
        job.answer(outcome);
    }
}

/// What a batch is worked at with.
struct Desk<'a> {
    shared: &'a Shared,
    turn: &'a Turn,
    begin: String,
    /// Kept for as long as it works.
    client: Option<Object>,
}

impl Desk<'_> {
    /// Commits jobs and says what became of each, in their order.
    async fn settle(&mut self, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        outcomes.resize_with(jobs.len(), || None);
        // What is still to be written, the first last.
        let mut parts = Vec::from([(0, jobs.len())]);
        while let Some((from, to)) = parts.pop() {
            let (jobs, outcomes) = (&jobs[from..to], &mut outcomes[from..to]);
            let Err(failed) = self.write(jobs, outcomes).await else { continue };
            // One that stands in the way, or that the server refuses, is not to take others with
            // it: it is looked for by halves, which wait for rows a fraction of the time only.
            if jobs.len() > 1 && failed.is_of_a_change() {
                if failed.what == What::Contended {
                    self.begin = begin_write(self.shared.config.lock_timeout / HASTE);
                }
                let middle = from.midpoint(to);
                parts.extend([(middle, to), (from, middle)]);
            } else {
                // Also of those whose time is up by now: it may be unknown what became of them.
                let open = outcomes.iter_mut().filter(|outcome| outcome.is_none());
                for (open, outcome) in open.zip(failed.for_each(jobs.len())) {
                    *open = Some(outcome);
                }
            }
        }
        let busy = || Err(CommitError::NotWritten(NotWritten::Busy));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(busy)).collect()
    }

    /// Writes what passes, and finds out why the rest does not. Begins with nothing that is over, and
    /// leaves those without an outcome on which the facts are not settled.
    async fn write(
        &mut self,
        jobs: &[Job],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), Failed> {
        let wary = &self.shared.wary;
        let is_wary = wary.load(Ordering::Relaxed);
        let mut looked = Looked { fit: still_open(jobs, outcomes), refused: Vec::new() };
        // Where some were decided on before, others are, and so is mostly what one was behind: it is cheaper
        // to look than to fail.
        if looked.fit.iter().any(|at| jobs[*at].is_new() && (is_wary || jobs[*at].was_behind())) {
            let open = looked.fit;
            looked = self.look(jobs, outcomes, &open).await;
            let is_settled = |at: &usize| jobs[*at].is_new() && !looked.fit.contains(at);
            let is_news = open.iter().any(|at| is_settled(at) && !jobs[*at].was_behind());
            wary.store(is_news, Ordering::Relaxed);
        }
        for round in 1..=ROUNDS {
            let Looked { mut fit, refused } = looked;
            // The look may have taken long.
            fit.retain(|at| is_open(&jobs[*at], &mut outcomes[*at]));
            let changes: Vec<&Prepared> = fit.iter().map(|at| &jobs[*at].prepared).collect();
            match self.send(&changes).await {
                Ok(written) => {
                    for at in fit {
                        let is_written = written.contains(&jobs[at].change().id.0);
                        outcomes[at] = is_written.then_some(Ok(Answer::Committed));
                    }
                }
                Err(failed) if failed.what == What::Decided && round < ROUNDS => {
                    wary.store(true, Ordering::Relaxed);
                }
                Err(failed) => return Err(failed),
            }
            // That waits for others' batches: nobody is to wait for it who can be written.
            self.refuse(jobs, outcomes, refused).await?;
            let open = still_open(jobs, outcomes);
            if open.is_empty() {
                break;
            }
            looked = self.look(jobs, outcomes, &open).await;
        }
        Ok(())
    }

    /// Gives those of the jobs an outcome that the facts speak against; says what is to be done with the
    /// others.
    async fn look(
        &mut self,
        jobs: &[Job],
        outcomes: &mut [Option<Outcome>],
        open: &[usize],
    ) -> Looked {
        let mut looked = Looked { fit: Vec::new(), refused: Vec::new() };
        let changes: Vec<&Change> = open.iter().map(|at| jobs[*at].change()).collect();
        let verdicts = match self.judge(&changes).await {
            Ok(verdicts) => verdicts,
            // What is written is written. Nothing of these was, whatever became of the question.
            Err(Failed { cause, .. }) => {
                let failed = Failed { what: What::Unavailable, cause };
                for (at, outcome) in open.iter().zip(failed.for_each(open.len())) {
                    outcomes[*at] = Some(outcome);
                }
                return looked;
            }
        };
        for (at, verdict) in open.iter().zip(verdicts) {
            match verdict {
                Ok(Verdict::Answer(answer)) => outcomes[*at] = Some(Ok(answer)),
                Ok(Verdict::Remember(answer, receipt)) => {
                    looked.refused.push(Refusal { at: *at, answer, receipt });
                }
                Ok(Verdict::Write) => looked.fit.push(*at),
                Err(cause) => outcomes[*at] = Some(Err(CommitError::Unavailable(Some(cause)))),
            }
        }
        looked
    }

    /// Remembers refusals and answers them, but for those whose facts have to be looked at again.
    ///
    /// # Errors
    /// When one of several may be what is in the way: none of them is remembered or answered.
    async fn refuse(
        &mut self,
        jobs: &[Job],
        outcomes: &mut [Option<Outcome>],
        mut refused: Vec<Refusal>,
    ) -> Result<(), Failed> {
        refused.retain(|refusal| is_open(&jobs[refusal.at], &mut outcomes[refusal.at]));
        if refused.is_empty() {
            return Ok(());
        }
        let remembered = self.remember(jobs, &refused).await;
        match remembered {
            Ok(remembered) => {
                for (Refusal { at, answer, .. }, is_remembered) in
                    refused.into_iter().zip(remembered)
                {
                    outcomes[at] = is_remembered.then_some(Ok(answer));
                }
            }
            Err(failed) if refused.len() > 1 && failed.is_of_a_change() => return Err(failed),
            Err(failed) => {
                let failed = failed.for_each(refused.len());
                for (Refusal { at, .. }, outcome) in refused.into_iter().zip(failed) {
                    outcomes[at] = Some(outcome);
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, changes: &[&Prepared]) -> Result<HashSet<Uuid>, Failed> {
        if changes.is_empty() {
            return Ok(HashSet::new());
        }
        let client = self.client().await?;
        let prepare = self.shared.config.prepare;
        // While it is made durable the next begins, if that is as large: many small batches cost the
        // server more than fewer large ones.
        let carried_out = || {
            if self.shared.queue.len() >= changes.len() {
                self.turn.end();
            }
        };
        let sent = commit::write(&client, &self.begin, prepare, changes, carried_out);
        let sent = self.bounded(sent).await;
        self.put_back(client, sent)
    }

    /// What the facts say of changes that were not written. One that cannot be read is its change's
    /// misfortune only.
    async fn judge(&mut self, changes: &[&Change]) -> Result<Vec<Read<Verdict>>, Failed> {
        let client = self.client().await?;
        let prepare = self.shared.config.prepare;
        let facts = facts::gather(&client, &self.begin, prepare, changes);
        let facts = self.bounded(facts).await;
        let facts = self.put_back(client, facts)?;
        let verdicts = facts.iter().zip(changes);
        Ok(verdicts.map(|(facts, change)| checks::judge(facts, change)).collect())
    }

    /// Remembers refusals; says of each whether its key stands for it now.
    async fn remember(&mut self, jobs: &[Job], refused: &[Refusal]) -> Result<Vec<bool>, Failed> {
        let refusals: Vec<(Timestamp, &Receipt)> = refused
            .iter()
            .map(|refusal| (jobs[refusal.at].change().at, &*refusal.receipt))
            .collect();
        let client = self.client().await?;
        let prepare = self.shared.config.prepare;
        let kept = commit::remember_refusals(&client, &self.begin, prepare, &refusals);
        let kept = self.bounded(kept).await;
        self.put_back(client, kept)
    }

    /// The connection at hand, or another.
    async fn client(&mut self) -> Result<Object, Failed> {
        if let Some(client) = self.client.take().filter(|client| !client.is_closed()) {
            return Ok(client);
        }
        if !self.shared.health.is_up() {
            return Err(Failed::unsent("the database is unavailable"));
        }
        let got = match self.shared.writers.get().await {
            Ok(client) => self.relied_on(client).await,
            Err(error) => Err(Failed::unsent(error)),
        };
        got.inspect_err(|failed| self.shared.note(failed))
    }

    /// A new connection may lead to another server than the last one, with settings of its own.
    async fn relied_on(&self, client: Object) -> Result<Object, Failed> {
        if Object::metrics(&client).recycle_count > 0 {
            return Ok(client);
        }
        let asked = timeout(self.shared.config.connect_timeout, schema::settings(&client)).await;
        let failed = match asked {
            Ok(Ok(())) => return Ok(client),
            Ok(Err(error)) => Failed::unsent(error),
            Err(_) => Failed::unsent("the database does not answer"),
        };
        drop(Object::take(client));
        Err(failed)
    }

    /// Waits for a transaction's answer, and no longer than that may take.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        let work = pin!(work);
        let answered = timeout(self.shared.config.answer_timeout, self.shared.attended(work)).await;
        answered.unwrap_or_else(|_| Err(Failed::unanswered()))
    }

    /// Keeps a connection for what comes next. One that gave no answer is not used again.
    fn put_back<T>(&mut self, client: Object, answered: Result<T, Failed>) -> Result<T, Failed> {
        match &answered {
            Err(failed) if failed.is_of_the_connection() => {
                drop(Object::take(client));
                self.shared.note(failed);
            }
            _ => self.client = Some(client),
        }
        answered
    }
}

/// What is to be done with those jobs of a batch that have no outcome yet.
struct Looked {
    /// Those to be written.
    fit: Vec<usize>,
    /// Those to be refused, which is to be remembered.
    refused: Vec<Refusal>,
}

/// What a job is to be answered once that is remembered under its key.
struct Refusal {
    at: usize,
    answer: Answer,
    receipt: Box<Receipt>,
}

/// Whether a job has no outcome yet; one that is over is given its own.
fn is_open(job: &Job, outcome: &mut Option<Outcome>) -> bool {
    if outcome.is_none() && job.is_over() {
        *outcome = Some(Err(CommitError::NotWritten(NotWritten::Expired)));
    }
    outcome.is_none()
}

/// Which jobs have no outcome yet; those that are over are given theirs.
fn still_open(jobs: &[Job], outcomes: &mut [Option<Outcome>]) -> Vec<usize> {
    let all = jobs.iter().zip(outcomes).enumerate();
    all.filter_map(|(at, (job, outcome))| is_open(job, outcome).then_some(at)).collect()
}

impl Failed {
    /// The same for so many changes; the cause goes with the first.
    fn for_each(self, count: usize) -> Vec<Outcome> {
        let what = self.what;
        let others = || Self { what, cause: "another change of its batch tells why".into() };
        let rest = std::iter::repeat_with(others).map(Self::commit_error);
        let first = Self { what, cause: self.cause }.commit_error();
        std::iter::once(first).chain(rest).map(Err).take(count).collect()
    }
}
