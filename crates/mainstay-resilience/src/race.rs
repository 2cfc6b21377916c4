//! Several calls for one answer.
//!
//! Guarantees: the first success wins, whatever failed before it; the others are dropped before it
//! is told; when none succeeds, every error is kept. A hedge is made only within the retry budget.
//!
//! Not guaranteed: that dropping a call undoes it at the other side. Race and hedge reads, or
//! calls that carry an idempotency key.

mod latencies;

pub use self::latencies::Latencies;

use crate::{clock, retry::Budget};
use mainstay_context::{Cause, Context};
use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

/// Runs all `calls` at once and takes the first success.
///
/// Every wake asks all that still run: made for a handful.
///
/// # Errors
///
/// Fails when none succeeds, with the errors in the order in which they came; with none when
/// there was no call.
pub async fn first_ok<T, E, F>(calls: impl IntoIterator<Item = F>) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut running: Vec<Pin<Box<F>>> = calls.into_iter().map(Box::pin).collect();
    let mut errors = Vec::new();
    poll_fn(move |task| {
        let mut won = None;
        running.retain_mut(|call| match call.as_mut().poll(task) {
            // One that ended after the winner is a loser, whatever it says.
            _ if won.is_some() => false,
            Poll::Pending => true,
            Poll::Ready(Ok(value)) => {
                won = Some(value);
                false
            }
            Poll::Ready(Err(error)) => {
                errors.push(error);
                false
            }
        });
        match won {
            Some(value) => {
                running.clear();
                Poll::Ready(Ok(value))
            }
            None if running.is_empty() => Poll::Ready(Err(std::mem::take(&mut errors))),
            None => Poll::Pending,
        }
    })
    .await
}

/// Makes a call, and a second one when the first has no result after `after`; the first success
/// wins.
///
/// `call` gets a context below `cx` for each, with the attempt's number in it, which is cancelled
/// when the other wins. Without a token of `budget` there is no second call. One that fails before
/// `after` is not hedged: that is a case for a retry. Take `after` from what was measured, such
/// as the 95th percentile of [`Latencies`]. The first call is not told to the budget here: whoever
/// makes it does that, as [`retry::Layer`](crate::retry::Layer) does.
///
/// # Errors
///
/// Fails when no call succeeds, with the errors in the order in which they came.
pub async fn hedge<T, E, F>(
    cx: &Context,
    after: Duration,
    budget: &Budget,
    mut call: impl FnMut(Context) -> F,
) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let first = Loser(cx.child());
    let mut running = pin!(call(first.0.clone()));
    let waited = tokio::select! {
        biased;
        result = &mut running => return result.map_err(|error| vec![error]),
        waited = clock::wait(after, Some(cx)) => waited,
    };
    let token = waited.ok().and_then(|()| budget.take(clock::now()));
    let Some(token) = token else { return running.await.map_err(|error| vec![error]) };
    token.spend();
    let second = Loser(cx.child().with_attempt(cx.attempt().saturating_add(1)));
    let hedge = pin!(call(second.0.clone()));
    first_ok([running, hedge]).await
}

/// Cancels what runs under a context when nobody waits for it any more. After the call has ended
/// this changes nothing.
struct Loser(Context);

impl Drop for Loser {
    fn drop(&mut self) {
        self.0.cancel(Cause::CallerGone);
    }
}
