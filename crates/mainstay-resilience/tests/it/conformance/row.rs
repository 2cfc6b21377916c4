//! What a row of the suite is, and what the parts are given to call.

use std::{
    error::Error,
    fmt,
    future::{pending, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};
use tokio::time::sleep;
use tower::{
    Service as _, ServiceExt as _, service_fn,
    util::{BoxCloneService, ServiceFn},
};

pub(crate) const MS: Duration = Duration::from_millis(1);
/// How long a row waits for what should come at once, before it says that it never does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a fact holds of a crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It does.
    Passes,
    /// It does not, and this was found.
    Fails(String),
    /// The crate has nothing of which it could.
    Absent,
}

impl Verdict {
    /// What was found counts where the fact does not hold.
    pub(crate) fn of(holds: bool, found: impl Into<String>) -> Self {
        if holds { Self::Passes } else { Self::Fails(found.into()) }
    }
}

type Running = Pin<Box<dyn Future<Output = Verdict>>>;

/// One fact about one part, to be tried on one crate.
pub(crate) struct Row {
    pub(crate) part: &'static str,
    pub(crate) fact: &'static str,
    run: Box<dyn FnOnce() -> Running + Send>,
}

impl Row {
    pub(crate) fn new<F>(part: &'static str, fact: &'static str, run: fn() -> F) -> Self
    where
        F: Future<Output = Verdict> + 'static,
    {
        Self { part, fact, run: Box::new(move || -> Running { Box::pin(run()) }) }
    }

    /// Tries it, on a runtime of Tokio that has time.
    pub(crate) fn run(self) -> Running {
        (self.run)()
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It was made, and failed.
    Failed,
    /// It was not made.
    Refused,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "failed",
            Self::Refused => "refused",
        })
    }
}

impl Error for Failure {}

pub(crate) type Answer = Result<(), Failure>;
/// One call under way.
pub(crate) type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;
/// A call that can be made any number of times.
pub(crate) type Make = Arc<dyn Fn() -> Work + Send + Sync>;
/// A finished service in front of calls.
pub(crate) type Stack = BoxCloneService<Make, (), Failure>;
/// The innermost service.
pub(crate) type Maker = ServiceFn<fn(Make) -> Work>;

/// Makes every call that it is asked for.
pub(crate) fn maker() -> Maker {
    service_fn::<fn(Make) -> Work>(|make| make())
}

/// Makes one call through a service.
pub(crate) async fn ask(mut stack: Stack, make: Make) -> Answer {
    stack.ready().await?.call(make).await
}

/// Polls a future once; whether it has ended.
pub(crate) async fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> bool {
    poll_fn(|task| Poll::Ready(future.as_mut().poll(task).is_ready())).await
}

/// What a dependency does with a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Succeed,
    Fail,
    Hang,
    /// Succeeds after this time.
    Take(Duration),
    /// Fails after this time.
    FailIn(Duration),
}

impl Act {
    async fn run(self) -> Answer {
        match self {
            Self::Succeed => Ok(()),
            Self::Fail => Err(Failure::Failed),
            Self::Hang => pending().await,
            Self::Take(time) => {
                sleep(time).await;
                Ok(())
            }
            Self::FailIn(time) => {
                sleep(time).await;
                Err(Failure::Failed)
            }
        }
    }
}

/// What is called. It counts its calls from their first poll on. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dependency(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Dependency {
    /// A call whose number, from 1 on, says what becomes of it.
    pub(crate) fn make(&self, act: impl Fn(usize) -> Act + Send + Sync + 'static) -> Make {
        let (counts, act) = (Arc::clone(&self.0), Arc::new(act));
        Arc::new(move || -> Work {
            let (counts, act) = (Arc::clone(&counts), Arc::clone(&act));
            Box::pin(async move {
                let number = counts.calls.fetch_add(1, SeqCst) + 1;
                let _ends = Ends::after(counts);
                act(number).run().await
            })
        })
    }

    /// How many calls reached it.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(SeqCst)
    }

    /// How many of them it works on.
    pub(crate) fn running(&self) -> usize {
        self.0.running.load(SeqCst)
    }

    /// The most that it worked on at a time since this was asked last.
    pub(crate) fn take_most(&self) -> usize {
        self.0.most.swap(self.running(), SeqCst)
    }
}

/// Counts a call for as long as it is under way.
struct Ends(Arc<Counts>);

impl Ends {
    fn after(counts: Arc<Counts>) -> Self {
        let running = counts.running.fetch_add(1, SeqCst) + 1;
        counts.most.fetch_max(running, SeqCst);
        Self(counts)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}
