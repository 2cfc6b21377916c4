//! The relay: carries the feed to Kafka, and what warehouses tell to the orders.
//!
//! Of all processes on one database one carries the feed out at a time; the others wait to take over.
//! Nothing here is in the way of an order: when Kafka is away the feed waits in the store.

use std::{sync::Arc, time::Duration};

use mainstay::{
    lifecycle::{Lifecycle, Phase},
    metrics::{Gauge, Metrics},
    telemetry::error_chain,
};
use mainstay_context::Context;
use orders::{
    Orders,
    domain::Position,
    ports::{Page, Ports as _, Scope, Store},
    usecase::{RelayError, Relayed, relay},
};
use orders_adapters::{
    kafka::{Consumer, KafkaPublisher, SetupError, Shipments},
    settings,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::wired::{self, Wired};

/// Events that one round publishes at most. To brokers a large round costs little more than a small one:
/// with 5,000 one relay tells three times as many events a second as with 1,000.
const PAGE: usize = 5_000;
/// How many bytes of data a round may have, by what the last one had: it is held in memory, and the orders
/// with it.
const WEIGHT: usize = 16 << 20;
/// How long one round may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// The first wait after a round that failed; it doubles up to [`LONGEST_REST`].
const REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How often the feed is looked at when nobody tells of news, and how often its lag is told.
const EVERY: Duration = Duration::from_secs(1);
/// How long a round under way may still take at the stop, and then what was sent of it.
const FLUSH: Duration = Duration::from_secs(3);

/// Starts the relay and the consumer of what warehouses tell, which end with the drain. Returns what
/// tells the status page of them.
///
/// # Errors
/// [`SetupError`]; that no broker answers is none.
pub(crate) fn start(
    lifecycle: &Lifecycle,
    orders: &Arc<Orders<Wired>>,
    config: &settings::Kafka,
    metrics: &Metrics,
) -> Result<impl Fn() -> Value + use<>, SetupError> {
    let store = wired::store_id(orders.ports().store());
    let publisher = KafkaPublisher::new(config, store, metrics)?;
    let (told, followed) = (publisher.clone(), publisher.clone());
    let shipments = Shipments::new(Arc::clone(orders), &config.inbound);
    let topic = &config.inbound.fulfillment_topic;
    let consumer = Arc::new(Consumer::new(config, store, topic, shipments, metrics)?);
    // Not held by the status page: it holds the store, which has to be closed when the work is done.
    let told_of = Arc::downgrade(&consumer);
    let courier = Courier {
        orders: Arc::clone(orders),
        publisher,
        is_leading: metrics.gauge(
            "relay_leading",
            "1 where the feed is carried out of the database",
            &[],
        ),
        limit: PAGE / 10,
        failure: None,
    };
    let (watched, lag) = (lifecycle.clone(), tell_lag(Arc::clone(orders), metrics));
    lifecycle.spawn_work("relay", async move {
        tokio::select! {
            () = courier.run(watched) => {}
            () = lag => {}
            () = followed.follow_parked() => {}
        }
        followed.close();
    });
    let watched = lifecycle.clone();
    lifecycle.spawn_work("fulfillment", async move {
        consumer.run(watched.reached(Phase::Draining)).await;
    });
    Ok(move || {
        let mut status = told.status();
        status["fulfillment"] = match told_of.upgrade() {
            Some(consumer) => consumer.status(),
            None => json!({ "state": "stopped" }),
        };
        status
    })
}

/// Tells how far the feed is behind, for ever: also where another process carries it out, and where
/// none does. While the store cannot be read the last figures stand; that it cannot is told elsewhere.
fn tell_lag(orders: Arc<Orders<Wired>>, metrics: &Metrics) -> impl Future<Output = ()> + use<> {
    let gauge = |name: &str, help: &str| metrics.gauge(name, help, &[]);
    let published = gauge("relay_published_position", "Position up to which the feed is published");
    let lag = gauge("relay_lag_events", "Events of the feed that are not published yet");
    async move {
        loop {
            if let Some((at, head)) = progress(orders.ports().store()).await {
                published.set(float(at.0), &[]);
                lag.set(float(head.0.saturating_sub(at.0)), &[]);
            }
            sleep(EVERY).await;
        }
    }
}

/// How far the feed is published, and where it ends.
async fn progress(store: &impl Store) -> Option<(Position, Position)> {
    let cx = context().ok()?;
    let published = store.published(&cx).await.ok()?.unwrap_or(Position(0));
    let page = store.events(&cx, &Scope::All, Page { after: None, limit: 1 }).await.ok()?;
    Some((published, page.head))
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats; 2^53 is far away")]
const fn float(number: u64) -> f64 {
    number as f64
}

/// How many events a round may publish after one of so many that failed: what took too long would take
/// too long again.
const fn halved(limit: usize) -> usize {
    if limit > 1 { limit / 2 } else { 1 }
}

/// How many it may publish after one of so many that went well.
const fn grown(limit: usize) -> usize {
    if limit < PAGE / 2 { limit * 2 } else { PAGE }
}

/// How many events may be published at once if they are as heavy as these were.
fn borne(events: usize, bytes: usize) -> usize {
    events.max(1).saturating_mul(WEIGHT).checked_div(bytes).unwrap_or(PAGE).max(1)
}

/// Waits this long, or until the drain.
async fn rest(time: Duration, lifecycle: &Lifecycle) {
    tokio::select! {
        () = sleep(time) => {}
        () = lifecycle.reached(Phase::Draining) => {}
    }
}

/// What a round is done under.
fn context() -> Result<Context, RelayError> {
    let request = "relay".parse().map_err(|_| orders::Error::Contended)?;
    Ok(Context::new(request).with_deadline((Instant::now() + PATIENCE).into_std()))
}

struct Courier {
    orders: Arc<Orders<Wired>>,
    publisher: KafkaPublisher,
    is_leading: Gauge,
    /// Events that the next round publishes at most.
    limit: usize,
    /// Why the last round failed, if it did: told once, when it is another, and when it is over.
    failure: Option<String>,
}

impl Courier {
    /// Carries the feed out whenever this process leads, until the drain.
    async fn run(mut self, lifecycle: Lifecycle) {
        let orders = Arc::clone(&self.orders);
        while lifecycle.phase() < Phase::Draining {
            let lead = tokio::select! {
                lead = orders.ports().store().lead() => lead,
                () = lifecycle.reached(Phase::Draining) => return,
            };
            match lead {
                Ok(mut lead) => {
                    tracing::info!("this process carries the feed out");
                    self.is_leading.set(1.0, &[]);
                    tokio::select! {
                        () = lead.lost() => tracing::warn!("another process may carry the feed out now"),
                        () = self.carry(&lifecycle) => {}
                    }
                    self.is_leading.set(0.0, &[]);
                    // While nobody else leads, if that can be: what comes later stands behind theirs.
                    if !self.publisher.flush(FLUSH).await {
                        tracing::warn!("events were still under way; they are published again");
                    }
                }
                Err(error) => {
                    let error = error_chain(&*error);
                    tracing::warn!(error, "it cannot be told who carries the feed out");
                }
            }
            rest(LONGEST_REST, &lifecycle).await;
        }
    }

    /// Publishes the feed until the drain, and then ends with the round under way, which is given a
    /// while: one that is not noted is published again by whoever comes next.
    async fn carry(&mut self, lifecycle: &Lifecycle) {
        tokio::select! {
            () = self.rounds(lifecycle) => {}
            () = async {
                lifecycle.reached(Phase::Draining).await;
                sleep(FLUSH).await;
            } => {}
        }
    }

    async fn rounds(&mut self, lifecycle: &Lifecycle) {
        let mut pause = REST;
        while lifecycle.phase() < Phase::Draining {
            match self.round().await {
                Ok(relayed) => {
                    pause = REST;
                    self.limit = grown(self.limit).min(borne(relayed.events, relayed.bytes));
                    self.went_well(&relayed);
                    if relayed.published >= relayed.head {
                        tokio::select! {
                            () = self.orders.feed_grows(relayed.head) => {}
                            () = rest(EVERY, lifecycle) => {}
                        }
                    }
                }
                Err(error) => {
                    self.limit = halved(self.limit);
                    self.failed(&error);
                    rest(pause, lifecycle).await;
                    pause = pause.saturating_mul(2).min(LONGEST_REST);
                }
            }
        }
    }

    async fn round(&self) -> Result<Relayed, RelayError> {
        relay(&context()?, self.orders.ports().store(), &self.publisher, self.limit).await
    }

    fn went_well(&mut self, relayed: &Relayed) {
        if relayed.missed > 0 {
            tracing::error!(
                events = relayed.missed,
                "events were forgotten before anybody published them"
            );
        }
        if self.failure.take().is_some() {
            tracing::info!("events are published again");
        }
    }

    fn failed(&mut self, error: &RelayError) {
        let error = error_chain(error);
        let before = self.failure.replace(error.clone());
        if before.as_ref() == Some(&error) {
            tracing::debug!(error, "events cannot be published");
        } else {
            tracing::warn!(error, "events cannot be published; they wait in the store");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_get_smaller_while_they_fail_and_grow_again() {
        let after = |step: fn(usize) -> usize| {
            move |limit: &usize| Some(step(*limit)).filter(|next| next != limit)
        };
        let down: Vec<_> = std::iter::successors(Some(PAGE), after(halved)).collect();
        assert_eq!(down, [5_000, 2_500, 1_250, 625, 312, 156, 78, 39, 19, 9, 4, 2, 1]);
        let up: Vec<_> = std::iter::successors(Some(1), after(grown)).collect();
        assert_eq!(up, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 5_000]);
    }

    #[test]
    fn a_round_after_a_heavy_one_has_fewer_events() {
        assert!(borne(1_000, 1_000_000) > PAGE);
        assert_eq!(borne(1_000, 64_000_000), 262);
        assert_eq!(borne(1, usize::MAX), 1);
        assert_eq!(borne(0, 0), PAGE);
    }
}
