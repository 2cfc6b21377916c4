//! A watch that goes on where it was.

use std::time::Duration;

use mainstay::client::grpc::Safety;
use mainstay_context::Context;
use mainstay_resilience::Jitter;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status, Streaming};

use super::{Error, OrdersClient};
use crate::grpc::pb;

/// The longest wait after the first failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait there is, also when the service asks for more.
const MOST_WAIT: Duration = Duration::from_secs(10);

/// An event, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// Where to go on from after it, as `after`.
    pub position: u64,
    /// What happened.
    pub event: pb::Event,
}

/// A watch under way.
pub(super) struct Watch {
    client: OrdersClient,
    cx: Context,
    after: Option<u64>,
    /// The call that tells now, if there is one.
    call: Option<Streaming<pb::WatchEventsResponse>>,
    /// How often in a row nothing was told.
    failures: u32,
    jitter: Jitter,
    over: bool,
}

impl Watch {
    pub(super) fn new(client: OrdersClient, cx: Context, after: Option<u64>) -> Self {
        let jitter = Jitter::system();
        Self { client, cx, after, call: None, failures: 0, jitter, over: false }
    }

    /// What is told next; nothing after an error.
    pub(super) async fn next(mut self) -> Option<(Result<Watched, Error>, Self)> {
        while !self.over {
            let told = match self.hear().await {
                Ok(told) => told.map(Ok),
                Err(error) if goes_on(&error) => {
                    tracing::debug!(%error, after = self.after, "a watch of events goes on");
                    self.rest(error.retry_after()).await;
                    None
                }
                Err(error) => {
                    self.over = true;
                    Some(Err(error))
                }
            };
            if let Some(told) = told {
                return Some((told, self));
            }
        }
        None
    }

    /// The event of the next message, if it is about one.
    async fn hear(&mut self) -> Result<Option<Watched>, Error> {
        if self.call.is_none() {
            let asked = pb::WatchEventsRequest { after: self.after };
            let request = self.client.ask(&self.cx, asked);
            let call = self.client.calls.clone().watch_events(request).await;
            self.call = Some(call.map_err(failed)?.into_inner());
        }
        let Some(call) = &mut self.call else { return Ok(None) };
        let message = call.message().await.map_err(failed)?;
        let Some(pb::WatchEventsResponse { position, event, draining, retry_after_ms }) = message
        else {
            self.rest(None).await;
            return Ok(None);
        };
        self.failures = 0;
        // It is 0 as long as nothing was ever told: then the next call asks for the oldest again.
        if position > 0 {
            self.after = Some(position);
        }
        if draining {
            self.rest(Some(Duration::from_millis(retry_after_ms.into()))).await;
        }
        Ok(event.map(|event| Watched { position, event }))
    }

    /// Ends the call, and waits before the next: as long as the service asks, or longer each time; but
    /// no longer than the request lasts.
    async fn rest(&mut self, asked: Option<Duration>) {
        self.call = None;
        let range = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(MOST_WAIT);
        self.failures = self.failures.saturating_add(1);
        let wait = self.jitter.up_to(range).max(asked.unwrap_or_default()).min(MOST_WAIT);
        let at = Instant::now() + wait;
        let end = self.cx.deadline().map_or(at, |end| at.min(end.into()));
        tokio::select! {
            _cause = self.cx.cancelled() => {}
            () = sleep_until(end) => {}
        }
    }
}

fn failed(status: Status) -> Error {
    Error::new(status, Safety::Safe)
}

/// Whether another call may be told more.
fn goes_on(error: &Error) -> bool {
    error.is_retryable() || error.code() == Code::Unavailable
}
