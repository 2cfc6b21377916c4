//! How long one try of a call may last.

use super::http::{NotSent, Unknown};
use mainstay_context::{Cause, Context};
use std::{future::pending, io, time::Duration};
use tokio::time::Instant;

/// The limits of one try.
pub(super) struct Limit<'a> {
    cx: &'a Context,
    pub(super) start: Instant,
    /// The end of the try, if it has one of its own; the request may end before.
    at: Option<Instant>,
}

/// What ended a try before it was done.
pub(super) enum Cut {
    /// Its own limit.
    Try,
    /// The request for which it was made.
    Ended(Cause),
}

impl<'a> Limit<'a> {
    /// A try that begins now, and lasts no longer than this.
    pub(super) fn new(cx: &'a Context, time: Duration) -> Self {
        let start = Instant::now();
        Self { cx, start, at: Some(start + time) }
    }

    /// One that lasts as long as its request.
    pub(super) fn none(cx: &'a Context) -> Self {
        Self { cx, start: Instant::now(), at: None }
    }

    /// The circumstances of the request, as far as the try goes.
    pub(super) fn context(&self) -> Context {
        let cx = self.cx.clone();
        match self.at {
            Some(at) => cx.with_deadline(at.into_std()),
            None => cx,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        let now = Instant::now();
        self.at.is_some_and(|at| now >= at) || self.cx.ended(now.into_std()).is_some()
    }

    /// The result of `work` if it comes in time.
    pub(super) async fn hold<T>(&self, work: impl Future<Output = T>) -> Result<T, Cut> {
        tokio::select! {
            biased;
            result = work => Ok(result),
            cause = ended(self.cx) => Err(Cut::Ended(cause)),
            () = until(self.at) => Err(Cut::Try),
        }
    }
}

impl Cut {
    /// The error when the request may have left.
    pub(super) fn after(self, limit: &Limit<'_>) -> Unknown {
        match self {
            Self::Try | Self::Ended(Cause::DeadlineExceeded) => {
                Unknown::TimedOut { waited: limit.start.elapsed() }
            }
            Self::Ended(cause) => Unknown::Ended(cause),
        }
    }

    /// The error when it surely has not.
    pub(super) fn before(self) -> NotSent {
        match self {
            Self::Try => NotSent::Unwritten(io::Error::from(io::ErrorKind::TimedOut).into()),
            Self::Ended(cause) => NotSent::Ended(cause),
        }
    }
}

/// Waits until the request ends, by its deadline too.
pub(super) async fn ended(cx: &Context) -> Cause {
    tokio::select! {
        biased;
        cause = cx.cancelled() => cause,
        () = until(cx.deadline().map(Instant::from_std)) => Cause::DeadlineExceeded,
    }
}

/// Waits for a time; for ever where there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}
