//! Threads for work that computes for long enough to be worth the way to another thread.
//!
//! What computes for more than some hundred microseconds holds up everything else on the thread of the
//! runtime that it is done on. A pool is a set of threads with a name and a bounded queue; a job is a
//! closure, and whoever submits it waits for its result as for any future.
//!
//! ```
//! use mainstay_resilience::pool::{Config, Pool};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let pool = Pool::start("compute", &Config::default()).unwrap();
//! assert_eq!(pool.try_submit(|| 6 * 7).unwrap().await, Ok(42));
//! # });
//! ```
//!
//! Guarantees: never more than [`Config::queue`] jobs wait, of one owner never more than half as many, and
//! one more is refused at once; a job whose deadline has passed, or whose submitter is gone, is not begun;
//! a panic ends its job only, and its submitter is told; after [`shutdown`](Pool::shutdown) every submitter
//! gets an answer, and nobody waits in vain; a shutdown lasts no longer than it is given.
//!
//! Not guaranteed: that a job which has begun ends: a thread cannot be stopped. A shutdown leaves such a
//! one behind, and says so.
//!
//! Deliberately absent: turns. Jobs run as they came, whosever they are; the bound of an owner is enough to
//! leave others a place. And work that waits for something. For calls to others there is the
//! [bulkhead](crate::bulkhead); what blocks on a file wants a thread of its own.

mod queue;

use self::queue::{Job, Not, Queue};
use crate::clock;
use std::{
    any::Any,
    error::Error as StdError,
    fmt, io,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};
use tokio::{
    sync::{oneshot, watch},
    time::{timeout, timeout_at},
};

/// How many threads, and how many jobs may wait for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The threads, at least 1. Default: as many as this process may use cores, by its quota where it
    /// has one.
    pub threads: usize,
    /// The most jobs that wait; one more is refused, and so is one more of an owner of whom half as many
    /// wait. Default 64.
    pub queue: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { threads: thread::available_parallelism().map_or(1, NonZeroUsize::get), queue: 64 }
    }
}

/// There is no result of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It was not taken: as many wait as may, of all or of its owner.
    Full,
    /// Its time was over before there was one; if it had not begun by then it never does.
    Expired,
    /// It panicked, with this message.
    Panicked(String),
    /// The pool was shut down.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too many jobs wait for a thread"),
            Self::Expired => f.write_str("no thread was done with the job in time"),
            Self::Panicked(message) => write!(f, "the job panicked: {message}"),
            Self::Closed => f.write_str("the pool of threads was shut down"),
        }
    }
}

impl StdError for Error {}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was run to its end.
    Finished,
    /// It panicked.
    Panicked,
    /// Its deadline had passed when its turn came, and it was not begun.
    Expired,
    /// Nobody waited for it any more when its turn came, and it was not begun.
    Abandoned,
    /// It found the queue full.
    Refused,
    /// A shutdown came before its turn.
    Cut,
}

impl Fate {
    /// Each of them.
    pub const ALL: [Self; 6] =
        [Self::Finished, Self::Panicked, Self::Expired, Self::Abandoned, Self::Refused, Self::Cut];

    /// Its name, for people and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Panicked => "panicked",
            Self::Expired => "expired",
            Self::Abandoned => "abandoned",
            Self::Refused => "refused",
            Self::Cut => "cut",
        }
    }

    /// Whether it was begun.
    pub const fn has_run(self) -> bool {
        matches!(self, Self::Finished | Self::Panicked)
    }
}

/// A job that the pool is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What became of it.
    pub fate: Fate,
    /// How long it waited.
    pub waited: Duration,
    /// How long it ran.
    pub ran: Duration,
}

/// What is known of a pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The threads there are.
    pub threads: usize,
    /// How many of them run a job.
    pub running: usize,
    /// How many jobs wait.
    pub waiting: usize,
}

/// Threads with a name and a queue. Clones are the same ones; when the last is dropped, the threads end
/// with what waits.
#[derive(Clone)]
pub struct Pool(Arc<Handle>);

/// Closes the queue when nobody can submit any more.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

struct Shared {
    name: String,
    queue: Queue,
    running: AtomicUsize,
    /// The threads that have not ended.
    threads: watch::Sender<usize>,
    /// Whether nobody is to wait for a job any more.
    cut: watch::Sender<bool>,
    listener: OnceLock<Box<dyn Fn(Done) + Send + Sync>>,
}

impl Pool {
    /// Starts the threads, each called by `name` and its number.
    ///
    /// # Errors
    ///
    /// Fails when the system has no thread left; those that were started end again.
    pub fn start(name: &str, config: &Config) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            queue: Queue::new(config.queue),
            running: AtomicUsize::new(0),
            threads: watch::Sender::new(0),
            cut: watch::Sender::new(false),
            listener: OnceLock::new(),
        });
        let pool = Self(Arc::new(Handle(Arc::clone(&shared))));
        for number in 1..=config.threads.max(1) {
            let thread = Thread::of(&shared);
            let named = thread::Builder::new().name(format!("{name}-{number}"));
            // Nobody joins it: `threads` tells when it has ended.
            drop(named.spawn(move || thread.run())?);
        }
        Ok(pool)
    }

    /// Tells `listener` of every job that the pool is done with, on the thread that was; the first
    /// listener stays. It must be quick.
    #[must_use]
    pub fn with_listener(self, listener: impl Fn(Done) + Send + Sync + 'static) -> Self {
        let _first = self.0.0.listener.set(Box::new(listener)).is_ok();
        self
    }

    /// Submits a job that may take its time. It is not begun any more once its [`Ticket`] is dropped.
    ///
    /// # Errors
    ///
    /// Fails when the queue is full, or the pool was shut down.
    pub fn try_submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Ticket<T>, Error> {
        self.0.0.submit(None, None, work)
    }

    /// Submits a job of `owner`, such as a tenant, and waits for its result until `deadline`. A full queue
    /// refuses it at once: whoever waited for a place there would stand in a second queue, without a bound.
    ///
    /// # Errors
    ///
    /// Fails when there is no result by then, the queue is full, or half of it is the owner's, the job
    /// panicked, or the pool was shut down.
    pub async fn submit_by<T: Send + 'static>(
        &self,
        owner: Option<&Arc<str>>,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let ticket = self.0.0.submit(owner, Some(deadline), work)?;
        timeout_at(deadline.into(), ticket).await.unwrap_or(Err(Error::Expired))
    }

    /// Takes no more jobs, lets those there are run for as long as `drain`, and answers for the others
    /// that there is no result. With no time to drain all are answered at once.
    ///
    /// Tells how many threads still run a job that cannot be stopped; they are left behind.
    pub async fn shutdown(&self, drain: Duration) -> usize {
        let shared = &self.0.0;
        shared.queue.close();
        let mut threads = shared.threads.subscribe();
        if !drain.is_zero() {
            let ended = threads.wait_for(|left| *left == 0);
            if timeout(drain, ended).await.is_ok() {
                return 0;
            }
        }
        shared.cut();
        shared.running.load(Relaxed)
    }

    /// What is known of it now.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &self.0.0;
        Snapshot {
            threads: *shared.threads.borrow(),
            running: shared.running.load(Relaxed),
            waiting: shared.queue.len(),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.0.0.name
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Pool");
        debug.field("name", &self.name()).field("now", &self.snapshot()).finish_non_exhaustive()
    }
}

impl Shared {
    fn submit<T: Send + 'static>(
        &self,
        owner: Option<&Arc<str>>,
        deadline: Option<Instant>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Ticket<T>, Error> {
        let (reply, result) = oneshot::channel();
        let run = move || {
            let now = clock::now();
            (attend(deadline, now, reply, work), now)
        };
        let job = Job { owner: owner.map(Arc::clone), since: clock::now(), run: Box::new(run) };
        match self.queue.push(job) {
            Ok(()) => Ok(Ticket { result, cut: Box::pin(self.has_cut()) }),
            Err(Not::Closed) => Err(Error::Closed),
            Err(Not::Full) => {
                let done =
                    Done { fate: Fate::Refused, waited: Duration::ZERO, ran: Duration::ZERO };
                self.tell(done);
                Err(Error::Full)
            }
        }
    }

    /// Waits until nobody is to wait for a job any more.
    fn has_cut(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut cut = self.cut.subscribe();
        async move { drop(cut.wait_for(|cut| *cut).await) }
    }

    /// Answers all: those that wait are not begun, and those that run are not waited for.
    fn cut(&self) {
        self.cut.send_replace(true);
        for job in self.queue.empty() {
            let waited = clock::now().saturating_duration_since(job.since);
            drop(job);
            self.tell(Done { fate: Fate::Cut, waited, ran: Duration::ZERO });
        }
    }

    fn tell(&self, done: Done) {
        if let Some(listener) = self.listener.get() {
            listener(done);
        }
    }
}

/// Runs a job whose turn has come, if there is still a use for it.
fn attend<T>(
    deadline: Option<Instant>,
    now: Instant,
    reply: oneshot::Sender<Result<T, Error>>,
    work: impl FnOnce() -> T,
) -> Fate {
    if reply.is_closed() {
        return Fate::Abandoned;
    }
    if deadline.is_some_and(|at| at <= now) {
        drop(reply.send(Err(Error::Expired)));
        return Fate::Expired;
    }
    // What it leaves half-way is its own: it was moved in, and is gone with it.
    let (fate, result) = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => (Fate::Finished, Ok(value)),
        Err(payload) => (Fate::Panicked, Err(Error::Panicked(message(&*payload)))),
    };
    drop(reply.send(result));
    fate
}

/// What a panic says.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("not a text").to_owned()
}

/// The result of a job, once there is one. Dropped before the job is begun, it never is.
#[must_use = "a job is not begun when nobody waits for it"]
pub struct Ticket<T> {
    result: oneshot::Receiver<Result<T, Error>>,
    /// Ends with the pool, whatever the job does.
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<T> Future for Ticket<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(result) = Pin::new(&mut self.result).poll(task) {
            // A job is dropped only by a pool that ends.
            return Poll::Ready(result.unwrap_or(Err(Error::Closed)));
        }
        self.cut.as_mut().poll(task).map(|()| Err(Error::Closed))
    }
}

impl<T> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

/// One thread, counted until it has ended.
struct Thread(Arc<Shared>);

impl Thread {
    fn of(shared: &Arc<Shared>) -> Self {
        shared.threads.send_modify(|threads| *threads += 1);
        Self(Arc::clone(shared))
    }

    fn run(self) {
        while let Some(job) = self.0.queue.take() {
            self.0.running.fetch_add(1, Relaxed);
            let Job { since, run, .. } = job;
            // What a job leaves behind may panic too, as it is dropped: that ends no thread either.
            let done = catch_unwind(AssertUnwindSafe(run));
            let (fate, began) = done.unwrap_or_else(|_panic| (Fate::Panicked, clock::now()));
            let ended = clock::now();
            let waited = began.saturating_duration_since(since);
            let ran = if fate.has_run() {
                ended.saturating_duration_since(began)
            } else {
                Duration::ZERO
            };
            self.0.running.fetch_sub(1, Relaxed);
            self.0.tell(Done { fate, waited, ran });
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.0.threads.send_modify(|threads| *threads = threads.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests;
