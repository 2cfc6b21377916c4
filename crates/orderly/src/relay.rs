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
    ports::{Page, Ports as _, Scope, Store as _},
    usecase::{RelayError, Relayed, relay},
};
use orders_adapters::{
    kafka::{Consumer, KafkaPublisher, SetupError, Shipments},
    settings,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::wired::Wired;

/// Events that one round publishes at most.
const PAGE: usize = 1_000;
/// How long one round may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// The first wait after a round that failed; it doubles up to [`LONGEST_REST`].
const REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How often the feed is looked at when nobody tells of news.
const EVERY: Duration = Duration::from_secs(1);
/// Of the time for flushing, what the publisher may take.
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
    let publisher = KafkaPublisher::new(config, metrics)?;
    let told = publisher.clone();
    let shipments = Shipments::new(Arc::clone(orders), &config.inbound);
    let topic = &config.inbound.fulfillment_topic;
    let consumer = Consumer::new(config, topic, shipments, metrics)?;
    let courier = Courier {
        orders: Arc::clone(orders),
        publisher,
        gauges: Gauges::new(metrics),
        is_failing: false,
    };
    let watched = lifecycle.clone();
    lifecycle.spawn_work("relay", courier.run(watched));
    let watched = lifecycle.clone();
    lifecycle.spawn_work("fulfillment", async move {
        consumer.run(watched.reached(Phase::Draining)).await;
    });
    Ok(move || told.status())
}

struct Gauges {
    is_leading: Gauge,
    published: Gauge,
    lag: Gauge,
}

impl Gauges {
    fn new(metrics: &Metrics) -> Self {
        let gauge = |name: &str, help: &str| metrics.gauge(name, help, &[]);
        Self {
            is_leading: gauge("relay_leading", "1 where the feed is carried out of the database"),
            published: gauge(
                "relay_published_position",
                "Position up to which the feed is published",
            ),
            lag: gauge("relay_lag_events", "Events of the feed that are not published yet"),
        }
    }

    fn note(&self, published: Position, head: Position) {
        self.published.set(float(published.0), &[]);
        self.lag.set(float(head.0.saturating_sub(published.0)), &[]);
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats; 2^53 is far away")]
const fn float(number: u64) -> f64 {
    number as f64
}

/// What a round is done under.
fn context() -> Result<Context, RelayError> {
    let request = "relay".parse().map_err(|_| orders::Error::Contended)?;
    Ok(Context::new(request).with_deadline((Instant::now() + PATIENCE).into_std()))
}

struct Courier {
    orders: Arc<Orders<Wired>>,
    publisher: KafkaPublisher,
    gauges: Gauges,
    /// Whether the last round failed; told once, and once when it is over.
    is_failing: bool,
}

impl Courier {
    async fn run(mut self, lifecycle: Lifecycle) {
        tokio::select! {
            () = self.lead_and_carry() => {}
            () = lifecycle.reached(Phase::Draining) => {}
        }
        self.gauges.is_leading.set(0.0, &[]);
        // What is under way was not noted, and is published again by whoever comes next.
        if !self.publisher.flush(FLUSH).await {
            tracing::warn!("events were still under way at the end; they are published again");
        }
    }

    async fn lead_and_carry(&mut self) {
        loop {
            let orders = Arc::clone(&self.orders);
            match orders.ports().store().lead().await {
                Ok(mut lead) => {
                    tracing::info!("this process carries the feed out");
                    self.gauges.is_leading.set(1.0, &[]);
                    tokio::select! {
                        () = lead.lost() => tracing::warn!("another process may carry the feed out now"),
                        () = self.carry() => {}
                    }
                    self.gauges.is_leading.set(0.0, &[]);
                }
                Err(error) => {
                    tracing::warn!(error = %error, "it cannot be told who carries the feed out");
                }
            }
            sleep(LONGEST_REST).await;
        }
    }

    /// Publishes the feed, round by round, for ever.
    async fn carry(&mut self) {
        let mut rest = REST;
        loop {
            match self.round().await {
                Ok(relayed) => {
                    rest = REST;
                    self.went_well(&relayed);
                    if relayed.published >= relayed.head {
                        let grows = self.orders.feed_grows(relayed.head);
                        drop(tokio::time::timeout(EVERY, grows).await);
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    self.tell_lag().await;
                    sleep(rest).await;
                    rest = rest.saturating_mul(2).min(LONGEST_REST);
                }
            }
        }
    }

    async fn round(&self) -> Result<Relayed, RelayError> {
        relay(&context()?, self.orders.ports().store(), &self.publisher, PAGE).await
    }

    /// Tells how far the feed is behind while it cannot be published. That even this is not known, the
    /// round that failed has told already.
    async fn tell_lag(&self) {
        let store = self.orders.ports().store();
        let Ok(cx) = context() else { return };
        let Ok(Some(published)) = store.published(&cx).await else { return };
        let page = Page { after: Some(published), limit: 1 };
        if let Ok(page) = store.events(&cx, &Scope::All, page).await {
            self.gauges.note(published, page.head);
        }
    }

    fn went_well(&mut self, relayed: &Relayed) {
        self.gauges.note(relayed.published, relayed.head);
        if relayed.missed > 0 {
            tracing::error!(
                events = relayed.missed,
                "events were forgotten before anybody published them"
            );
        }
        if std::mem::take(&mut self.is_failing) {
            tracing::info!("events are published again");
        }
    }

    fn failed(&mut self, error: &RelayError) {
        let error = error_chain(error);
        if std::mem::replace(&mut self.is_failing, true) {
            tracing::debug!(error, "events cannot be published");
        } else {
            tracing::warn!(error, "events cannot be published; they wait in the store");
        }
    }
}
