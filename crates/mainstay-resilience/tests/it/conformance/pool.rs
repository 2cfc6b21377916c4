//! What was measured of pools of threads. Real threads know no paused time.

use super::row::{MS, PATIENCE, Row, Verdict};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
};
use tokio::time::{sleep, timeout};

pub(crate) type Job = Box<dyn FnOnce() + Send>;
/// Waits until a job was done; whether it was.
pub(crate) type Ticket = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A pool of one thread.
pub(crate) trait Pool: Sized + 'static {
    fn start() -> Option<Self>;

    /// `None` when the job is refused.
    fn submit(&self, job: Job) -> Option<Ticket>;

    /// Shuts it down without waiting for what runs; `false` where there is no such thing.
    fn shut_down(&self) -> impl Future<Output = bool>;
}

pub(crate) fn rows<P: Pool>() -> Vec<Row> {
    let part = "pool";
    vec![
        Row::new(part, "its queue has a bound", its_queue_has_a_bound::<P>),
        Row::new(part, "work whose caller is gone is not begun", abandoned_work_is_not_begun::<P>),
        Row::new(part, "who waits at a shutdown is answered", who_waits_is_answered::<P>),
        Row::new(part, "who submits after a shutdown is answered", who_comes_late_is_answered::<P>),
    ]
}

/// Keeps the thread busy until the sender is dropped.
async fn occupy<P: Pool>(pool: &P) -> Option<(mpsc::Sender<()>, Ticket)> {
    let (open, gate) = mpsc::channel::<()>();
    let begun = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&begun);
    let work = move || {
        tell.store(true, SeqCst);
        gate.recv().unwrap_or_default();
    };
    let ticket = pool.submit(Box::new(work))?;
    while !begun.load(SeqCst) {
        sleep(MS).await;
    }
    Some((open, ticket))
}

async fn its_queue_has_a_bound<P: Pool>() -> Verdict {
    let Some(pool) = P::start() else { return Verdict::Absent };
    let Some(busy) = occupy(&pool).await else { return refused() };
    let waiting: Vec<_> = (0..10_000).filter_map(|_| pool.submit(Box::new(|| ()))).collect();
    drop(busy);
    let count = waiting.len();
    Verdict::of(count < 10_000, format!("{count} of 10,000 jobs wait for one thread"))
}

async fn abandoned_work_is_not_begun<P: Pool>() -> Verdict {
    let Some(pool) = P::start() else { return Verdict::Absent };
    let Some((open, _busy)) = occupy(&pool).await else { return refused() };
    let begun = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&begun);
    drop(pool.submit(Box::new(move || tell.store(true, SeqCst))));
    let after = pool.submit(Box::new(|| ()));
    drop(open);
    // The thread takes one after the other.
    let Some(after) = after else { return refused() };
    if timeout(PATIENCE, after).await != Ok(true) {
        return Verdict::Fails("the job after it was not done".to_owned());
    }
    Verdict::of(!begun.load(SeqCst), "it was run for nobody")
}

async fn who_waits_is_answered<P: Pool>() -> Verdict {
    let Some(pool) = P::start() else { return Verdict::Absent };
    let Some((open, _busy)) = occupy(&pool).await else { return refused() };
    let Some(waits) = pool.submit(Box::new(|| ())) else { return refused() };
    if !pool.shut_down().await {
        return Verdict::Absent;
    }
    let answered = timeout(PATIENCE, waits).await.is_ok();
    drop(open);
    Verdict::of(answered, "it still waits after two seconds, behind a job that hangs")
}

async fn who_comes_late_is_answered<P: Pool>() -> Verdict {
    let Some(pool) = P::start() else { return Verdict::Absent };
    if !pool.shut_down().await {
        return Verdict::Absent;
    }
    let Some(late) = pool.submit(Box::new(|| ())) else { return Verdict::Passes };
    let answered = timeout(PATIENCE, late).await.is_ok();
    Verdict::of(answered, "it still waits after two seconds")
}

fn refused() -> Verdict {
    Verdict::Fails("it takes no job though it is idle".to_owned())
}
