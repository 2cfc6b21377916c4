//! Carries out one record to its end: done, or parked.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};

use super::standing::Standing;
use crate::kafka::{
    delivery::{Delivery, Handler, Verdict},
    dlq::{Lot, cause_of},
    instruments::Instruments,
};

/// What carries out the records of one topic.
#[derive(Debug)]
pub(super) struct Hand<H> {
    pub(super) handler: H,
    pub(super) lot: Lot,
    pub(super) instruments: Instruments,
    pub(super) standing: Standing,
    pub(super) retry_for: Duration,
}

/// The first wait before a record is tried again; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

impl<H: Handler> Hand<H> {
    /// Tells how many records of its topic are in hand.
    pub(super) fn has_in_hand(&self, topic: &str, records: usize) {
        self.instruments.in_hand(topic, records);
        self.standing.in_hand(records);
    }

    /// Returns once the record is carried out or parked; tries as long as it takes to do one of them.
    pub(super) async fn carry_out(&self, delivery: &Delivery) {
        let lane = delivery.lane();
        let mut waits = Waits::default();
        let parked = loop {
            match self.lot.holds(&lane).await {
                Ok(parked) => break parked,
                Err(error) => {
                    let error = cause_of(&error);
                    self.standing.failed(&error);
                    tracing::warn!(error, "what is parked cannot be read");
                    waits.wait().await;
                }
            }
        };
        let given_up = if parked { Some(None) } else { self.try_out(delivery).await.map(Some) };
        let Some(given_up) = given_up else { return };
        loop {
            let parked = match &given_up {
                Some(GivenUp { cause, tries }) => self.lot.park(delivery, cause, *tries).await,
                None => self.lot.park_behind(delivery).await,
            };
            match parked {
                Ok(()) => return,
                Err(error) => {
                    let error = cause_of(&error);
                    self.standing.failed(&error);
                    tracing::warn!(error, "a record cannot be parked");
                    waits.wait().await;
                }
            }
        }
    }

    /// Tries a record until it is done, refused, or has had its time.
    async fn try_out(&self, delivery: &Delivery) -> Option<GivenUp> {
        let (began, mut waits, mut tries) = (Instant::now(), Waits::default(), 0);
        loop {
            tries += 1;
            // A handler that panics is at fault with this record, and with no other.
            let verdict = AssertUnwindSafe(self.handler.handle(delivery)).catch_unwind().await;
            let verdict = verdict.unwrap_or_else(|_| Verdict::Later("it panicked".to_owned()));
            let told = |outcome| self.instruments.handled(&delivery.topic, outcome);
            match verdict {
                Verdict::Done => {
                    told("done");
                    return None;
                }
                Verdict::Refused(cause) => {
                    told("refused");
                    self.standing.failed(&cause);
                    return Some(GivenUp { cause, tries });
                }
                Verdict::Later(cause) => {
                    told("later");
                    self.standing.failed(&cause);
                    tracing::warn!(
                        kafka.topic = delivery.topic,
                        kafka.partition = delivery.partition,
                        kafka.offset = delivery.offset,
                        tries,
                        cause,
                        "a record could not be carried out yet"
                    );
                    if began.elapsed() >= self.retry_for {
                        return Some(GivenUp { cause, tries });
                    }
                    waits.wait().await;
                }
            }
        }
    }
}

/// Why a record is not tried any more.
struct GivenUp {
    cause: String,
    tries: u32,
}

/// Waits that grow.
struct Waits(Duration);

impl Default for Waits {
    fn default() -> Self {
        Self(FIRST_WAIT)
    }
}

impl Waits {
    async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = self.0.saturating_mul(2).min(LONGEST_WAIT);
    }
}
