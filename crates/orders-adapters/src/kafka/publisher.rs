//! The feed, published: every event under the id of its order, and each order as it is now.
//!
//! What holds the order of one key is one rule: a record of a key is handed over only once the one
//! before it was acknowledged. Whatever happens to a record then, that it is lost, is sent again by us
//! or by the client, or comes late out of a producer that has failed for good, no later one of its key
//! is seen before it. Different keys do not wait for each other, so a page of the feed takes as many
//! ways to the broker and back as its busiest order has events in it.
//!
//! For orders as they are now the last record counts and not the first. Those of a page are one
//! transaction, and whoever gets ready to publish ends what was published before it: by a process that
//! believes it still leads, or a producer that failed. It reads the orders after that. So of the records
//! of one order that are committed no version is lower than one before it, and the last, which is what a
//! compacted topic keeps, is the highest that was published. Only who reads uncommitted records as well
//! can see one go back, and never for good.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::Future,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::{join, join_all};
use mainstay::metrics::Metrics;
use mainstay_context::Context;
use orders::{
    codec,
    domain::{Order, OrderId, Position},
    ports::{Cause, Event, PublishError, Publisher},
};
use rdkafka::{error::KafkaError, message::OwnedHeaders};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{
    client::Logs,
    config::{Config, SetupError},
    delivery::{Delivery, Handler, Verdict, owned_headers},
    dlq::{ClaimError, LOOK_EVERY, Lot, ReadError, cause_of},
    instruments::Instruments,
    sink::{Record, SendError, Sink},
    states::{States, StatesError},
};

/// Publishes the feed to Kafka. Clones share everything.
///
/// An event that the broker refuses for itself parks its order: it goes to the dead letter topic, later
/// ones of the order follow it there, and other orders flow. That counts as published.
#[derive(Clone)]
pub struct KafkaPublisher(Arc<Inner>);

struct Inner {
    config: Config,
    store: Uuid,
    logs: Logs,
    sink: Arc<Sink>,
    states: States,
    lot: Lot,
    instruments: Instruments,
    /// Held while a page is published: one at a time.
    turn: tokio::sync::Mutex<Turn>,
    last_error: Mutex<Option<String>>,
}

#[derive(Default)]
struct Turn {
    /// Where the last page ended, when it ended well.
    ended: Option<Position>,
    /// Whether the topics are known to be there and to belong to this store. Not after a page that went
    /// wrong: that may be why.
    is_sure: bool,
}

/// Why a page was not published.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    States(#[from] StatesError),
    #[error("the deadline passed")]
    Late,
    #[error("the request was cancelled")]
    Cancelled,
}

impl KafkaPublisher {
    /// A publisher of the store of this id. That no broker answers is no error: publishing then fails
    /// until one does, and while the topics are missing or belong to another store.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(config: &Config, store: Uuid, metrics: &Metrics) -> Result<Self, SetupError> {
        let sink = Arc::new(Sink::new(config)?);
        let logs = sink.logs();
        let states = States::new(config, logs.clone())?;
        let instruments = Instruments::new(metrics);
        instruments.publishes([&config.events_topic, &config.state_topic]);
        let topic = &config.events_topic;
        let lot = Lot::new(config, store, topic, Arc::clone(&sink), instruments.clone())?;
        let waiting = Arc::clone(&sink);
        metrics.gauge_fn(
            "kafka_records_in_flight",
            "Records that were sent and are not acknowledged",
            move || u32::try_from(waiting.in_flight()).map_or(f64::INFINITY, f64::from),
        );
        Ok(Self(Arc::new(Inner {
            config: config.clone(),
            store,
            logs,
            sink,
            states,
            lot,
            instruments,
            turn: tokio::sync::Mutex::default(),
            last_error: Mutex::default(),
        })))
    }

    /// What it does now, for the admin page.
    pub fn status(&self) -> Value {
        let last_error = self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({
            "brokers": self.0.config.brokers,
            "store": self.0.store.to_string(),
            "in_flight": self.0.sink.in_flight(),
            "parked_orders": self.0.lot.parked_keys(),
            "last_error": last_error,
        })
    }

    /// Learns, for ever, which orders others have parked and released, for what is told of it.
    pub async fn follow_parked(&self) {
        loop {
            self.0.lot.look().await;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits at most this long until all that was sent is acknowledged; whether it was.
    pub async fn flush(&self, budget: Duration) -> bool {
        self.0.sink.flush(budget).await
    }

    /// Logs nothing any more of brokers that are away: nothing is published from here on.
    pub fn close(&self) {
        self.0.logs.close();
    }
}

impl Publisher for KafkaPublisher {
    async fn ready(&self, cx: &Context) -> Result<(), PublishError> {
        self.0.within(cx, self.0.ready()).await
    }

    async fn publish(
        &self,
        cx: &Context,
        events: &[Event],
        orders: &[Order],
    ) -> Result<(), PublishError> {
        let work = async { self.0.publish(events, orders).await.map(|()| true) };
        self.0.within(cx, work).await
    }
}

impl Inner {
    /// Works for as long as the request lasts, and notes how it went if there was anything to do.
    async fn within(
        &self,
        cx: &Context,
        work: impl Future<Output = Result<bool, Trouble>> + Send,
    ) -> Result<(), PublishError> {
        let limited = async {
            match cx.deadline() {
                Some(at) => {
                    timeout_at(Instant::from_std(at), work).await.unwrap_or(Err(Trouble::Late))
                }
                None => work.await,
            }
        };
        let done = tokio::select! {
            biased;
            done = limited => done,
            _cause = cx.cancelled() => Err(Trouble::Cancelled),
        };
        if !matches!(done, Ok(false)) {
            let failed = done.as_ref().err().map(|error| self.logs.explain(error));
            if failed.is_none() {
                self.logs.forget();
            }
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        }
        done.map(drop).map_err(|error| PublishError(Cause::from(error)))
    }

    /// Makes sure that the topics are there and this store's, before it shuts anybody else out; whether
    /// there was anything to do.
    async fn ready(&self) -> Result<bool, Trouble> {
        let mut turn = self.turn.lock().await;
        if !turn.is_sure {
            self.lot.find(&[self.config.state_topic.as_str()]).await?;
            self.lot.claim().await?;
            turn.is_sure = true;
        }
        Ok(self.states.ready().await?)
    }

    async fn publish(&self, events: &[Event], orders: &[Order]) -> Result<(), Trouble> {
        let mut turn = self.turn.lock().await;
        // Taken at once, so that a page that is given up leaves nothing behind to rely on.
        let Turn { ended, is_sure } = mem::take(&mut *turn);
        if let Some(first) = events.first()
            && ended.is_none_or(|ended| ended.next() != first.position)
        {
            // Somebody else may have published in between, and parked.
            self.lot.catch_up().await?;
        }
        let keys = by_order(events);
        if keys.iter().filter_map(|events| events.first()).any(|event| self.is_parked(event)) {
            // Somebody may have released it.
            self.lot.catch_up().await?;
        }
        // The two wait for the brokers, and neither for the other.
        let chains = join_all(keys.iter().map(|events| self.chain(events)));
        let (chains, states) = join(chains, self.send_states(orders)).await;
        for refused in chains.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
            self.alone(refused).await?;
        }
        states?;
        *turn = Turn { ended: events.last().map(|event| event.position).or(ended), is_sure };
        Ok(())
    }

    /// Sends the events of one order, each after the one before; returns those left when one was
    /// refused. Whether it is at fault or one that was sent along with it shows when it is sent alone.
    async fn chain<'a>(&self, events: &'a [&'a Event]) -> Result<Option<&'a [&'a Event]>, Trouble> {
        if events.first().is_some_and(|first| self.is_parked(first)) {
            self.park_behind(events).await?;
            return Ok(None);
        }
        for (at, event) in events.iter().enumerate() {
            match self.send_event(event).await {
                Ok(()) => {}
                Err(SendError::Refused(_)) => return Ok(events.get(at..)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn is_parked(&self, event: &Event) -> bool {
        self.lot.seems_to_hold(&key(event.order))
    }

    /// As [`chain`](Self::chain), while nothing else is sent: what is refused now is so for itself.
    async fn alone(&self, events: &[&Event]) -> Result<(), Trouble> {
        for (at, event) in events.iter().enumerate() {
            match self.send_event(event).await {
                Ok(()) => {}
                Err(error @ SendError::Refused(_)) => {
                    self.lot.park(&self.delivery(event), &cause_of(&error), 2).await?;
                    return self.park_behind(events.get(at + 1..).unwrap_or_default()).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn park_behind(&self, events: &[&Event]) -> Result<(), Trouble> {
        for event in events {
            self.lot.park_behind(&self.delivery(event)).await?;
        }
        Ok(())
    }

    async fn send_event(&self, event: &Event) -> Result<(), SendError> {
        let delivery = self.delivery(event);
        let key = delivery.lane();
        let record = record(&delivery, &key);
        let sent = self.sink.send(&record).await;
        let outcome = match &sent {
            Ok(_) => "kept",
            Err(SendError::Refused(_)) => "refused",
            Err(SendError::Failed(_)) => "failed",
        };
        self.instruments.sent(record.topic, outcome);
        sent.map(|_| ())
    }

    /// Sends the orders as they are now. One that is refused alone is left out: no later one waits for
    /// it, and the next may pass.
    async fn send_states(&self, orders: &[Order]) -> Result<(), Trouble> {
        let mut pages: Vec<Vec<&Order>> = vec![orders.iter().collect()];
        while let Some(page) = pages.pop() {
            if page.is_empty() {
                continue;
            }
            let refused = self.send_page(&page).await?;
            if let ([order], Some(error)) = (&page[..], refused.get(&0)) {
                tracing::error!(order.id = %order.id, %error, "the broker refuses a state of an order");
            } else if !refused.is_empty() {
                // Which of them is at fault shows when each is sent alone.
                let (alone, others): (Vec<_>, Vec<_>) =
                    page.into_iter().enumerate().partition(|(at, _)| refused.contains_key(at));
                pages.extend(alone.into_iter().map(|(_, order)| vec![order]));
                pages.push(others.into_iter().map(|(_, order)| order).collect());
            }
        }
        Ok(())
    }

    /// Sends orders as they are now, all or none; returns the places of those that are refused, and why.
    async fn send_page(&self, page: &[&Order]) -> Result<BTreeMap<usize, KafkaError>, StatesError> {
        let topic = &self.config.state_topic;
        let texts: Vec<_> =
            page.iter().map(|order| (key(order.id), codec::order_state(order))).collect();
        let records: Vec<_> = page
            .iter()
            .zip(&texts)
            .map(|(order, (key, value))| Record {
                topic,
                key,
                value: Some(value.as_bytes()),
                headers: state_headers(order),
            })
            .collect();
        let sent = self.states.send(&records).await;
        let (outcome, count) = match &sent {
            Ok(refused) if refused.is_empty() => ("kept", page.len()),
            Ok(refused) => ("refused", refused.len()),
            Err(_) => ("failed", page.len()),
        };
        for _ in 0..count {
            self.instruments.sent(topic, outcome);
        }
        sent
    }

    /// An event as a record, in the binary mode of CloudEvents.
    fn delivery(&self, event: &Event) -> Delivery {
        let content = ("content-type".to_owned(), Some(b"application/json".to_vec()));
        let attributes = codec::attributes(event).into_iter();
        let attributes =
            attributes.map(|(name, value)| (format!("ce_{name}"), Some(value.into_bytes())));
        Delivery {
            topic: self.config.events_topic.clone(),
            partition: -1,
            offset: -1,
            key: Some(key(event.order)),
            value: Some(event.data.clone().into_bytes()),
            headers: std::iter::once(content).chain(attributes).collect(),
            again: false,
        }
    }
}

/// A delivery as it is sent, under this key.
fn record<'a>(delivery: &'a Delivery, key: &'a [u8]) -> Record<'a> {
    let headers = delivery.headers.iter();
    let headers = owned_headers(headers.map(|(name, value)| (name.as_str(), value.as_deref())));
    Record { topic: &delivery.topic, key, value: delivery.value.as_deref(), headers }
}

fn state_headers(order: &Order) -> OwnedHeaders {
    let told = [
        ("content-type", "application/json".to_owned()),
        ("ce_type", codec::STATE.to_owned()),
        ("ce_sequence", order.version.to_string()),
    ];
    owned_headers(told.iter().map(|(name, value)| (*name, Some(value.as_bytes()))))
}

fn key(order: OrderId) -> Vec<u8> {
    order.to_string().into_bytes()
}

/// The events of each order, in their order.
fn by_order(events: &[Event]) -> Vec<Vec<&Event>> {
    let mut places: HashMap<OrderId, usize> = HashMap::new();
    let mut keys: Vec<Vec<&Event>> = Vec::new();
    for event in events {
        let place = *places.entry(event.order).or_insert(keys.len());
        match keys.get_mut(place) {
            Some(key) => key.push(event),
            None => keys.push(vec![event]),
        }
    }
    keys
}

/// Publishes parked events once more, for [`dlq::replay`](super::dlq::replay).
#[derive(Debug)]
pub struct Republisher(Sink);

impl Republisher {
    /// One for these brokers.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        Ok(Self(Sink::new(config)?))
    }
}

impl Handler for Republisher {
    async fn handle(&self, delivery: &Delivery) -> Verdict {
        match self.0.send(&record(delivery, &delivery.lane())).await {
            Ok(_) => Verdict::Done,
            Err(error @ SendError::Refused(_)) => Verdict::Refused(cause_of(&error)),
            Err(error @ SendError::Failed(_)) => Verdict::Later(cause_of(&error)),
        }
    }
}

impl fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaPublisher")
            .field("sink", &self.0.sink)
            .field("lot", &self.0.lot)
            .finish_non_exhaustive()
    }
}
